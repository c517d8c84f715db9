"""Decide whose a connection is, and what it may do: a Unix socket tells its user, a WebSocket client sends a token.

In: a socket or a token. Out: a `Grant`, or `Unauthorized` after a pause that grows with each wrong try. It never logs a
token.
"""

from __future__ import annotations

import enum
import hmac
import logging
import os
import pwd
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from convo.unix_peer import Socket, is_ambiguous, peer_uid
from convod.listen.settings import ListenSettings
from convod.listen.tokens import BadToken, Scope, Token, TokenFile
from convod.owners import LOCAL_PREFIX

log = logging.getLogger("convod.listen")

LOCAL_WEB: Final = "web"
"""The owner of sessions that came by WebSocket with the shared token of the settings, or without a token."""

CHECK_S: Final = 1.0
"""How often tokens in use are checked for being revoked or expired."""

PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before the first, second, third and every further wrong try of a host is answered; below `handshake_s`."""

FORGET_S: Final = 300.0
"""A host's wrong tries are forgotten after so long without another."""

NO_LONGER_VALID: Final = "The token is no longer valid; ask the operator for a new one."

HOSTS: Final = 1024
"""The most hosts whose wrong tries are remembered."""


class Right(enum.Flag):
    """What a connection may do; `requests` says which request needs which."""

    READ = enum.auto()
    STREAM = enum.auto()
    PULL = enum.auto()
    ALL_SESSIONS = enum.auto()


LOCAL: Final = Right.READ | Right.STREAM
"""Of a user of this machine. Root and the daemon's own user may fetch models too."""

SCOPES: Final[dict[Scope, Right]] = {
    "read": Right.READ,
    "stream": Right.READ | Right.STREAM,
    "admin": Right.READ | Right.STREAM | Right.PULL | Right.ALL_SESSIONS,
}


class Unauthorized(Exception):
    """This client is not let in; the text is one sentence for its user."""


class Lease:
    """How long a grant holds: until `end`, which cancels every scope that is bound to it."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self._scopes: set[trio.CancelScope] = set()

    def end(self, why: str) -> None:
        """End it; `why` is a sentence for the clients that are disconnected."""
        if self.ended is None:
            self.ended = why
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def bound(self, scope: trio.CancelScope) -> Iterator[None]:
        """Cancel `scope` if the lease ends during the block; at once if it has ended."""
        if self.ended is not None:
            scope.cancel()
        self._scopes.add(scope)
        try:
            yield
        finally:
            self._scopes.discard(scope)


class Grant(msgspec.Struct, frozen=True, eq=False):
    """Whose a connection is and what it may do, until its lease ends if it has one.

    `local`: it came over the Unix socket, for which some connections are reserved.
    """

    owner: str
    rights: Right = LOCAL
    token: str = ""
    lease: Lease | None = None
    local: bool = False

    @property
    def reach(self) -> str | None:
        """Whose sessions it sees; None for everybody's."""
        return None if Right.ALL_SESSIONS in self.rights else self.owner

    @property
    def may_use_reserve(self) -> bool:
        """Whether the reserved connections are for it."""
        return self.local or Right.ALL_SESSIONS in self.rights


def unix_grant(connection: Socket, admins: Sequence[str] = ()) -> Grant:
    """Return what the user at the other end of a Unix socket may do.

    Linux tells who that is; elsewhere the socket's mode decides who comes in, and all are the daemon's own user.

    Raises:
        Unauthorized: the user cannot be told from others.
    """
    uid = peer_uid(connection)
    if uid is None:
        uid = os.getuid()
    elif is_ambiguous(uid):
        raise Unauthorized(
            "Your user has no id in the user namespace of this daemon, which cannot tell you from others; "
            "ask the operator to run convod where all users have one (PrivateUsers=no)."
        )
    if _is_named(uid, admins):
        return Grant(f"{LOCAL_PREFIX}{uid}", SCOPES["admin"], local=True)
    return Grant(f"{LOCAL_PREFIX}{uid}", LOCAL | Right.PULL if uid in (0, os.geteuid()) else LOCAL, local=True)


def _is_named(uid: int, names: Sequence[str]) -> bool:
    if not names:
        return False
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return str(uid) in names or name in names


class Authenticator:
    """Grants access, and ends a grant when the policy or the token behind it is gone.

    A WebSocket client needs a token, except on a loopback address with `listen.open_loopback` while there are no
    tokens. Once that exception has ended, it never returns, whatever happens to settings and files.
    """

    def __init__(self, token_file: TokenFile, settings: Callable[[], ListenSettings]) -> None:
        self._token_file = token_file
        self._settings = settings
        self._open: Lease | None = Lease()
        self._shared: dict[str, Lease] = {}
        self._tokens: dict[Token, Lease] = {}
        self._admins: dict[str, Lease] = {}
        self.tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # by host: how many, when the last was
        self._reported = ""
        self.refused = 0

    def has_tokens(self) -> bool:
        """Whether there is a shared token, or tokens were ever made here."""
        return bool(self._settings().token) or self._token_file.exists

    def why_no_valid_token(self) -> str | None:
        """Return one sentence if there is no usable token; None if there is one."""
        if self._settings().token:
            return None
        try:
            usable = any(token.valid(time.time()) for token in self._token_file.tokens())
        except BadToken as error:
            return str(error)
        return None if usable else "there is no valid token; make one with `convod token add NAME`"

    def requires_token(self, *, loopback: bool) -> bool:
        """Whether clients of a loopback address, or of any other, need a token."""
        return not loopback or self._open_lease() is None

    def _open_lease(self) -> Lease | None:
        if self._open is not None and (not self._settings().open_loopback or self.has_tokens()):
            self._open.end("This daemon asks for a token now; connect again with one.")
            self._open = None
        return self._open

    def authenticate_user(self, connection: Socket) -> Grant:
        """Return what the user at the other end of a Unix socket may do.

        Raises:
            Unauthorized: the user cannot be told from others.
        """
        grant = unix_grant(connection, self._settings().admins)
        if Right.ALL_SESSIONS not in grant.rights:
            return grant
        return msgspec.structs.replace(grant, lease=self._admins.setdefault(grant.owner, Lease()))

    async def authenticate(self, given: str | None, host: str, *, loopback: bool = False) -> Grant:
        """Return what a WebSocket client with this token may do.

        Raises:
            Unauthorized: the token is wrong or missing; after a pause that grows with each try of the host.
        """
        if loopback and (lease := self._open_lease()) is not None:
            return Grant(LOCAL_WEB, lease=lease)
        grant = self._match(given or "")
        if grant is not None:
            return grant
        await self._pause(host)
        if given is None and not self.has_tokens():
            raise Unauthorized("A token is needed and none was made yet; make one with `convod token add NAME`.")
        raise Unauthorized("The token is wrong or missing; send the right one.")

    def _match(self, given: str) -> Grant | None:
        shared = self._settings().token
        try:
            token = self._token_file.find(given, time.time())
        except BadToken as error:
            log.error("%s", error)
            token = None
        is_shared = hmac.compare_digest(shared.encode(), given.encode("utf-8", "surrogatepass"))
        if token is not None:
            lease = self._tokens.setdefault(token, Lease())
            return Grant(token.owner, SCOPES[token.scope], token.name, lease)
        return Grant(LOCAL_WEB, lease=self._shared.setdefault(shared, Lease())) if shared and is_shared else None

    async def _pause(self, host: str) -> None:
        now = trio.current_time()
        count, last = self.tries.pop(host, (0, now))
        count = 1 if now - last > FORGET_S else count + 1
        self.tries[host] = (count, now)
        while len(self.tries) > HOSTS:
            self.tries.popitem(last=False)
        self.refused += 1
        log.warning("wrong or missing token", extra={"host": host, "tries": count})
        # Only the client that guesses waits; the daemon serves others meanwhile.
        await trio.sleep(PAUSES_S[min(count, len(PAUSES_S)) - 1])

    def recheck(self) -> None:
        """End the grants whose policy or token is gone: by new settings, or by changes of the tokens."""
        settings = self._settings()
        self._open_lease()
        for shared in self._shared.keys() - {settings.token}:
            self._shared.pop(shared).end(NO_LONGER_VALID)
            log.info("the shared token has changed")
            if (why := self.why_no_valid_token()) is not None:
                log.warning("no client can connect by WebSocket: %s", why)
        for owner in [
            owner for owner in self._admins if not _is_named(int(owner.removeprefix(LOCAL_PREFIX)), settings.admins)
        ]:
            self._admins.pop(owner).end("You are no longer an admin of this daemon; connect again.")
        if not self._tokens:
            return
        now = time.time()
        try:
            valid = {token for token in self._token_file.tokens() if token.valid(now)}
        except BadToken as error:
            if str(error) != self._reported:
                log.error("%s", error)
            self._reported = str(error)
            return  # perhaps it is being repaired: new clients are refused, those that are connected stay
        self._reported = ""
        for gone in self._tokens.keys() - valid:
            log.info("token is no longer valid", extra={"token_name": gone.name})
            self._tokens.pop(gone).end(NO_LONGER_VALID)

    async def watch(self) -> None:
        """Call `recheck` every CHECK_S, until cancelled."""
        while True:
            await trio.sleep(CHECK_S)
            self.recheck()
