"""Which user is at the other end of a Unix socket.

In: a connected socket. Out: a user id, or one sentence why the other end is not trusted. It opens and sends nothing.
Source: SO_PEERCRED of unix(7), user_namespaces(7).
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any, Final, Protocol

from .address import UntrustedSocket, default_socket

NOBODY: Final = (1 << 32) - 1
"""What the kernel says of a peer that has no user (-1)."""

_OVERFLOW: Final = 65534
_USER_IDS: Final = (1 << 32) - 1  # all there are: the last one, -1, is none
_CREDENTIALS: Final = "iII"  # struct ucred: process, user, group


class Socket(Protocol):
    """What sockets of the standard library, of trio and of asyncio have in common."""

    def getsockopt(self, level: int, option: int, size: int, /) -> Any:
        """The value of an option, as bytes."""


def peer_uid(connection: Socket) -> int | None:
    """The user id of the process that connected or listens at the other end; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize(_CREDENTIALS))
    uid: int = struct.unpack(_CREDENTIALS, credentials)[1]
    return uid


def is_ambiguous(uid: int) -> bool:
    """Whether several users may be behind this id: those that this user namespace has no id for all show the same."""
    if uid == NOBODY:
        return True
    return uid == _overflow_uid() and not _maps_everybody()


def check_peer(path: str, connection: Socket) -> None:
    """Check who listens at the default socket, before anything is said to them. Other paths are not checked.

    Raises:
        UntrustedSocket: it is neither this user nor root.
    """
    if path != default_socket():
        return
    uid = peer_uid(connection)
    if uid is not None and (uid not in (os.getuid(), 0) or is_ambiguous(uid)):
        raise UntrustedSocket(f"another user (uid {uid}) listens at this default socket, and nothing was sent there")


def _overflow_uid() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return _OVERFLOW  # hidden, for example by ProcSubset=pid


def _maps_everybody() -> bool:
    try:
        ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        return sum(int(count) for _, _, count in ranges) >= _USER_IDS
    except (OSError, ValueError):
        return False
