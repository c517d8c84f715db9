"""WebSocket listeners, with TLS or without, and their connections as links.

In: `ws://HOST:PORT` or `wss://HOST:PORT`, or a socket that somebody else has bound. Out: a link for each connection
that asks for a subprotocol the daemon speaks; others get HTTP 400. It never looks into a message.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio
import trio_websocket

from convo.address import Address, parse
from convo.codec import RAW
from convo.messages import WEBSOCKET_JSON, WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.limits import Door, Visit
from convod.listen.pace import READ_BYTES, PacedStream
from convod.listen.serve import LinkLost
from convod.listen.settings import ListenSettings
from convod.listen.tls import Certificate

log = logging.getLogger("convod.listen")

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

KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds, probes: a host that is gone without a word is noticed within two minutes."""


class BadAddress(ValueError):
    """A WebSocket address that cannot be listened on; the text says what to write."""


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


def check(url: str, *, guarded: bool, certified: bool, insecure: bool) -> Address:
    """The address behind a `ws://HOST:PORT` or `wss://HOST:PORT`. `guarded`: a token is asked for; `certified`: there
    is a certificate.

    Raises:
        BadAddress: it is none, or not one to be open to everybody.
    """
    try:
        address = parse(url)
    except ValueError as error:
        raise BadAddress(str(error)) from error
    if address.scheme not in ("ws", "wss"):
        raise BadAddress(f"listen on ws://HOST:PORT or wss://HOST:PORT, not {url!r}")
    if address.secure and not certified:
        raise BadAddress(f"{url} needs a certificate: give --tls-cert and --tls-key, or listen on ws://")
    check_reach(address.host, url, secure=address.secure, guarded=guarded, insecure=insecure)
    return address


def _peer(stream: trio.SocketStream) -> str:
    host, port = stream.socket.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_reach(host: str, url: str, *, secure: bool, guarded: bool, insecure: bool) -> None:
    """Refuse to be open to the network without TLS and tokens, unless `insecure` says so.

    Raises:
        BadAddress: `host` is not this machine alone, and something is missing.
    """
    if insecure or _is_loopback(host):
        return
    if not guarded:
        raise BadAddress(
            f"{url} is open to the network: make a token with `convod token add NAME`, or give --insecure to mean it"
        )
    if not secure:
        raise BadAddress(
            f"{url} would send tokens and speech in the clear: listen on wss:// with --tls-cert and --tls-key, "
            "or give --insecure if a proxy or a tunnel protects it"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name that may mean any address


@dataclass(frozen=True, slots=True)
class Front:
    """What a listener needs to receive a guest. `settings` and `guarded` say what holds when a connection comes."""

    settings: Callable[[], ListenSettings]
    guarded: Callable[[], bool]
    door: Door
    serve: Callable[[WebSocketLink, str, Visit], Awaitable[None]]
    certificate: Certificate | None = None


def _welcome(request: trio_websocket.WebSocketRequest, front: Front) -> bool:
    """Whether a page of this origin may connect. Programs send none."""
    origins = [value.decode("latin-1") for name, value in request.headers if name.lower() == b"origin"]
    allowed = front.settings().origins
    if not allowed:
        return not origins or front.guarded()
    return all(origin in allowed for origin in origins)


@dataclass(frozen=True, slots=True)
class Bound:
    """Listening sockets of one address, with TLS if `secure`."""

    listeners: list[trio.SocketListener]
    secure: bool

    @property
    def url(self) -> str:
        """Where they listen, with the port that was given."""
        host, port = self.listeners[0].socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self.secure else 'ws'}://{host}:{port}"


async def bind(address: Address) -> Bound:
    """Listen at an address."""
    return Bound(await trio.open_tcp_listeners(address.port, host=address.host), address.secure)


def adopt(opened: socket.socket, certified: bool, guarded: bool, insecure: bool) -> Bound:
    """Listen on a socket that somebody else has bound, with TLS if there is a certificate.

    Raises:
        BadAddress: it is open to everybody.
    """
    bound = Bound([trio.SocketListener(trio.socket.from_stdlib_socket(opened))], certified)
    check_reach(opened.getsockname()[0], bound.url, secure=certified, guarded=guarded, insecure=insecure)
    return bound


async def listen(bound: Bound, front: Front, connections: trio.Nursery | None = None) -> None:
    """Accept connections until cancelled; those that are open go on in `connections`."""

    async def handle(stream: trio.SocketStream) -> None:
        with front.door.visit(front.settings()) as visit:
            # A peer that breaks off its handshake raises: that is the end of this connection only.
            try:
                for option, value in KEEPALIVE:
                    stream.setsockopt(socket.IPPROTO_TCP, option, value)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                peer = _peer(stream)
                async with stream:
                    await _converse(stream, bound.secure, front, visit, peer)
            except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError, OSError):
                log.debug("a connection broke off its handshake", extra={"connection": visit.number})
            except* Exception:
                log.exception("a connection was ended by a fault of convod", extra={"connection": visit.number})

    await trio.serve_listeners(handle, bound.listeners, handler_nursery=connections)


async def _converse(stream: trio.SocketStream, secure: bool, front: Front, visit: Visit, peer: str) -> None:
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
