"""The decoding process: a recording on stdin to PCM on stdout, with notes as JSON lines on stderr.

Run as `python -m convod.engine.decoder TRACK LIMIT_S mix|split`, with a file as stdin; track 0 is the one that
`choose_track` chooses. Out: s16le at 16 kHz, mono; if split, a byte that says how many channels, then all of them
interleaved. The notes are `{"open"}` if the machine cannot enforce the whole sandbox, `{"total_s", "track", "tracks"}`,
`{"hint"}`, `{"warning"}` or `{"code", "error"}`. It holds one packet at a time, and reads nothing of the file before it
is in its sandbox.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import av
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV imports these two for the first file, when nothing can be imported any more

from convo.messages import Code
from convo.recording import TrackDecoder, choose_track, open_container
from convod.engine import sandbox
from convod.engine.truncated import is_truncated, lacks_its_index, mp3_s
from convod.speech.pcm import CHANNELS

NICE: Final = 5
"""Files can wait: live speech goes first."""

SHORT_S: Final = 1.0
"""A file that is more than this shorter than it announces was cut off."""

SHORT_PART: Final = 0.1
"""Or by more than this part of it, as the announced length may be FFmpeg's estimate."""

COUNTED: Final = ("aiff", "au", "flac")
"""Formats whose length is exact: they begin with the number of their samples."""

TOO_MUCH: Final = "the file's headers ask for more memory than a recording needs; convert it with ffmpeg and send that"

UNREADABLE: Final = (av.FFmpegError, ValueError)


def main() -> int:
    """Decode the file on stdin."""
    with contextlib.suppress(OSError):  # a filter for system calls may forbid it; decode all the same
        os.nice(NICE)

    def say(**fields: object) -> None:
        print(json.dumps(fields), file=sys.stderr, flush=True)

    def refuse(code: Code, sentence: str) -> int:
        say(code=code, error=sentence)
        return 1

    track, limit_s, split = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "split"
    file, size = sys.stdin.buffer, os.fstat(sys.stdin.fileno()).st_size
    av.logging.set_level(None)
    if missing := sandbox.enter(size):
        say(open=missing)
    if size == 0:
        return refuse(Code.BAD_AUDIO, "the file is empty; send one that holds audio")
    try:
        return _decode_file(file, track, limit_s, split, say, refuse)
    except MemoryError:
        return refuse(Code.BAD_AUDIO, TOO_MUCH)
    except av.FFmpegError as error:
        if error.errno != errno.ENOMEM:
            raise
        return refuse(Code.BAD_AUDIO, TOO_MUCH)


def _decode_file(
    file: BinaryIO,
    track: int,
    limit_s: float,
    split: bool,
    say: Callable[..., None],
    refuse: Callable[[Code, str], int],
) -> int:
    try:
        container = open_container(file)
    except UNREADABLE as error:
        _raise_if_memory(error)
        if lacks_its_index(file):
            return refuse(
                Code.BAD_AUDIO, "the file is cut off: its end, where its index stands, is missing; copy it again"
            )
        return refuse(Code.BAD_AUDIO, "this is no audio file that FFmpeg can read; convert it to flac, mp3 or wav")
    tracks = len(container.streams.audio)
    if not tracks:
        return refuse(Code.BAD_AUDIO, "the file has no audio track; send one that has")
    if track > tracks:
        has = "one audio track" if tracks == 1 else f"{tracks} audio tracks"
        return refuse(Code.BAD_AUDIO, f"the file has {has}; choose one that it has, not {track}")
    total_s = container.duration / av.time_base if container.duration else None
    if limit_s and total_s is not None and total_s > limit_s and _is_honest(container):
        return refuse(Code.LIMIT_EXCEEDED, _too_long(limit_s))
    number = track - 1
    if not track:
        container, number, silent = choose_track(file, container)
        if silent is not None:
            say(hint=f"track {silent + 1} of the file is silent, so track {number + 1} of {tracks} was transcribed")
    with container:
        say(total_s=total_s, track=number + 1, tracks=tracks)
        decoder = TrackDecoder(container, number, split=split)
        if split:
            if decoder.channels > CHANNELS[1]:
                sentence = f"the file has {decoder.channels} channels; split at most {CHANNELS[1]}, or have them mixed"
                return refuse(Code.UNSUPPORTED_AUDIO, sentence)
            sys.stdout.buffer.write(bytes([decoder.channels]))
        return _decode(container, container.streams.audio[number], decoder, limit_s, file, say, refuse)


def _raise_if_memory(error: Exception) -> None:
    """Raise an error that means too much memory: such a file is neither damaged nor unknown."""
    if getattr(error, "errno", None) == errno.ENOMEM:
        raise error


def _is_honest(container: Any) -> bool:
    """Whether the announced length is exact enough to refuse a file for it: FFmpeg estimates some by the bit rate."""
    return container.format.name not in ("mp3", "aac", "adts", "ac3")


def _too_long(limit_s: float) -> str:
    return f"the file holds more than the {limit_s:.0f} s of sound that limits.file_s allows; cut it into parts"


def _decode(
    container: Any,
    track: Any,
    decoder: TrackDecoder,
    limit_s: float,
    file: BinaryIO,
    say: Callable[..., None],
    refuse: Callable[[Code, str], int],
) -> int:
    out = sys.stdout.buffer
    for piece in decoder.pieces():
        out.write(piece)
        if limit_s and decoder.seconds > limit_s:
            return refuse(Code.LIMIT_EXCEEDED, _too_long(limit_s))
    out.flush()
    if not decoder.seconds:
        return refuse(Code.BAD_AUDIO, "no sound could be read from the file; convert it with ffmpeg and send that")
    if (warning := _what_is_wrong(container, track, file, decoder)) is not None:
        say(warning=warning)
    return 0


def _what_is_wrong(container: Any, track: Any, file: BinaryIO, decoder: TrackDecoder) -> str | None:
    """Return the warning about a file that was decoded, None if it is whole."""
    seconds, broken = decoder.seconds, decoder.broken
    claimed = float(track.duration * track.time_base) if track.duration else 0.0
    if container.format.name == "asf" and len(container.streams) > 1:
        claimed = 0.0  # it announces the length of the longest stream only
    if container.format.name == "wav" and claimed and seconds > claimed + SHORT_S:
        return f"the file's header counts {claimed:.1f} s of sound, and it holds {seconds:.1f} s; all was transcribed"
    counted = claimed if container.format.name in COUNTED else 0.0
    if container.format.name == "mp3":
        counted = mp3_s(file) or 0.0
    if claimed - seconds <= max(SHORT_S, SHORT_PART * claimed):
        # A file that is damaged in its middle may be more than a second short and still have its end.
        claimed = counted if counted - seconds > SHORT_S and broken is None else 0.0
    if claimed:
        return (
            f"the file ends after {seconds:.1f} s of the {claimed:.1f} s that it announces; "
            "what is there was transcribed"
        )
    if is_truncated(file):
        return "the file seems cut off, it lacks the end that it announces; what is there was transcribed"
    if broken is not None:
        return f"the file is damaged ({broken}); what could be read was transcribed"
    return None


if __name__ == "__main__":
    raise SystemExit(main())
