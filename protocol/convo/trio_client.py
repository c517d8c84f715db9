"""A client under trio: connects, runs the pump in a nursery, and closes.

In: the address of a daemon. Out: an open `Client`. This module is the only one of the package that imports trio;
it never looks into a message.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

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

    Args:
        url: `unix:PATH`, `ws://host:port` or `wss://host:port`; by default what `default_url` finds.
        token: what proves who this is, where the daemon wants that.
        client: name and version of this program, for the daemon's log.
        connect_timeout: seconds for connecting and the handshake.
        ssl_context: for wss, instead of the system's.

    Raises:
        ValueError: the URL is none.
        CannotConnect: nobody answered there.
        RequestError: the daemon refused this client, for example as `unauthorized`.
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
    # What the block raises is kept and raised outside of the nursery, which would put it into a group.
    kept: BaseException | None = None
    stream: _TrioStream | None = None
    async with trio.open_nursery() as nursery:
        try:
            try:
                with trio.fail_after(connect_timeout):
                    stream = _TrioStream(await _open(address, ssl_context))
                    exchange = await pump.open_exchange(stream, address, client=name, token=token, new_event=trio.Event)
                    nursery.start_soon(pump.read, stream, exchange)
                    nursery.start_soon(pump.write, stream, exchange)
                    welcome = await exchange.opened()
            except (OSError, trio.TooSlowError, trio.BrokenResourceError, ConnectionLost) as error:
                raise CannotConnect(str(address), _reason(error)) from error
            yield Client(exchange, welcome)
            with trio.move_on_after(pump.CLOSE_SECONDS):
                await pump.finish(exchange)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as error:  # groups with an interrupt in them, too
            kept = error
        finally:
            nursery.cancel_scope.cancel()
            if stream is not None:
                await stream.aclose()
    if kept is not None:
        raise kept


async def _open(address: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    if address.scheme == "unix":
        check_place(address.path)
        stream = await trio.open_unix_socket(address.path)
        try:
            check_peer(address.path, stream.socket)
        except OSError:
            await trio.aclose_forcefully(stream)
            raise
        return stream
    if address.secure:
        context = ssl_context or ssl.create_default_context()
        tls = await trio.open_ssl_over_tcp_stream(
            address.host, address.port, ssl_context=context, https_compatible=True
        )
        try:
            await tls.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(tls)
            raise
        return tls
    return await trio.open_tcp_stream(address.host, address.port)


class _TrioStream:
    """A trio stream as the pump wants it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost(error) from error

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(pump.READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost(error) from error

    async def aclose(self) -> None:
        # Everything worth saying was said: TLS's own goodbye is not waited for.
        await trio.aclose_forcefully(self._stream)


def _lost(error: Exception) -> ConnectionLost:
    cause = error.__cause__
    return ConnectionLost(f"The connection broke: {reason_of(cause)}." if cause is not None else pump.GONE)


def _reason(error: BaseException) -> str:
    if isinstance(error, trio.TooSlowError):
        return "no answer came in time"
    if isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        return reason_of(error.__cause__)  # TLS
    if isinstance(error, OSError) and isinstance(error.__cause__, BaseExceptionGroup):
        return reason_of(error.__cause__.exceptions[0])  # trio tried every address of the host
    return reason_of(error)
