"""A stream that is read less often while nobody speaks on it.

In: a stream, and word that what it brings is silence. Out: the same bytes, several messages at a time. A client sends
fifty small pieces a second for as long as its microphone is open; to wake up for each costs more than to hear it. So
while a connection brings nothing but silence, it rests between two reads, and what came meanwhile is read at once. It
never rests while somebody speaks, while anything but audio comes, or while there is more to read.

What a socket has after a rest, and what it takes at once, is read and written without trio's turn of the loop for each:
that turn, too, costs more than to hear what came.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import trio

REST_S: Final = 0.1
"""How long a read waits in silence at most: speech is noticed that much later, and only at its very beginning."""

READ_BYTES: Final = 1 << 14
"""A read that brings so many has not brought all there is."""


class _Moments:
    """When all connections that rest wake up: every REST_S. One of them sleeps until then, the others wait for it."""

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()
        self._asleep = False

    async def wait(self) -> None:
        """Until the next moment, or a little before: if the one that sleeps for all is cancelled."""
        if self._asleep:
            await self._waiting.park()
            return
        self._asleep = True
        try:
            await trio.sleep_until((trio.current_time() // REST_S + 1) * REST_S)
        finally:
            self._asleep = False
            self._waiting.unpark_all()


_LOOPS: Final = trio.lowlevel.RunVar[_Moments]("convod.listen.pace")


def _moments() -> _Moments:
    """Those of this event loop."""
    try:
        return _LOOPS.get()
    except LookupError:
        _LOOPS.set(moments := _Moments())
        return moments


class PacedStream(trio.abc.HalfCloseableStream):
    """`stream`, read through `receive_some` as ever, only later while it may rest. `abort` closes it at once."""

    def __init__(self, stream: trio.abc.HalfCloseableStream, *, abort: Callable[[], None] = lambda: None) -> None:
        self.abort = abort
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._quiet: Callable[[], bool] = bool
        self._more = False

    def rest_while(self, quiet: Callable[[], bool]) -> None:
        """Wait before a read for as long as `quiet()` says that what came is silence."""
        self._quiet = quiet

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes; none at the end."""
        most = max_bytes or READ_BYTES
        data: bytes | bytearray | None = None
        if not self._more and self._quiet():
            await _moments().wait()
            data = self._read_now(most)
        if data is None:
            data = await self._stream.receive_some(most)
        self._more = len(data) == most
        return data

    def _read_now(self, most: int) -> bytes | None:
        """What has come, None where the stream is to be asked."""
        if self._socket is None or self._socket.fileno() < 0:
            return None
        try:
            return os.read(self._socket.fileno(), most)
        except BlockingIOError:
            return None
        except OSError as error:  # which is told once: the stream would find nothing but the end
            raise trio.BrokenResourceError(f"the connection broke: {error}") from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as the stream does; one sender at a time."""
        sent = 0
        if self._socket is not None:
            try:
                sent = os.write(self._socket.fileno(), data)
            except OSError:  # it takes nothing now, or never again: the stream finds out
                sent = 0
        if sent < len(data):
            await self._stream.send_all(memoryview(data)[sent:])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait, as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send the end, as the stream does."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close, as the stream does."""
        await self._stream.aclose()
