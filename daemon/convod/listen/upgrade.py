"""The WebSocket handshake, with TLS or without, and an open WebSocket as a link.

In: a TCP stream that was accepted, who may come and what serves them. Out: a link if the client asks for a subprotocol
the daemon speaks; others get HTTP 400. It never looks into a message. Imported where a WebSocket listener runs: HTTP
and frames are a sixth of what a daemon without one imports.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import trio
import trio_websocket

from convo.codec import RAW
from convo.messages import WEBSOCKET_JSON, WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.limits import Visit
from convod.listen.pace import READ_BYTES, PacedStream
from convod.listen.serve import LinkLost

if TYPE_CHECKING:
    from convod.listen.websocket import Front

SPOKEN: Final = (WEBSOCKET_SUBPROTOCOL, WEBSOCKET_JSON)

CLOSE_CODES: Final = {Code.TOO_LARGE: 1009, Code.BUSY: 1013}
REFUSED: Final = 1008
GOING_AWAY: Final = 1001

CLOSE_S: Final = 5.0
"""How long a closing handshake may take."""

QUEUE: Final = 8
"""Messages of one read that are taken before the reader waits; four times the largest message each at worst."""

STOPPING_S: Final = 0.25
"""How long it may take while the daemon stops: the answer is not read any more, only the goodbye is to get out."""

BROKEN_OFF: Final = (trio_websocket.ConnectionClosed, trio.BrokenResourceError, OSError)
"""What `converse` raises where a peer broke off its handshake; alone or in a group."""


class WebSocketLink:
    """A WebSocket; each message carries one map, as text if `is_json`."""

    def __init__(
        self, socket: trio_websocket.WebSocketConnection, stream: PacedStream, *, is_json: bool = False
    ) -> None:
        self._socket = socket
        self.rest_while = stream.rest_while
        self.is_json = is_json

    async def receive(self) -> bytes | None:
        """One message, None at the end. Text is handed on as bytes: where it is none, it is refused as such."""
        try:
            message: bytes | str = await self._socket.get_message()
        except trio_websocket.ConnectionClosed:
            return None
        if isinstance(message, str):
            return message.encode()
        return RAW + message if self.is_json else message

    async def send(self, data: list[bytes]) -> None:
        """Send messages."""
        try:
            for message in data:
                await self._socket.send_message(message.decode() if self.is_json else message)
        except trio_websocket.ConnectionClosed as error:
            raise LinkLost from error

    async def keep_alive(self, every_s: float) -> None:
        """Send a sign of life now and then, until the end: a pong, which nobody has to answer."""
        # Not a ping: its answer would be read only while our own reader reads.
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            while True:
                await trio.sleep(every_s)
                await self._socket.pong(b"")

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye with the close code that fits."""
        with trio.move_on_after(STOPPING_S if stopping else CLOSE_S):
            number = 1000 if code is None else CLOSE_CODES.get(code, REFUSED)
            await self._socket.aclose(GOING_AWAY if stopping else number)

    def abort(self) -> None:
        """The connection is closed when its handler returns, which follows."""


def _welcome(request: trio_websocket.WebSocketRequest, front: Front) -> bool:
    """Whether a page of this origin may connect. Programs send none."""
    origins = [value.decode("latin-1") for name, value in request.headers if name.lower() == b"origin"]
    allowed = front.settings().origins
    if not allowed:
        return not origins or front.guarded()
    return all(origin in allowed for origin in origins)


async def converse(stream: trio.SocketStream, secure: bool, front: Front, visit: Visit, peer: str) -> None:
    """Serve a connection from its handshake to its end.

    Raises:
        one of BROKEN_OFF.
    """
    settings = front.settings()
    paced = PacedStream(stream)
    carrier: trio.abc.Stream = paced
    async with trio.open_nursery() as reading:
        request = None
        with trio.move_on_after(settings.handshake_s):
            if secure:
                assert front.certificate is not None
                tls = trio.SSLStream(paced, front.certificate.context, server_side=True, https_compatible=True)
                await tls.do_handshake()
                carrier = tls
            # What is a little too large is refused with a sentence, what is far too large is not read.
            request = await trio_websocket.wrap_server_stream(
                reading,
                carrier,
                max_message_size=4 * settings.message_bytes,
                message_queue_size=QUEUE,
                receive_buffer_size=READ_BYTES,
            )
        spoken = next((one for one in request.proposed_subprotocols if one in SPOKEN), None) if request else None
        if request is not None and spoken is None:
            await request.reject(400, body=f"offer the subprotocol {' or '.join(SPOKEN)}\n".encode())
        elif request is not None and not _welcome(request, front):
            front.door.refused["origin"] += 1
            await request.reject(403, body=b"web pages of this origin may not connect; see listen.origins\n")
        elif request is not None:
            opened = await request.accept(subprotocol=spoken)
            link = WebSocketLink(opened, paced, is_json=spoken == WEBSOCKET_JSON)
            reading.start_soon(link.keep_alive, settings.ping_s)
            await front.serve(link, peer, visit)
        reading.cancel_scope.cancel()
