"""Whose connection is it? A Unix socket's peer is its user; a WebSocket's is whoever holds the token.

In: a socket or a token. Out: an owner's name, or None. It never logs a token.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct

import trio

LOCAL_WEB = "web"
"""Owner of sessions that came over a WebSocket."""


def unix_owner(connection: trio.socket.SocketType) -> str:
    """The user at the other end of a Unix socket (Linux: SO_PEERCRED; elsewhere the socket's mode is the guard)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return f"uid:{os.getuid()}"
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, size)
    _, uid, _ = struct.unpack("3i", credentials)
    return f"uid:{uid}"


def web_owner(expected: str, given: str | None) -> str | None:
    """The owner behind a WebSocket's token, None if it is the wrong one. Takes the same time for any wrong one."""
    if not expected:
        return LOCAL_WEB
    return LOCAL_WEB if hmac.compare_digest(expected.encode(), (given or "").encode()) else None
