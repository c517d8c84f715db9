"""Settings `[listen]`: where clients connect, and who may."""

from __future__ import annotations

import msgspec

from convo.messages import MESSAGE_BYTES


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`socket` "" is the default Unix socket. `token`, if set, is asked of every WebSocket client.

    `stall_s`: a client that takes nothing for so long is disconnected; its sessions go on.
    """

    socket: str = ""
    websocket: list[str] = []
    token: str = ""
    insecure: bool = False
    message_bytes: int = MESSAGE_BYTES
    handshake_s: float = 10.0
    stall_s: float = 30.0
    connections: int = 1024
