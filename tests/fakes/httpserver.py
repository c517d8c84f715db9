"""A small HTTP/1.1 server on trio and h11, for fakes that must control every byte and every pause.

In: a handler, which gets a request and a `Reply` to write with. Out: real sockets on 127.0.0.1. It never decides
what to answer. One request a connection, so that a closed connection means a closed request.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
import trio


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Reply:
    """Writes one answer. `die` breaks the connection in the middle of it."""

    def __init__(self, stream: trio.SocketStream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection

    async def send(
        self,
        status: int,
        body: Any,
        content_type: str = "application/json",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.start(status, content_type, length=len(data), more=headers)
        await self.write(data)
        await self.end()

    async def start(
        self, status: int, content_type: str, length: int | None = None, more: Sequence[tuple[str, str]] = ()
    ) -> None:
        size = ("content-length", str(length)) if length is not None else ("transfer-encoding", "chunked")
        headers = [("content-type", content_type), size, ("connection", "close"), *more]
        await self._send(h11.Response(status_code=status, headers=headers))

    async def write(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def die(self) -> None:
        await self._stream.aclose()

    async def wait_hung_up(self) -> None:
        """Until the client closes its side."""
        try:
            while await self._stream.receive_some(4096):
                pass
        except trio.BrokenResourceError:
            pass

    async def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        await self._stream.send_all(self._connection.send(event))


Handler = Callable[[Request, Reply], Awaitable[None]]


async def serve(
    handler: Handler, port: int = 0, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled; the port goes to `task_status`."""

    async def connected(stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            request = await _receive(stream, connection)
            if request is not None:
                await handler(request, Reply(stream, connection))
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # the client went away, or the handler broke the connection: both are what a test wants
        finally:
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, connected, listeners)
        task_status.started(port)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address (http://…) of a server that lives as long as the block."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, handler)
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


async def stall(stalled: trio.Event, release: trio.Event, hung_up: trio.Event, reply: Reply) -> None:
    """Say nothing until the test says so or the client is gone."""
    stalled.set()
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            await reply.wait_hung_up()
            hung_up.set()
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        await release.wait()
        nursery.cancel_scope.cancel()


async def _receive(stream: trio.SocketStream, connection: h11.Connection) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode(): value.decode() for name, value in head.headers}
            return Request(head.method.decode(), head.target.decode(), headers, body)
        else:
            return None
