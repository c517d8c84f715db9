"""Settings `[listen]`: where clients connect, who may, and how much each may ask for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from convo.messages import MESSAGE_BYTES

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Rate = Annotated[float, Meta(ge=0, le=1e12)]
Url = Annotated[str, Meta(pattern=r"^wss?://[^\s/]", description="ws://HOST:PORT or wss://HOST:PORT")]
AtLeastOne = Annotated[int, Meta(ge=1, le=1 << 20)]


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`socket` "" is the default Unix socket; `socket_mode` (octal) and `socket_group` say which users may open it.
    `admins`: users (names or numbers) who see the sessions of all when they come over the Unix socket.

    `websocket`: `ws://HOST:PORT` or `wss://HOST:PORT`, the latter with `tls_cert` and `tls_key` (PEM files).
    Every WebSocket client needs a token: `token`, or one that `convod token add` made. `open_loopback`: where
    `websocket` is a loopback address, clients need none as long as there are no tokens; any user and any program of
    this machine may connect then. `insecure`: listen beyond this machine without TLS.
    `origins`: web pages (such as "https://example.org") that may connect. Where none are listed, any page may that has
    a token, and none where no token is needed, or any page in a user's browser could read their sessions.

    Limits. `connections`: most that are open at once; `owner_connections` of one user or token. The last
    `reserved_connections` of them (an eighth at most) are for the Unix socket and admins. `handshakes`: most that
    have not said hello, `host_handshakes` of one host or user of the Unix socket; one more, and the oldest of the host
    that has most of them is cut. `handshake_s`: for TLS, HTTP and hello together. `stall_s`: a client that takes
    nothing for so long is disconnected; its sessions go on. `idle_s`: a client that says nothing for so long and
    follows no session is disconnected; 0 is never. `ping_s`: a sign of life goes to WebSocket clients this often, so
    that no proxy drops an idle connection. Above `messages_per_s` and `bytes_per_s` (of audio) a connection
    is read more slowly, above `owner_…` all of one owner; 0 is no limit.
    """

    socket: str = ""
    socket_mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$", description='an octal mode such as "0660"')] = "0600"
    socket_group: str = ""
    admins: list[str] = []
    websocket: list[Url] = []
    tls_cert: str = ""
    tls_key: str = ""
    token: str = ""
    open_loopback: bool = False
    insecure: bool = False
    origins: list[str] = []
    message_bytes: Annotated[int, Meta(ge=65536, le=64 << 20)] = MESSAGE_BYTES
    handshake_s: Seconds = 10.0
    stall_s: Seconds = 30.0
    ping_s: Seconds = 20.0
    idle_s: Annotated[float, Meta(ge=0, le=1e7)] = 0.0
    handshakes: AtLeastOne = 256
    host_handshakes: AtLeastOne = 64
    connections: AtLeastOne = 1024
    owner_connections: AtLeastOne = 256
    reserved_connections: Annotated[int, Meta(ge=0, le=1 << 20)] = 64
    messages_per_s: Rate = 20_000.0
    bytes_per_s: Rate = 256e6
    owner_messages_per_s: Rate = 50_000.0
    owner_bytes_per_s: Rate = 512e6
