"""The kept sound of a session as a WAV file, with silence where something is taken out.

In: a client, a session, what is to be silent. Out: 16 kHz mono s16le. The sound comes as it was sent and is decoded
here; it goes through a temporary file, so that memory does not grow with its length.
"""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import trio

import convo
from convo.media import DECODED, decode, wave_header

from .output import replacing

Silences = Sequence[tuple[float, float]]
"""From and to, seconds, in order; none overlaps another."""


async def export_sound(client: convo.Client, session: str, output: Path, silences: Silences) -> None:
    """Write the sound of a session to a file.

    Raises:
        RequestError: it was not kept, or is another owner's.
        BadAudio: it cannot be decoded.
        Problem: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="convo-") as folder:
        sent, whole = Path(folder, "session"), Path(folder, "whole")
        with _created(sent) as file:
            last = await client.get_audio(session, file.write)
        await trio.to_thread.run_sync(_write, sent, whole, last, output, silences)


def _created(path: Path) -> IO[bytes]:
    return path.open("wb")


def _write(sent: Path, whole: Path, last: convo.GetAudioReply, output: Path, silences: Silences) -> None:
    source, track = sent, last.audio.track
    if last.kind == "live":
        source = whole
        with sent.open("rb") as raw, whole.open("wb") as wrapped:
            wrapped.write(wave_header(last.audio, last.size))
            while data := raw.read(1 << 20):
                wrapped.write(data)
    with replacing(output) as file, wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(DECODED.rate)
        for piece in silenced(decode(source, track=track), silences):
            sound.writeframes(piece)


def silenced(pieces: Generator[bytes], silences: Iterable[tuple[float, float]]) -> Iterator[bytes]:
    """Pieces of s16le at `DECODED.rate`, silent from and to these times."""
    spans = [(2 * int(start * DECODED.rate), 2 * int(end * DECODED.rate + 1)) for start, end in silences]
    at = 0
    for piece in pieces:
        end = at + len(piece)
        while spans and spans[0][1] <= at:
            spans.pop(0)
        for first, last in spans:
            if first >= end:
                break
            begin, stop = max(first, at) - at, min(last, end) - at
            piece = piece[:begin] + bytes(stop - begin) + piece[stop:]
        yield piece
        at = end
