"""The client's transport under trio and asyncio, through anyio: connects, moves the bytes, closes.

In: the address of a daemon. Out: an open `Client`. This module never looks into a message.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup, UNIXSocketStream
from anyio.lowlevel import checkpoint

from .address import Address, check_place, default_url, parse
from .client import Client
from .client_core import RECEIVE_BYTES, ClientCore
from .client_io import ClientIO
from .errors import CannotConnect, ConnectionLost
from .framing import Framing, LengthPrefixed
from .unix_peer import check_peer

if TYPE_CHECKING:
    import ssl

    from .websocket import WebSocketFraming

_READ_BYTES = 1 << 16

_CLOSE_S = 2.0
"""Longest wait for the last writes, and for the daemon's closing handshake."""

_GONE = "The daemon closed the connection."
_CLOSED = "The connection was closed."


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    client: str = "convo",
    connect_timeout: float = 10,
    ssl_context: ssl.SSLContext | None = None,
) -> AbstractAsyncContextManager[Client]:
    """Connect to a daemon, for the length of an `async with` block, under trio or asyncio.

    Args:
        url: `unix:PATH`, `ws://host:port` or `wss://host:port`; by default what `default_url` finds.
        token: authenticates the client, where the daemon requires it.
        client: name and version of this program, for the daemon's log.
        connect_timeout: seconds for connecting and the handshake.
        ssl_context: for wss, instead of the system's.

    Raises:
        ValueError: it is not a URL of a daemon.
        CannotConnect: no daemon answered there.
        RequestError: the daemon refused this client, for example as `unauthorized`.
    """
    return _connect(parse(url or default_url()), token, client, connect_timeout, ssl_context)


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """Run tasks that are cancelled at the end of the block; what the block raises comes out as it is, in no group."""
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except (anyio.get_cancelled_exc_class(), GeneratorExit):
            raise
        except BaseException as error:  # groups with an interrupt in them, too
            raised = error
        finally:
            tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


@asynccontextmanager
async def _connect(
    address: Address,
    token: str | None,
    name: str,
    connect_timeout: float,
    ssl_context: ssl.SSLContext | None,
) -> AsyncIterator[Client]:
    stream: _Stream | None = None
    io: ClientIO | None = None
    try:
        async with background_tasks() as tasks:
            try:
                try:
                    with anyio.fail_after(connect_timeout):
                        stream = _Stream(await _open(address, ssl_context))
                        io = await _handshake(stream, address, client=name, token=token)
                        tasks.start_soon(_read, stream, io)
                        tasks.start_soon(_write, stream, io)
                        welcome = await io.opened()
                except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, ConnectionLost) as error:
                    raise CannotConnect(str(address), reason_of(error)) from error  # TimeoutError is an OSError
                yield Client(io, welcome)
                with anyio.move_on_after(_CLOSE_S):
                    await _finish(io)
            finally:
                if io is not None:
                    io.lost(_CLOSED)  # wakes tasks that still wait, shielded from what ended the block
    finally:
        if stream is not None:  # after the tasks: nobody may wait for a descriptor that is closed, or another's by then
            await stream.abort()


async def _open(address: Address, ssl_context: ssl.SSLContext | None) -> ByteStream:
    if address.scheme == "unix":
        check_place(address.path)
        stream = await anyio.connect_unix(address.path)
        try:
            check_peer(address.path, stream.extra(SocketAttribute.raw_socket))
        except OSError:
            await anyio.aclose_forcefully(stream)
            raise
        return _UnixStream(stream)
    if not address.secure:
        return await anyio.connect_tcp(address.host, address.port)
    if ssl_context is None:
        import ssl  # slow to import, and rarely needed

        ssl_context = ssl.create_default_context()
    return await anyio.connect_tcp(
        address.host, address.port, tls=True, ssl_context=ssl_context, tls_standard_compatible=False
    )


async def _handshake(stream: _Stream, address: Address, *, client: str, token: str | None) -> ClientIO:
    """Do the WebSocket's handshake, if there is one; the contract's own handshake is in the outbox.

    Raises:
        ConnectionLost: the other side refused the WebSocket, or closed the connection.
    """
    framing: Framing = LengthPrefixed(RECEIVE_BYTES)
    websocket: WebSocketFraming | None = None
    if address.scheme != "unix":
        from .websocket import WebSocketFraming  # not needed for the usual Unix socket, and slow to import

        framing = websocket = WebSocketFraming(address, RECEIVE_BYTES)
        await stream.send(websocket.data_to_send())
        while not websocket.opened:
            data = await stream.receive()
            if not data:
                raise ConnectionLost("It closed the connection during the handshake.")
            websocket.receive_data(data)
            if websocket.ended is not None:
                raise ConnectionLost(websocket.ended)
    return ClientIO(ClientCore(framing, client=client, token=token), websocket)


async def _read(stream: _Stream, io: ClientIO) -> None:
    """Pass on what comes, until the connection ends."""
    try:
        while not io.core.lost:
            data = await stream.receive()
            if data:
                io.received(data)
            else:
                io.lost(_GONE)
    except ConnectionLost as error:
        io.lost(str(error))


async def _write(stream: _Stream, io: ClientIO) -> None:
    """Write what is to be sent, message by message."""
    try:
        while True:
            await stream.send(await io.next_outgoing())
            io.written()
    except ConnectionLost:
        pass  # the reader sees the end too, after what the daemon may have said about it


async def _finish(io: ClientIO) -> None:
    """Wait until everything is written and, for a WebSocket, both sides have closed it."""
    await io.drained()
    if io.start_close():
        await io.drained()
        await io.wait_lost()


class _UnixStream(ByteStream):
    """A Unix socket that anyio opened, read and written without anyio's futures: under asyncio these get a result after
    they were cancelled if the socket becomes ready in the same turn of the loop; asyncio prints an InvalidStateError.
    """

    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)

    async def receive(self, max_bytes: int = _READ_BYTES) -> bytes:
        await checkpoint()
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        await checkpoint()
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Stream:
    """A byte stream whose errors are ConnectionLost."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _lost(error) from error

    async def receive(self) -> bytes:
        try:
            return await self._stream.receive(_READ_BYTES)
        except anyio.EndOfStream:
            return b""
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _lost(error) from error

    async def abort(self) -> None:
        # Everything has been said: TLS's closing alert is not waited for.
        await anyio.aclose_forcefully(self._stream)


def _lost(error: Exception) -> ConnectionLost:
    cause = error if isinstance(error, OSError) else error.__cause__
    return ConnectionLost(f"The connection broke: {reason_of(cause)}." if cause is not None else _GONE)


def reason_of(error: BaseException) -> str:
    """Say in half a sentence why a connection could not be made."""
    cause = error.__cause__
    if cause is not None and (type(error) is OSError or isinstance(error, anyio.BrokenResourceError)):
        # anyio tried every address of the host, or says only that TLS broke.
        return reason_of(cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause)
    if isinstance(error, anyio.EndOfStream):
        return "it closed the connection"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, PermissionError):
        return "you may not open this socket (are you in its group?)"
    if isinstance(error, TimeoutError):
        return "no answer came in time"
    if said := getattr(error, "verify_message", ""):  # of ssl, which is not imported for this
        return f"its certificate is not trusted: {said}"
    if isinstance(error, OSError) and error.errno is not None:
        # Resolvers have negative numbers and ssl has none of errno's; both have words of their own.
        own = error.errno < 0 or type(error).__module__ == "ssl"
        return str(error.strerror) if own else os.strerror(error.errno).lower()
    return str(error).strip().rstrip(".").replace("\n", " ") or type(error).__name__
