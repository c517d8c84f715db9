"""Settings `[listen]`: where clients connect, and who may."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from convo.messages import MESSAGE_BYTES


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`socket` "" is the default Unix socket. `token`, if set, is asked of every WebSocket client.

    `origins`: web pages (such as "https://example.org") that may connect without a token; by default none may, or any
    page in a user's browser could read their sessions.
    `connections`: most that are open at once; one more is told to come back later.
    `stall_s`: a client that takes nothing for so long is disconnected; its sessions go on.
    """

    socket: str = ""
    websocket: list[str] = []
    token: str = ""
    insecure: bool = False
    origins: list[str] = []
    message_bytes: Annotated[int, Meta(ge=65536, le=64 << 20)] = MESSAGE_BYTES
    handshake_s: Annotated[float, Meta(gt=0, le=3600)] = 10.0
    stall_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0
    connections: Annotated[int, Meta(ge=1)] = 1024
