"""A client under asyncio: connects, runs the pump in two tasks, and closes.

In: the address of a daemon. Out: an open `Client`. This module is the only one of the package that imports
asyncio; it never looks into a message.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from . import pump
from .address import Address, check_place, default_url, parse
from .client import Client
from .errors import CannotConnect, ConnectionLost
from .exchange import reason_of
from .unix_peer import check_peer


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    client: str = "convo",
    connect_timeout: float = 10,
    ssl_context: ssl.SSLContext | None = None,
) -> AbstractAsyncContextManager[Client]:
    """Connect to a daemon, for the length of an `async with` block.

    Arguments and errors are those of `convo.connect`.
    """
    return _connect(parse(url or default_url()), token, client, connect_timeout, ssl_context)


@asynccontextmanager
async def _connect(
    address: Address,
    token: str | None,
    name: str,
    connect_timeout: float,
    ssl_context: ssl.SSLContext | None,
) -> AsyncIterator[Client]:
    stream: _AsyncioStream | None = None
    tasks: list[asyncio.Task[None]] = []
    try:
        try:
            async with asyncio.timeout(connect_timeout):
                stream = _AsyncioStream(*await _open(address, ssl_context))
                exchange = await pump.open_exchange(stream, address, client=name, token=token, new_event=asyncio.Event)
                tasks.append(asyncio.create_task(pump.read(stream, exchange)))
                tasks.append(asyncio.create_task(pump.write(stream, exchange)))
                welcome = await exchange.opened()
        except (OSError, ConnectionLost) as error:  # TimeoutError is an OSError
            raise CannotConnect(str(address), reason_of(error)) from error
        yield Client(exchange, welcome)
        with suppress(TimeoutError):
            async with asyncio.timeout(pump.CLOSE_SECONDS):
                await pump.finish(exchange)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if stream is not None:
            await stream.abort()


async def _open(
    address: Address, ssl_context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.scheme == "unix":
        check_place(address.path)
        reader, writer = await asyncio.open_unix_connection(address.path)
        try:
            check_peer(address.path, writer.get_extra_info("socket"))
        except OSError:
            writer.transport.abort()
            raise
        return reader, writer
    context = (ssl_context or ssl.create_default_context()) if address.secure else None
    return await asyncio.open_connection(address.host, address.port, ssl=context)


class _AsyncioStream:
    """An asyncio stream as the pump wants it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # So `drain` means that the kernel has it all, and closing at once loses nothing.
        writer.transport.set_write_buffer_limits(0)

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(f"The connection broke: {reason_of(error)}.") from error

    async def receive(self) -> bytes:
        try:
            return await self._reader.read(pump.READ_BYTES)
        except OSError as error:
            raise ConnectionLost(f"The connection broke: {reason_of(error)}.") from error

    async def abort(self) -> None:
        self._writer.transport.abort()
        with suppress(OSError):  # how it ended was told by `receive`
            await self._writer.wait_closed()
