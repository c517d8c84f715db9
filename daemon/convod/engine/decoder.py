"""The decoding process: a recording on stdin to PCM on stdout, with notes as JSON lines on stderr.

Run as `python -m convod.engine.decoder TRACK LIMIT_S mix|split`, with a file as stdin. Out: s16le at 16 kHz, mono; if
split, a byte that says how many channels, then all of them interleaved. The notes are `{"open"}` if the machine cannot
enforce the whole sandbox, `{"total_s"}`, `{"warning"}` or `{"code", "error"}`. It holds one packet at a time, and reads
nothing of the file before it is in its sandbox.
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
from convod.engine import sandbox
from convod.engine.truncated import is_truncated, lacks_its_index, mp3_s
from convod.engine.wire import RATE
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
        container = _open(file)
    except UNREADABLE as error:
        _raise_if_memory(error)
        if lacks_its_index(file):
            return refuse(
                Code.BAD_AUDIO, "the file is cut off: its end, where its index stands, is missing; copy it again"
            )
        return refuse(Code.BAD_AUDIO, "this is no audio file that FFmpeg can read; convert it to flac, mp3 or wav")
    with container:
        if not container.streams.audio:
            return refuse(Code.BAD_AUDIO, "the file has no audio track; send one that has")
        tracks = len(container.streams.audio)
        if track > tracks:
            has = "one audio track" if tracks == 1 else f"{tracks} audio tracks"
            return refuse(Code.BAD_AUDIO, f"the file has {has}; choose one that it has, not {track}")
        total_s = container.duration / av.time_base if container.duration else None
        say(total_s=total_s)
        if limit_s and total_s is not None and total_s > limit_s and _is_honest(container):
            return refuse(Code.LIMIT_EXCEEDED, _too_long(limit_s))
        layout, channels = "mono", 1
        if split:
            context = container.streams.audio[track - 1].codec_context
            layout, channels = ("mono", 1) if context is None else (context.layout.name, context.channels)
            if channels > CHANNELS[1]:
                sentence = f"the file has {channels} channels; split at most {CHANNELS[1]}, or have them mixed"
                return refuse(Code.UNSUPPORTED_AUDIO, sentence)
            sys.stdout.buffer.write(bytes([channels]))
        return _decode(container, track - 1, limit_s, layout, channels, file, say, refuse)


def _raise_if_memory(error: Exception) -> None:
    """Raise an error that means too much memory: such a file is neither damaged nor unknown."""
    if getattr(error, "errno", None) == errno.ENOMEM:
        raise error


def _open(file: BinaryIO) -> Any:
    # Without protocols, a list of other files (ffconcat, a playlist) is refused instead of followed.
    options = {"protocol_whitelist": "none"}
    try:
        return av.open(file, metadata_errors="ignore", options=options)
    except TypeError:  # PyAV 19 ignores unreadable metadata by itself
        return av.open(file, options=options)


def _resampler(layout: str) -> Any:
    return av.AudioResampler(format="s16", layout=layout, rate=RATE)


def _is_honest(container: Any) -> bool:
    """Whether the announced length is exact enough to refuse a file for it: FFmpeg estimates some by the bit rate."""
    return container.format.name not in ("mp3", "aac", "adts", "ac3")


def _too_long(limit_s: float) -> str:
    return f"the file holds more than the {limit_s:.0f} s of sound that limits.file_s allows; cut it into parts"


def _decode(
    container: Any,
    number: int,
    limit_s: float,
    layout: str,
    channels: int,
    file: BinaryIO,
    say: Callable[..., None],
    refuse: Callable[[Code, str], int],
) -> int:
    resampler = _resampler(layout)
    second = 2 * channels * RATE
    shape: tuple[str, str, int] | None = None
    out = sys.stdout.buffer
    written = 0
    broken: str | None = None
    faults = 0

    def write(frame: av.AudioFrame | None) -> None:
        nonlocal written
        for piece in resampler.resample(frame):
            # Not as an array, which would import numpy; a plane may be longer than its samples.
            data = memoryview(piece.planes[0])[: 2 * channels * piece.samples]
            out.write(data)
            written += len(data)

    def take(frame: av.AudioFrame) -> None:
        nonlocal resampler, shape
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape not in (None, now):
            # A stream may change its rate or channels; a resampler takes only one kind of frame.
            write(None)
            resampler = _resampler(layout)
        shape = now
        frame.pts = None  # the resampler refuses times that jump
        write(frame)

    track = container.streams.audio[number]
    if track.codec_context is not None:  # there is a decoder for it
        track.codec_context.thread_count = 1  # no thread can be started in the sandbox
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
            for frame in packet.decode():
                take(frame)
            if limit_s and written > limit_s * second:
                return refuse(Code.LIMIT_EXCEEDED, _too_long(limit_s))
        except StopIteration:
            break
        except UNREADABLE as error:
            _raise_if_memory(error)
            # Skip a damaged packet, but do not read a file to its end that is nothing but damage.
            broken = str(error)
            faults += 1
            if faults > 1000:
                break
    with contextlib.suppress(*UNREADABLE):  # nothing was resampled
        write(None)
    out.flush()
    if not written:
        return refuse(Code.BAD_AUDIO, "no sound could be read from the file; convert it with ffmpeg and send that")
    if (warning := _what_is_wrong(container, track, file, written / second, broken)) is not None:
        say(warning=warning)
    return 0


def _what_is_wrong(container: Any, track: Any, file: BinaryIO, seconds: float, broken: str | None) -> str | None:
    """Return the warning about a file that gave so many seconds of sound, None if it is whole; `broken` is a fault."""
    claimed = float(track.duration * track.time_base) if track.duration else 0.0
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
