"""A stream that is read less often while nobody speaks on it.

In: a stream, and whether it brings silence. Out: the same bytes, several messages at a time. A client sends fifty small
pieces a second while its microphone is open, and waking for each costs more than processing it. So while a connection
brings nothing but silence, it rests between two reads, and what came meanwhile is read at once. It never rests while
somebody speaks, while anything but audio comes, or while there is more to read.

On a machine at rest a silent session costs three times as much without it (scripts/bench/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

REST_S: Final = 0.1
"""Longest rest: the very beginning of speech may be noticed so much later."""

READ_BYTES: Final = 1 << 14
"""Most bytes of one read: one that brings so many may have left some."""


class _SharedTimer:
    """Wakes all resting connections every REST_S: one of them sleeps until then, the others wait for it."""

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()
        self._asleep = False

    async def wait(self) -> None:
        """Wait for the next tick, or a little less if the connection that sleeps for all is cancelled."""
        if self._asleep:
            await self._waiting.park()
            return
        self._asleep = True
        try:
            await trio.sleep_until((trio.current_time() // REST_S + 1) * REST_S)
        finally:
            self._asleep = False
            self._waiting.unpark_all()


_LOOPS: Final = trio.lowlevel.RunVar[_SharedTimer]("convod.listen.pace")


def _timer() -> _SharedTimer:
    """Return the one of this event loop."""
    try:
        return _LOOPS.get()
    except LookupError:
        _LOOPS.set(timer := _SharedTimer())
        return timer


class PacedStream(trio.abc.HalfCloseableStream):
    """`stream`, whose reads come a little later while `rests` is set. `abort` closes it at once."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, *, abort: Callable[[], None] = lambda: None) -> None:
        self.abort = abort
        self._stream = stream
        self.rests = False
        self._more = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return some bytes; none at the end."""
        most = max_bytes or READ_BYTES
        if self.rests and not self._more:
            await _timer().wait()
        data = await self._stream.receive_some(most)
        self._more = len(data) == most
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as the stream does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait, as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send the end, as the stream does."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close, as the stream does."""
        await self._stream.aclose()
