"""TCP listeners for WebSockets: their addresses, and which may be opened.

In: `ws://HOST:PORT` or `wss://HOST:PORT`, or a socket that was bound for us. Out: listening sockets, and their
connections, each handed to `websocket`. It reads and writes nothing itself.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from functools import partial
from typing import Final

import msgspec
import trio

from convo.address import Address, parse
from convod.listen.accept import accept
from convod.listen.endpoint import WebSocketEndpoint

log = logging.getLogger("convod.listen")

KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds, probes: a host that vanished is noticed within two minutes."""

SPARE: Final = 64
"""Descriptors that are left free for requests and the Unix socket."""


class BadAddress(ValueError):
    """A WebSocket address that cannot be listened on; the text says what to write."""


def check(url: str, *, has_tokens: bool, certified: bool, insecure: bool) -> Address:
    """Return the address of a `ws://HOST:PORT` or `wss://HOST:PORT` that may be listened on.

    Args:
        url: as the settings give it.
        has_tokens: whether clients can be asked for a token.
        certified: whether there is a certificate for TLS.
        insecure: whether plain `ws://` is allowed beyond this machine.

    Raises:
        BadAddress: it is not such an address, or it is too open.
    """
    try:
        address = parse(url)
    except ValueError as error:
        raise BadAddress(str(error)) from error
    if address.scheme not in ("ws", "wss"):
        raise BadAddress(f"listen on ws://HOST:PORT or wss://HOST:PORT, not {url!r}")
    if address.secure and not certified:
        raise BadAddress(f"{url} needs a certificate: give --tls-cert and --tls-key, or listen on ws://")
    check_reach(address.host, url, secure=address.secure, has_tokens=has_tokens, insecure=insecure)
    return address


def _peer(stream: trio.SocketStream) -> str:
    host, port = stream.socket.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network_of(peer: str) -> str:
    """Return what handshakes are counted by: an IPv4 address, or the 64 bits that an IPv6 host has for itself."""
    host = peer.rpartition(":")[0].strip("[]")
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or int(address) >> 64)


def check_reach(host: str, url: str, *, secure: bool, has_tokens: bool, insecure: bool) -> None:
    """Refuse to be open to the network without tokens, or without TLS unless `insecure` allows it.

    Raises:
        BadAddress: `host` is not this machine alone, and something is missing.
    """
    if is_loopback(host):
        return
    if not has_tokens:
        raise BadAddress(f"{url} is open to the network and needs a token: make one with `convod token add NAME`")
    if not secure and not insecure:
        raise BadAddress(
            f"{url} would send tokens and speech in the clear: listen on wss:// with --tls-cert and --tls-key, "
            "or give --insecure if a proxy or a tunnel protects it"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name that may mean any address


class Bound(msgspec.Struct, frozen=True):
    """Listening sockets of one address, with TLS if `secure`."""

    listeners: list[trio.SocketListener]
    secure: bool

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return all(is_loopback(listener.socket.getsockname()[0]) for listener in self.listeners)

    @property
    def url(self) -> str:
        """Where they listen, with the port that the system chose."""
        host, port = self.listeners[0].socket.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self.secure else 'ws'}://{host}:{port}"


async def bind(address: Address) -> Bound:
    """Listen at an address."""
    return Bound(await trio.open_tcp_listeners(address.port, host=address.host), address.secure)


def adopt(opened: socket.socket, certified: bool, has_tokens: bool, insecure: bool) -> Bound:
    """Listen on a socket that was bound for us, with TLS if there is a certificate.

    Raises:
        BadAddress: it is too open.
    """
    bound = Bound([trio.SocketListener(trio.socket.from_stdlib_socket(opened))], certified)
    check_reach(opened.getsockname()[0], bound.url, secure=certified, has_tokens=has_tokens, insecure=insecure)
    return bound


async def listen(bound: Bound, endpoint: WebSocketEndpoint, connections: trio.Nursery | None = None) -> None:
    """Accept connections until cancelled; those that are open go on in `connections`."""
    # Imported only here: a daemon that has only its Unix socket starts without it.
    from convod.listen.websocket import serve_connection

    async def handle(stream: trio.SocketStream) -> None:
        try:
            peer = _peer(stream)
        except OSError:
            return  # it is gone already
        with endpoint.limiter.slot(endpoint.settings(), peer, network_of(peer)) as slot:
            # A peer that breaks off its handshake raises: that is the end of this connection only.
            try:
                for option, value in KEEPALIVE:
                    stream.setsockopt(socket.IPPROTO_TCP, option, value)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                async with stream:
                    await serve_connection(stream, bound.secure, endpoint, slot)
            except* (trio.BrokenResourceError, OSError):
                log.debug("a connection broke off its handshake", extra={"connection": slot.number})
            except* Exception:
                log.exception("a connection was ended by a fault of convod", extra={"connection": slot.number})

    async with trio.open_nursery() as nursery:
        for listener in bound.listeners:
            nursery.start_soon(partial(accept, listener, handle, connections, spare=SPARE))
