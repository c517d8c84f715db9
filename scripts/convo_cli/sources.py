"""Sources of a live session's samples: a pipe, a file of raw audio, anything that FFmpeg reads.

In: a file name or standard input. Out: a `Source` with its format, which gives whole sample frames. This module sends
nothing and knows no daemon. The microphone is in `microphone.py`.
"""

from __future__ import annotations

import os
import select
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import trio

from convo.errors import BadAudio
from convo.media import DECODED, PACED_S, PIECE, decode, frame_bytes, seconds
from convo.messages import AudioFormat

from .arguments import is_raw
from .errors import Exit, Problem
from .text import file_name

if TYPE_CHECKING:
    from .arguments import Options

_CONTAINERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"RIFF": "WAV", b"\x1aE\xdf\xa3": "Matroska"}
_MOST_WAITING = 256 * 1024  # bytes taken from a pipe after Ctrl-C: what stood in it, not what goes on being written


class Source(ABC):
    """Gives audio in order. `format` is a live session's audio format, `name` begins a sentence about it."""

    format: AudioFormat
    name: str

    @abstractmethod
    async def read(self) -> bytes:
        """The next whole sample frames; empty at the end.

        Raises:
            Problem: it cannot be read, or is not audio.
        """

    def rest(self) -> bytes:
        """Return what had already arrived when reading was cancelled; call it once, after that."""
        return b""

    def lost_s(self) -> float:
        """Return the seconds of audio that arrived and were dropped."""
        return 0.0

    def warnings(self) -> list[str]:
        """What was wrong with what was read so far, a sentence each."""
        return []

    def close(self) -> None:
        """Close what it reads from."""
        return


class Raw(Source):
    """Raw audio from a file or pipe, cut to whole sample frames.

    Unless it is `surely` raw, data that begins like a file of another format is refused: it would be noise.
    """

    def __init__(self, audio: AudioFormat, file: IO[bytes], name: str, *, surely: bool = True) -> None:
        self.format = audio
        self.name = name
        self._file = file
        self._descriptor = file.fileno()
        self._part = b""
        self._sure = surely

    async def read(self) -> bytes:
        """Return what has arrived, in whole frames."""
        while True:
            try:
                data = await read_some(self._descriptor, PIECE)
            except OSError as error:
                raise unreadable(self.name, error) from None
            if not data:
                return b""  # half a sample at the end is dropped
            if not self._sure:
                _refuse_container(data, self.name)
                self._sure = True
            whole = self._whole(data)
            if whole:
                return whole

    def rest(self) -> bytes:
        """Return what is in the pipe."""
        found = b""
        while len(found) < _MOST_WAITING and _ready(self._descriptor):
            data = os.read(self._descriptor, PIECE)
            if not data:
                break
            found += data
        return self._whole(found)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def _whole(self, data: bytes) -> bytes:
        data = self._part + data
        end = len(data) - len(data) % frame_bytes(self.format)
        self._part = data[end:]
        return data[:end]


class _Stepped(Source):
    """Audio from a generator, which runs in a thread piece by piece."""

    def __init__(self, audio: AudioFormat, pieces: Generator[bytes], name: str, warnings: list[str]) -> None:
        self.format = audio
        self.name = name
        self._pieces = pieces
        self._warnings = warnings

    async def read(self) -> bytes:
        """Return the generator's next piece."""
        return await trio.to_thread.run_sync(next, self._pieces, b"")

    def warnings(self) -> list[str]:
        """What the decoder says of the file."""
        return self._warnings

    def close(self) -> None:
        """Let go of it."""
        self._pieces.close()


class Paced(Source):
    """Another source's audio, given no faster than it plays."""

    def __init__(self, source: Source) -> None:
        self.format = source.format
        self.name = source.name
        self._source = source
        self._size = max(1, round(PACED_S * source.format.rate)) * frame_bytes(source.format)
        self._waiting = b""
        self._begun: float | None = None
        self._given = 0

    async def read(self) -> bytes:
        """Return a short piece, at the time at which it would have been recorded."""
        if self._begun is None:
            self._begun = trio.current_time()
        while len(self._waiting) < self._size and (more := await self._source.read()):
            self._waiting += more
        if not self._waiting:
            return b""
        piece, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        self._given += len(piece)
        # A piece is due once its last sample would have been recorded. One that is late delays none after it.
        await trio.sleep_until(self._begun + seconds(self.format, self._given))
        return piece

    def warnings(self) -> list[str]:
        """What its source says."""
        return self._source.warnings()

    def close(self) -> None:
        """Let go of it."""
        self._source.close()


def open_source(options: Options) -> Source:
    """The source that the options name: a file, or standard input.

    Raises:
        Problem: it cannot be read, or standard input is a keyboard.
    """
    source = _open(options)
    return Paced(source) if options.realtime else source


def _open(options: Options) -> Source:
    raw = AudioFormat(encoding=options.encoding or "s16le", rate=options.rate or 16000, channels=options.channels or 1)
    if options.file is None or options.file == "-":
        if sys.stdin.isatty():
            raise Problem(Exit.USAGE, "There is no audio: give a FILE, a pipe with raw audio, or --mic.")
        sure = options.encoding is not None
        return Raw(raw, open(os.dup(sys.stdin.fileno()), "rb", buffering=0), "Standard input", surely=sure)
    path = Path(options.file)
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(options.file, error) from None
    if options.encoding is not None or is_raw(path.name):
        return Raw(raw, file, path.name)
    file.close()
    return decoded(path)


def decoded(path: Path) -> Source:
    """A media file as s16le, 16 kHz, mono; read when it is asked for."""
    warnings: list[str] = []
    return _Stepped(DECODED, _decode(path, warnings), path.name, warnings)


def unreadable(name: str, error: OSError) -> Problem:
    """Make the problem of a file that cannot be opened or read."""
    return Problem(Exit.BAD_AUDIO, f"Cannot read {file_name(name)}: {error.strerror or error}.")


async def read_some(descriptor: int, most: int) -> bytes:
    """Read what a pipe, terminal or file has now; nothing only at its end. If cancelled, nothing was taken."""
    try:
        await trio.lowlevel.wait_readable(descriptor)
    except OSError:  # a regular file, which no poll takes, and which is never waited for long
        return await trio.to_thread.run_sync(os.read, descriptor, most)
    return os.read(descriptor, most)


def _refuse_container(data: bytes, name: str) -> None:
    """Refuse files of other formats: samples that begin like one by chance are rarer than users who pipe a file."""
    for magic, kind in _CONTAINERS.items():
        if data.startswith(magic):
            raise Problem(
                Exit.BAD_AUDIO,
                f"{name} is {kind}, not raw audio: pipe it through `ffmpeg -i - -f s16le -ar 16000 -ac 1 -` first, "
                "or have it all transcribed by `convo transcribe -`.",
            )


def _ready(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def _decode(path: Path, warnings: list[str]) -> Generator[bytes]:
    try:
        yield from decode(path, warnings)
    except BadAudio as error:
        raise Problem(Exit.BAD_AUDIO, str(error)) from None
