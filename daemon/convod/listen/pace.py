"""A stream that is read less often while nobody speaks on it.

In: a stream, and word that what it brings is silence. Out: the same bytes, several messages at a time. A client sends
fifty small pieces a second for as long as its microphone is open; to wake up for each costs more than to hear it. So
while a connection brings nothing but silence, it rests between two reads, and what came meanwhile is read at once. It
never rests while somebody speaks, while anything but audio comes, or while there is more to read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

REST_S: Final = 0.1
"""How long a read waits in silence at most: speech is noticed that much later, and only at its very beginning."""

READ_BYTES: Final = 1 << 14
"""A read that brings so many has not brought all there is."""


class PacedStream(trio.abc.HalfCloseableStream):
    """`stream`, read through `receive_some` as ever, only later while it may rest."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self._quiet: Callable[[], bool] = bool
        self._more = False

    def rest_while(self, quiet: Callable[[], bool]) -> None:
        """Wait before a read for as long as `quiet()` says that what came is silence."""
        self._quiet = quiet

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Some bytes; none at the end."""
        if not self._more and self._quiet():
            # All connections rest until the same moments: one wake-up serves them all.
            await trio.sleep_until((trio.current_time() // REST_S + 1) * REST_S)
        most = max_bytes or READ_BYTES
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
