"""Whose connection is it, and what may it do? A Unix socket's peer is its user; a WebSocket's whoever its token names.

In: a socket or a token. Out: a `Grant`, or None after a pause that grows with each wrong try. It never logs a token.
"""

from __future__ import annotations

import enum
import hmac
import logging
import os
import pwd
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from convod.listen.tokens import BadToken, Scope, TokenBook

log = logging.getLogger("convod.listen")

LOCAL_WEB: Final = "web"
"""Owner of sessions that came over a WebSocket with the shared token of the settings, or without any."""

CHECK_S: Final = 1.0
"""Between two looks at whether a token in use was revoked or has expired."""

PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Before the first, second, third and every further wrong try of a host is answered; below `handshake_s`."""

FORGET_S: Final = 300.0
"""After so long without one, a host's wrong tries are forgotten."""

HOSTS: Final = 1024
"""Most hosts whose wrong tries are remembered."""


class Right(enum.Flag):
    """What a connection may do; `requests` says which request needs which."""

    READ = enum.auto()
    STREAM = enum.auto()
    PULL = enum.auto()
    ALL_SESSIONS = enum.auto()


LOCAL: Final = Right.READ | Right.STREAM | Right.PULL
"""Of a user of this machine."""

SCOPES: Final[dict[Scope, Right]] = {
    "read": Right.READ,
    "stream": Right.READ | Right.STREAM,
    "admin": Right.READ | Right.STREAM | Right.PULL | Right.ALL_SESSIONS,
}


class Grant(msgspec.Struct, frozen=True, eq=False):
    """Whose a connection is and what it may do. `ended` is set when its token is revoked or has expired."""

    owner: str
    rights: Right = LOCAL
    token: str = ""
    ended: trio.Event | None = None

    @property
    def reach(self) -> str | None:
        """Whose sessions it sees; None for everybody's."""
        return None if Right.ALL_SESSIONS in self.rights else self.owner


def unix_grant(connection: trio.socket.SocketType, admins: Sequence[str] = ()) -> Grant:
    """The user at the other end of a Unix socket (Linux: SO_PEERCRED; elsewhere the socket's mode is the guard)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return Grant(f"uid:{os.getuid()}")
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, size)
    _, uid, _ = struct.unpack("3i", credentials)
    return Grant(f"uid:{uid}", SCOPES["admin"] if _is_named(uid, admins) else LOCAL)


def _is_named(uid: int, names: Sequence[str]) -> bool:
    if not names:
        return False
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return str(uid) in names or name in names


class Gate:
    """Asks WebSocket clients for a token, if there is any to ask for. `watch` notices what was revoked."""

    def __init__(self, book: TokenBook) -> None:
        self._book = book
        self._used: dict[str, tuple[str, trio.Event]] = {}  # a token's hash -> its name and what ends with it
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # by host: how many, when the last was
        self.refused = 0

    def wants_token(self, shared: str) -> bool:
        """Whether nobody comes in without one."""
        return bool(shared) or self._book.exists

    async def admit(self, shared: str, given: str | None, host: str) -> Grant | None:
        """What a token grants, None if it is a wrong one. `shared` is the one of the settings, perhaps empty."""
        if not self.wants_token(shared):
            return Grant(LOCAL_WEB)
        grant = self._match(shared, given or "")
        if grant is None:
            await self._refuse(host)
        return grant

    def _match(self, shared: str, given: str) -> Grant | None:
        try:
            token = self._book.find(given, time.time())
        except BadToken as error:
            log.error("%s", error)
            token = None
        is_shared = hmac.compare_digest(shared.encode(), given.encode("utf-8", "surrogatepass"))
        if token is not None:
            _, ended = self._used.setdefault(token.sha256, (token.name, trio.Event()))
            return Grant(token.owner, SCOPES[token.scope], token.name, ended)
        return Grant(LOCAL_WEB) if shared and is_shared else None

    async def _refuse(self, host: str) -> None:
        now = trio.current_time()
        count, last = self._tries.pop(host, (0, now))
        count = 1 if now - last > FORGET_S else count + 1
        self._tries[host] = (count, now)
        while len(self._tries) > HOSTS:
            self._tries.popitem(last=False)
        self.refused += 1
        log.warning("wrong or missing token", extra={"host": host, "tries": count})
        # The daemon has others to serve meanwhile; whoever guesses has to wait.
        await trio.sleep(PAUSES_S[min(count, len(PAUSES_S)) - 1])

    async def watch(self) -> None:
        """End the grants of tokens that were revoked or have expired, until cancelled."""
        while True:
            await trio.sleep(CHECK_S)
            if not self._used:
                continue
            now = time.time()
            try:
                valid = {token.sha256 for token in self._book.tokens() if token.valid(now)}
            except BadToken as error:
                log.error("%s", error)
                continue  # it is being repaired, perhaps: nobody new comes in, those who are in stay
            for gone in self._used.keys() - valid:
                name, ended = self._used.pop(gone)
                log.info("token is no longer valid", extra={"token_name": name})
                ended.set()
