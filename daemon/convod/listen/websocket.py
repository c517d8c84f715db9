"""WebSocket listeners and their connections as links.

In: `ws://HOST:PORT`. Out: a link for each connection that asks for the subprotocol; others get HTTP 400.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio
import trio_websocket

from convo.address import Address, parse
from convo.messages import WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.pace import READ_BYTES, PacedStream
from convod.listen.serve import LinkLost
from convod.listen.settings import ListenSettings

log = logging.getLogger("convod.listen")

CLOSE_CODES: Final = {Code.TOO_LARGE: 1009, Code.BUSY: 1013}
REFUSED: Final = 1008
GOING_AWAY: Final = 1001

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

CLOSE_S: Final = 5.0
"""How long an opening or a closing handshake may take."""

QUEUE: Final = 8
"""Messages of one read that are taken before the reader waits; four times the largest message each at worst."""

STOPPING_S: Final = 0.25
"""How long it may take while the daemon stops: the answer is not read any more, only the goodbye is to get out."""


class BadAddress(ValueError):
    """A WebSocket address that cannot be listened on; the text says what to write."""


class WebSocketLink:
    """A WebSocket; each message carries one map."""

    def __init__(self, socket: trio_websocket.WebSocketConnection, stream: PacedStream) -> None:
        self._socket = socket
        self.rest_while = stream.rest_while

    async def receive(self) -> bytes | None:
        """One message, None at the end. Text is handed on as bytes: it is no MessagePack map, and refused as such."""
        try:
            message = await self._socket.get_message()
        except trio_websocket.ConnectionClosed:
            return None
        return message.encode() if isinstance(message, str) else message

    async def send(self, data: list[bytes]) -> None:
        """Send messages."""
        try:
            for message in data:
                await self._socket.send_message(message)
        except trio_websocket.ConnectionClosed as error:
            raise LinkLost from error

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye with the close code that fits."""
        with trio.move_on_after(STOPPING_S if stopping else CLOSE_S):
            number = 1000 if code is None else CLOSE_CODES.get(code, REFUSED)
            await self._socket.aclose(GOING_AWAY if stopping else number)

    def abort(self) -> None:
        """The connection is closed when its handler returns, which follows."""


def check(url: str, *, token: str, insecure: bool) -> Address:
    """The address behind a `ws://HOST:PORT`.

    Raises:
        BadAddress: it is none, or not one to be open to everybody.
    """
    try:
        address = parse(url)
    except ValueError as error:
        raise BadAddress(str(error)) from error
    if address.scheme != "ws":
        raise BadAddress(f"listen on ws://HOST:PORT, not {url!r}; put a TLS proxy before it for wss")
    if address.host not in LOOPBACK and not (insecure or token):
        raise BadAddress(f"{url} is open to the network: set listen.token, or listen.insecure = true to mean it")
    return address


def _peer(stream: trio.SocketStream) -> str:
    host, port = stream.socket.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _welcome(request: trio_websocket.WebSocketRequest, settings: ListenSettings) -> bool:
    """Whether a page of this origin may connect. Programs send none; a token is proof enough of itself."""
    origins = [value.decode("latin-1") for name, value in request.headers if name.lower() == b"origin"]
    return bool(settings.token) or all(origin in settings.origins for origin in origins)


async def listen(
    address: Address,
    settings: ListenSettings,
    serve: Callable[[WebSocketLink, str], Awaitable[None]],
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections until cancelled; the url listened on is handed to `task_status`."""

    async def converse(stream: trio.SocketStream) -> None:
        paced = PacedStream(stream)
        async with trio.open_nursery() as reading:
            request = None
            with trio.move_on_after(CLOSE_S):
                # What is a little too large is refused with a sentence, what is far too large is not read.
                request = await trio_websocket.wrap_server_stream(
                    reading,
                    paced,
                    max_message_size=4 * settings.message_bytes,
                    message_queue_size=QUEUE,
                    receive_buffer_size=READ_BYTES,
                )
            if request is not None and WEBSOCKET_SUBPROTOCOL not in request.proposed_subprotocols:
                await request.reject(400, body=f"offer the subprotocol {WEBSOCKET_SUBPROTOCOL}\n".encode())
            elif request is not None and not _welcome(request, settings):
                await request.reject(403, body=b"web pages of this origin may not connect; see listen.origins\n")
            elif request is not None:
                socket = await request.accept(subprotocol=WEBSOCKET_SUBPROTOCOL)
                await serve(WebSocketLink(socket, paced), _peer(stream))
            reading.cancel_scope.cancel()

    async def handle(stream: trio.SocketStream) -> None:
        # trio_websocket raises where a peer breaks off its handshake: that is the end of this connection only.
        try:
            async with stream:
                await converse(stream)
        except* trio_websocket.ConnectionClosed:
            pass
        except* Exception:
            log.exception("a connection was ended by a fault of convod")

    listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    host = f"[{address.host}]" if ":" in address.host else address.host
    task_status.started(f"ws://{host}:{listeners[0].socket.getsockname()[1]}")
    await trio.serve_listeners(handle, listeners)
