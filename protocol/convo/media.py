"""Samples of recordings: anything that FFmpeg reads, through PyAV, which is imported when the first one is read.

In: a path. Out: pieces of s16le, 16 kHz, mono. This module sends nothing and keeps no more than a piece.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from pathlib import Path

from .errors import BadAudio
from .messages import SAMPLE_BYTES, AudioFormat

PIECE = 32 * 1024
"""Bytes read at a time: one second of 16 kHz mono s16le."""

PACED_S = 0.04
"""Seconds of audio in a piece that goes out by the clock."""

DECODED = AudioFormat(encoding="s16le", rate=16000, channels=1)
"""What `decode` gives."""


def frame_bytes(audio: AudioFormat) -> int:
    """Bytes of one sample of all channels."""
    return SAMPLE_BYTES[audio.encoding] * audio.channels


def seconds(audio: AudioFormat, count: int) -> float:
    """How long `count` bytes of this format play."""
    return count / (frame_bytes(audio) * audio.rate)


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


def decode(path: Path, track: int = 1) -> Generator[bytes]:
    """One of a media file's audio tracks, from 1; about a second a piece.

    Raises:
        BadAudio: it cannot be read, has no audio track, or nothing of it can be decoded.
    """
    import av

    found = False
    # The file itself and nothing that it may refer to, such as the entries of a playlist.
    settings: dict[str, object] = {"options": {"protocol_whitelist": "none"}}
    if int(av.__version__.partition(".")[0]) < 19:
        settings["metadata_errors"] = "ignore"  # newer ones have no other way
    try:
        if path.is_file() and path.stat().st_size == 0:  # a pipe has no size, and may hold much
            raise BadAudio(f"{path.name} is empty: give a file with sound.")
        with path.open("rb") as file, av.open(file, **settings) as container:
            if len(container.streams.audio) < track:
                raise BadAudio(f"{path.name} has no audio track{f' {track}' * (track > 1)}: give a file with sound.")
            waiting = bytearray()
            for data in _samples(container, track):
                found = True
                waiting += data
                if len(waiting) >= PIECE:
                    yield bytes(waiting)
                    waiting.clear()
            if waiting:
                yield bytes(waiting)
    except (OSError, ValueError) as error:  # FFmpeg's errors are one or the other
        raise BadAudio(f"Cannot read {path.name} as audio: {_reason(error)}.") from None
    if not found:
        raise BadAudio(f"{path.name} holds no audio that can be decoded.")


def _samples(container: object, track: int) -> Iterator[bytes]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=DECODED.rate)
    for packet in container.demux(audio=track - 1):  # type: ignore[attr-defined]
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue  # a damaged packet is skipped, as every player does
        for frame in frames:
            frame.pts = None  # times that jump would be refused by the resampler
            for ready in resampler.resample(frame):
                yield bytes(ready.planes[0])[: ready.samples * 2]
    for ready in resampler.resample(None):
        yield bytes(ready.planes[0])[: ready.samples * 2]


def _reason(error: Exception) -> str:
    import av

    if isinstance(error, av.error.InvalidDataError):  # whose own words help nobody
        return "FFmpeg knows no such format; convert it to flac, mp3 or wav"
    return str(getattr(error, "strerror", None) or error).rstrip(".")
