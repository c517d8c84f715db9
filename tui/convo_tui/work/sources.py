"""Where a live session's samples come from: the microphone, or a recording played as if it were spoken now.

In: a device's name, a path. Out: whole samples in order, and how loud they are. Nothing here knows a daemon.
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
_LOOKED_AT = 256  # samples of a piece that are enough to tell how loud it is


def level(data: bytes) -> float:
    """How loud s16le is: its root mean square in dBFS, `FLOOR_DBFS` at least."""
    samples = array("h", data[: len(data) - len(data) % 2])
    some = samples[:: max(1, len(samples) // _LOOKED_AT)]
    if not some:
        return FLOOR_DBFS
    power = sqrt(sum(sample * sample for sample in some) / len(some)) / 32768
    return max(FLOOR_DBFS, 20 * log10(power)) if power > 0 else FLOOR_DBFS


class Source(ABC):
    """Gives audio in order. `format` is a live session's, `name` says what it is."""

    format: AudioFormat
    name: str

    @abstractmethod
    async def read(self) -> bytes:
        """The next samples; empty at the end.

        Raises:
            BadAudio: there is no audio, or no more of it.
        """

    def pause(self) -> bytes:
        """Stop; what had been recorded until now."""
        return b""

    @abstractmethod
    def resume(self) -> None:
        """Go on after a pause."""

    def rest(self) -> bytes:
        """What had arrived when reading was broken off."""
        return b""

    def waiting_s(self) -> float:
        """Seconds of audio that are here and not read yet."""
        return 0.0

    def lost_s(self) -> float:
        """Seconds of audio that could not be kept."""
        return 0.0

    def close(self) -> None:
        """Let go of whatever it reads from."""
        return


class MicrophoneSource(Source):
    """The microphone. Paused, it is switched off. Raises like `convo.microphone.Microphone`."""

    def __init__(self, device: str | None) -> None:
        self.name = device or "microphone"
        self._device = device
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lost_s = 0.0
        self._left = b""  # of a microphone before this one
        self._microphone: Microphone | None = Microphone(device, self._wake)
        self.format = self._microphone.format

    async def read(self) -> bytes:
        """All that came since; waits if that is nothing."""
        while True:
            microphone = self._microphone
            if self._left:
                left, self._left = self._left, b""
                return left
            if microphone is not None and microphone.waiting:
                return microphone.take()
            if microphone is not None and microphone.ended:
                raise BadAudio("The microphone went away: plug it in and start again.")
            await self._news.wait()
            self._news.clear()

    def pause(self) -> bytes:
        """Switch it off."""
        rest = self.rest()
        self.close()
        return rest

    def resume(self) -> None:
        """Switch it on again. Raises like `convo.microphone.Microphone`."""
        fresh = Microphone(self._device, self._wake)
        if fresh.format != self.format:
            fresh.close()
            raise BadAudio("The microphone has another rate now: stop, and start again.")
        self._microphone = fresh

    def switch(self, device: str | None) -> None:
        """Listen to another one from now on. Raises like `resume`; then it is switched off."""
        running = self._microphone is not None
        self._device, self.name = device, device or "microphone"
        if running:
            self._left += self.pause()
            self.resume()

    def rest(self) -> bytes:
        """What was recorded until now."""
        return b"" if self._microphone is None else self._microphone.rest()

    def waiting_s(self) -> float:
        """Seconds recorded and not read yet."""
        return 0.0 if self._microphone is None else self._microphone.waiting_s

    def lost_s(self) -> float:
        """Seconds that were dropped."""
        return self._lost_s + (0.0 if self._microphone is None else self._microphone.lost_s())

    def close(self) -> None:
        """Switch it off."""
        if self._microphone is not None:
            self._lost_s += self._microphone.lost_s()
            self._microphone.close()
            self._microphone = None

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the app has ended already
            self._loop.call_soon_threadsafe(self._news.set)


class PlayedFile(Source):
    """A recording, given no faster than it plays."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.format = DECODED
        self._pieces: Generator[bytes] = decode(path)
        self._size = round(PACED_S * DECODED.rate) * frame_bytes(DECODED)
        self._waiting = b""
        self._begun: float | None = None
        self._given = 0
        self._reading: asyncio.Future[bytes] | None = None

    async def read(self) -> bytes:
        """A short piece, once it would have been spoken."""
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
        """Go on from where it was."""
        self._begun = None

    def close(self) -> None:
        """Let go of it."""
        with suppress(ValueError):  # a thread is in it, and leaves it at the end of its step
            self._pieces.close()

    async def _more(self) -> bytes:
        # Cancelled while the thread is in it, the step's piece is kept for the next call.
        if self._reading is None:
            self._reading = asyncio.ensure_future(asyncio.to_thread(next, self._pieces, b""))
        piece = await asyncio.shield(self._reading)
        self._reading = None
        return piece
