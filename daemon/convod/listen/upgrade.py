"""The WebSocket handshake, with TLS or without, and an open WebSocket as a link.

In: a TCP stream that was accepted, who may come and what serves them. Out: a link if the client asks for a subprotocol
the daemon speaks; others get HTTP 400. It never looks into a message; wsproto knows the frames, this module their
order. Imported where a WebSocket listener runs: HTTP and frames are a good part of what the daemon would import.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from convo.codec import RAW
from convo.messages import WEBSOCKET_JSON, WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.limits import STRANGER_BYTES, Visit
from convod.listen.pace import READ_BYTES, PacedStream
from convod.listen.serve import LinkLost

if TYPE_CHECKING:
    from convod.listen.settings import ListenSettings
    from convod.listen.websocket import Front

SPOKEN: Final = (WEBSOCKET_SUBPROTOCOL, WEBSOCKET_JSON)

CLOSE_CODES: Final = {Code.TOO_LARGE: 1009, Code.BUSY: 1013}
REFUSED: Final = 1008
GOING_AWAY: Final = 1001
TOO_LARGE: Final = 1009

EXTRA_WEIGHT: Final = 20
"""A frame that is no message, or a fragment that holds next to nothing, counts as so many messages."""

FRAGMENT_BYTES: Final = 1024
"""A fragment of so many bytes is worth its frame."""

CLOSE_S: Final = 5.0
"""How long a closing handshake may take."""

_BLANK_LINE: Final = b"\r\n\r\n"

STOPPING_S: Final = 0.25
"""How long it may take while the daemon stops: the answer is not read any more, only the goodbye is to get out."""


class WebSocketLink:
    """A WebSocket whose handshake is done; each message carries one map, as text if `is_json`.

    `paced` is the stream below `stream`, or it; `rest` is what came together with the handshake. A message that is far
    too large is not read; one that is a little too large is handed on, for whoever reads it to refuse in a sentence.
    """

    def __init__(
        self,
        websocket: WSConnection,
        stream: trio.abc.Stream,
        paced: PacedStream,
        settings: ListenSettings,
        *,
        rest: bytes = b"",
        is_json: bool = False,
        pause: Callable[[int, int], float] = lambda size, messages: 0.0,
    ) -> None:
        self.is_json = is_json
        self._pause = pause
        self._rest = rest
        self.rest_while = paced.rest_while
        self._abort = paced.abort
        self._websocket = websocket
        self._stream = stream
        self._message_bytes = settings.message_bytes
        self._most = min(STRANGER_BYTES, 4 * settings.message_bytes)
        self._unanswered: int | None = 0  # bytes that came before the first message was whole; None once it is trusted
        self._stall_s = settings.stall_s
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._ended = False
        self._sending = trio.Lock()

    async def receive(self) -> bytes | None:
        """One message, None at the end. Text is handed on as bytes: where it is none, it is refused as such."""
        if self._rest:
            rest, self._rest = self._rest, b""
            await self._receive(rest)
        while not self._messages and not self._ended:
            await self._read()
        return self.receive_nowait()

    def trust(self) -> None:
        """Take messages as large as the settings say."""
        self._most = 4 * self._message_bytes
        self._unanswered = None

    def receive_nowait(self) -> bytes | None:
        """One message that was read already."""
        return self._messages.popleft() if self._messages else None

    async def send(self, data: list[bytes]) -> None:
        """Send messages."""
        await self._send(*(TextMessage(one.decode()) if self.is_json else BytesMessage(one) for one in data))

    async def keep_alive(self, every_s: float) -> None:
        """Send a sign of life now and then, until the end: a pong, which nobody has to answer."""
        # Not a ping: its answer would be read only while our own reader reads.
        while not self._ended:
            await trio.sleep(every_s)
            await self._answer(Pong())

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Say goodbye with the close code that fits, and wait a little for the answer."""
        number = 1000 if code is None else CLOSE_CODES.get(code, REFUSED)
        with trio.move_on_after(STOPPING_S if stopping else CLOSE_S):
            await self._answer(CloseConnection(GOING_AWAY if stopping else number))
            while not self._ended:
                self._messages.clear()
                await self._read()
            await self._stream.aclose()

    def abort(self) -> None:
        """Close at once."""
        self._ended = True
        self._abort()

    async def _read(self) -> None:
        """What comes next: messages for `receive`, answers to what the WebSocket itself asks."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if data:
            await self._receive(bytes(data))
        else:
            self._ended = True

    async def _receive(self, data: bytes) -> None:
        extra = 0
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                extra += _is_extra(event)
                await self._take(event)
        except (LocalProtocolError, RemoteProtocolError):
            self._ended = True
        if self._unanswered is not None and not self._messages and not self._ended:
            self._unanswered += len(data)
            if self._unanswered > STRANGER_BYTES:
                await self._answer(CloseConnection(TOO_LARGE))
                self._ended = True
        if extra and not self._ended and (wait := self._pause(0, extra * EXTRA_WEIGHT)):
            await trio.sleep(wait)

    async def _take(self, event: Event) -> None:
        if self._ended:
            return
        if isinstance(event, BytesMessage | TextMessage):
            if len(self._partial) + len(event.data) > self._most:
                await self._answer(CloseConnection(TOO_LARGE))
                self._ended = True
            elif isinstance(event, TextMessage):
                self._piece(event.data.encode(), b"", last=event.message_finished)
            else:
                self._piece(event.data, RAW if self.is_json else b"", last=event.message_finished)
        elif isinstance(event, Ping):
            await self._answer(event.response())
        elif isinstance(event, CloseConnection):
            await self._answer(event.response())
            self._ended = True

    def _piece(self, data: bytes | bytearray, prefix: bytes, *, last: bool) -> None:
        if last and not self._partial:
            self._messages.append(prefix + data if prefix else bytes(data))
            return
        self._partial += data if self._partial else prefix + data
        if last:
            self._messages.append(bytes(self._partial))
            self._partial.clear()

    async def _answer(self, event: Event) -> None:
        """Send what the WebSocket itself has to say. Whoever does not take that much is gone."""
        with trio.move_on_after(self._stall_s) as sending:
            try:
                await self._send(event)
            except LinkLost:
                self._ended = True
        if sending.cancelled_caught:
            self.abort()

    async def _send(self, *events: Event) -> None:
        async with self._sending:
            try:
                await self._stream.send_all(b"".join(map(self._websocket.send, events)))
            except (LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise LinkLost from error


def _is_extra(event: Event) -> bool:
    """Whether it brings work and no message: control frames, and fragments that hold next to nothing."""
    if isinstance(event, BytesMessage | TextMessage):
        return not event.message_finished and len(event.data) < FRAGMENT_BYTES
    return True


async def converse(stream: trio.SocketStream, secure: bool, front: Front, visit: Visit, peer: str) -> None:
    """Serve a connection from its handshake to its end.

    Raises:
        BrokenResourceError, OSError: the peer broke off its handshake; alone or in a group.
    """
    settings = front.settings()
    paced = PacedStream(stream, abort=stream.socket.close)
    carrier: trio.abc.Stream = paced
    websocket = WSConnection(ConnectionType.SERVER)
    link: WebSocketLink | None = None
    with trio.CancelScope(deadline=visit.deadline):
        if secure:
            assert front.certificate is not None
            tls = trio.SSLStream(paced, front.certificate.context, server_side=True, https_compatible=True)
            await tls.do_handshake()
            carrier = tls
        request, rest = await _request(websocket, carrier)
        visit.spoke = True
        answer, spoken = _answer_to(request, front)
        await carrier.send_all(b"".join(map(websocket.send, answer)))
        if spoken:
            link = WebSocketLink(
                websocket, carrier, paced, settings, rest=rest, is_json=spoken == WEBSOCKET_JSON, pause=visit.pause
            )  # fmt: skip
    if link is None:
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.keep_alive, settings.ping_s)
        await front.serve(link, peer, visit)
        nursery.cancel_scope.cancel()


async def _request(websocket: WSConnection, stream: trio.abc.Stream) -> tuple[Request, bytes]:
    """The request for a WebSocket, and what came behind it. What is none gets HTTP 400.

    Raises:
        BrokenResourceError: it was none, or none came.
    """
    before = b""
    while True:
        data = bytes(await stream.receive_some(READ_BYTES))
        if not data:
            raise trio.BrokenResourceError("it ended before it asked for anything")
        # wsproto forgets frames that it is given before it has accepted.
        end = (before + data).find(_BLANK_LINE)
        head = data if end < 0 else data[: end + len(_BLANK_LINE) - len(before)]
        before = (before + data)[1 - len(_BLANK_LINE) :]
        try:
            websocket.receive_data(head)
        except RemoteProtocolError as error:
            if isinstance(error.event_hint, RejectConnection):
                await stream.send_all(websocket.send(error.event_hint))
            raise trio.BrokenResourceError(str(error)) from error
        for event in websocket.events():
            if isinstance(event, Request):
                return event, data[len(head) :]


def _answer_to(request: Request, front: Front) -> tuple[list[Event], str]:
    """The answer to a request, and the subprotocol that is spoken from then on: "" if it is refused."""
    spoken = next((one for one in request.subprotocols if one in SPOKEN), "")
    if not spoken:
        return _refusal(400, f"offer the subprotocol {' or '.join(SPOKEN)}\n"), ""
    if not _may_come(request, front):
        front.door.refused["origin"] += 1
        return _refusal(403, "web pages of this origin may not connect; see listen.origins\n"), ""
    return [AcceptConnection(subprotocol=spoken)], spoken


def _refusal(status: int, text: str) -> list[Event]:
    body = text.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]  # fmt: skip
    return [RejectConnection(status_code=status, headers=headers, has_body=True), RejectData(data=body)]


def _may_come(request: Request, front: Front) -> bool:
    """Whether a page of this origin may connect. Programs send none."""
    origins = [value.decode("latin-1") for name, value in request.extra_headers if name.lower() == b"origin"]
    allowed = front.settings().origins
    if not allowed:
        return not origins or front.guarded()
    return all(origin in allowed for origin in origins)
