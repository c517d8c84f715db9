"""Samples of recordings: anything that FFmpeg reads, through PyAV, which is imported when the first one is read.

In: a path. Out: pieces of s16le, 16 kHz, mono. This module sends nothing and keeps no more than a piece.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from .errors import BadAudio
from .messages import SAMPLE_BYTES, AudioFormat

PIECE = 32 * 1024
"""Bytes read at a time: one second of 16 kHz mono s16le."""

PACED_S = 0.04
"""Seconds of audio in a piece that goes out by the clock."""

DECODED = AudioFormat(encoding="s16le", rate=16000, channels=1)
"""What `decode` gives, unless it splits channels."""


def frame_bytes(audio: AudioFormat) -> int:
    """Bytes of one sample of all channels."""
    return SAMPLE_BYTES[audio.encoding] * audio.channels


def seconds(audio: AudioFormat, count: int) -> float:
    """How long `count` bytes of this format play."""
    return count / (frame_bytes(audio) * audio.rate)


def channels(path: Path) -> int:
    """How many channels the audio track has that `decode` decodes; 1 if it cannot be read, which `decode` will tell."""
    import av

    from .recording import TrackDecoder, choose_track, open_container

    with suppress(OSError, ValueError, av.FFmpegError), path.open("rb") as file:
        container = open_container(file)
        if container.streams.audio:
            container, number, _ = choose_track(file, container)
            with container:
                return TrackDecoder(container, number, split=True).channels
    return 1


def wave_header(audio: AudioFormat, size: int) -> bytes:
    """What makes a WAV file of so many bytes of live audio: their format, and their number as far as it can say it.

    Raises:
        BadAudio: there is no such encoding.
    """
    tag = {"s16le": 1, "f32le": 3, "alaw": 6, "mulaw": 7}.get(audio.encoding)
    if tag is None:
        raise BadAudio(f"Audio in {audio.encoding!r} cannot be read: use a newer convo.")
    frame, bits = frame_bytes(audio), 8 * SAMPLE_BYTES[audio.encoding]
    size = min(size, 0xFFFFFFFF - 36)
    about = struct.pack("<HHIIHH", tag, audio.channels, audio.rate, audio.rate * frame, frame, bits)
    return struct.pack("<4sI8sI", b"RIFF", size + 36, b"WAVEfmt ", 16) + about + struct.pack("<4sI", b"data", size)


def decode(
    path: Path, warnings: list[str] | None = None, *, track: int | None = None, split: bool = False
) -> Generator[bytes]:
    """An audio track of a media file, about a second a piece; see `recording`.

    Args:
        path: The file.
        warnings: Gets a sentence for each thing that is wrong with the file, at the latest at its end.
        track: Which one, from 1; None is the one that a listener would choose.
        split: Give all channels, interleaved, instead of one.

    Raises:
        BadAudio: it cannot be read, has no audio track, or nothing of it can be decoded.
    """
    import av

    from .recording import TrackDecoder, choose_track, open_container

    warnings = [] if warnings is None else warnings
    container = None
    found = False
    try:
        if path.is_file() and path.stat().st_size == 0:  # a pipe has no size, and may hold much
            raise BadAudio(f"{path.name} is empty: give a file with sound.")
        with path.open("rb") as file:
            container = open_container(file)
            number = (track or 1) - 1
            if len(container.streams.audio) <= number:
                which = f" {track}" if number else ""
                raise BadAudio(f"{path.name} has no audio track{which}: give a file with sound.")
            if track is None:
                container, number, silent = choose_track(file, container)
                if silent is not None:
                    warnings.append(f"Track {silent + 1} of {path.name} is silent, so track {number + 1} was sent.")
            decoder = TrackDecoder(container, number, split=split)
            waiting = bytearray()
            for data in decoder.pieces():
                found = True
                waiting += data
                if len(waiting) >= PIECE:
                    yield bytes(waiting)
                    waiting.clear()
            if waiting:
                yield bytes(waiting)
            if decoder.broken is not None:
                warnings.append(f"{path.name} is damaged ({decoder.broken}); what could be read was sent.")
    except (OSError, ValueError, av.FFmpegError) as error:
        raise BadAudio(f"Cannot read {path.name} as audio: {_reason(error)}.") from None
    finally:
        if container is not None:
            container.close()
    if not found:
        raise BadAudio(f"{path.name} holds no audio that can be decoded.")


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.InvalidDataError):  # whose own words help nobody
        return "FFmpeg knows no such format; convert it to flac, mp3 or wav"
    return str(getattr(error, "strerror", None) or error).rstrip(".")
