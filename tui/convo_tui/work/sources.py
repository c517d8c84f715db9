"""Sources of samples for a live session: the microphone, or a recording played in real time.

In: a device's name, a path. Out: whole samples in order, and their loudness. Nothing here knows a daemon.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from array import array
from collections.abc import Generator
from contextlib import suppress
from math import log10, sqrt
from pathlib import Path

from convo.errors import BadAudio
from convo.media import DECODED, PACED_S, decode, frame_bytes, seconds
from convo.messages import AudioFormat
from convo.microphone import Microphone

FLOOR_DBFS = -60.0
_MEASURED = 256  # samples of a piece, enough to measure its loudness


def level(data: bytes) -> float:
    """The loudness of s16le audio: its root mean square in dBFS, at least `FLOOR_DBFS`."""
    samples = array("h", data[: len(data) - len(data) % 2])
    some = samples[:: max(1, len(samples) // _MEASURED)]
    if not some:
        return FLOOR_DBFS
    power = sqrt(sum(sample * sample for sample in some) / len(some)) / 32768
    return max(FLOOR_DBFS, 20 * log10(power)) if power > 0 else FLOOR_DBFS


class Source(ABC):
    """Gives audio in order, in `format`; `name` is what the user sees."""

    format: AudioFormat
    name: str

    @abstractmethod
    async def read(self) -> bytes:
        """Return the next samples; empty at the end.

        Raises:
            BadAudio: the audio cannot be read, or not any further.
        """

    def pause(self) -> bytes:
        """Pause. Returns what was recorded until now."""
        return b""

    @abstractmethod
    def resume(self) -> None:
        """Resume after a pause."""

    def rest(self) -> bytes:
        """Return what had arrived when reading was interrupted."""
        return b""

    def waiting_s(self) -> float:
        """Seconds of audio waiting to be read."""
        return 0.0

    def lost_s(self) -> float:
        """Seconds of audio dropped."""
        return 0.0

    def warnings(self) -> list[str]:
        """What was wrong with what was read so far, a sentence each."""
        return []

    def close(self) -> None:
        """Release what it reads from."""
        return


class MicrophoneSource(Source):
    """The microphone, switched off while paused. Raises like `convo.microphone.Microphone`."""

    def __init__(self, device: str | None) -> None:
        self.name = device or "microphone"
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lost_s = 0.0
        self._left = b""  # from the microphone before this one
        self._microphone: Microphone | None = Microphone(device, self._wake)
        self.format = self._microphone.format

    async def read(self) -> bytes:
        """Return everything recorded since the last call; wait if there is nothing."""
        while True:
            microphone = self._microphone
            if self._left:
                left, self._left = self._left, b""
                return left
            if microphone is not None and microphone.waiting:
                return microphone.take()
            if microphone is not None and microphone.ended:
                raise BadAudio("The microphone was unplugged: plug it in and start again.")
            await self._news.wait()
            self._news.clear()

    def pause(self) -> bytes:
        """Switch it off. Returns what was recorded until now."""
        rest = self.rest()
        self.close()
        return rest

    def resume(self) -> None:
        """Switch it on again. Raises like `convo.microphone.Microphone`."""
        fresh = Microphone(self._device, self._wake)
        if fresh.format != self.format:
            fresh.close()
            raise BadAudio("The microphone's sample rate changed: stop and start again.")
        self._microphone = fresh

    def switch(self, device: str | None) -> None:
        """Switch to another microphone. Raises like `resume`, and is off then."""
        running = self._microphone is not None
        self._device, self.name = device, device or "microphone"
        if running:
            self._left += self.pause()
            self.resume()

    def rest(self) -> bytes:
        """Return what was recorded until now."""
        return b"" if self._microphone is None else self._microphone.rest()

    def waiting_s(self) -> float:
        """Seconds recorded and not yet read."""
        return 0.0 if self._microphone is None else self._microphone.waiting_s

    def lost_s(self) -> float:
        """Seconds dropped."""
        return self._lost_s + (0.0 if self._microphone is None else self._microphone.lost_s())

    def close(self) -> None:
        """Switch it off."""
        if self._microphone is not None:
            self._lost_s += self._microphone.lost_s()
            self._microphone.close()
            self._microphone = None

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(self._news.set)


class PlayedFile(Source):
    """A recording, read no faster than it plays."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.format = DECODED
        self._warnings: list[str] = []
        self._pieces: Generator[bytes] = decode(path, self._warnings)
        self._size = round(PACED_S * DECODED.rate) * frame_bytes(DECODED)
        self._waiting = b""
        self._begun: float | None = None
        self._given = 0
        self._reading: asyncio.Future[bytes] | None = None

    async def read(self) -> bytes:
        """Return a short piece once it would have been spoken."""
        while len(self._waiting) < self._size and (more := await self._more()):
            self._waiting += more
        if not self._waiting:
            return b""
        now = asyncio.get_running_loop().time()
        if self._begun is None:
            self._begun, self._given = now, 0
        due = self._begun + seconds(self.format, self._given + self._size)
        if due > now:
            await asyncio.sleep(due - now)
        piece, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        self._given += len(piece)
        return piece

    def resume(self) -> None:
        """Resume where it stopped."""
        self._begun = None

    def warnings(self) -> list[str]:
        """What the decoder says of the file."""
        return self._warnings

    def close(self) -> None:
        """Close the file."""
        with suppress(ValueError):  # a thread is inside, and leaves at the end of its step
            self._pieces.close()

    async def _more(self) -> bytes:
        # If cancelled while the thread runs, its piece is kept for the next call.
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(next, self._pieces, b""))
        piece = await asyncio.shield(self._reading)
        self._reading = None
        return piece
