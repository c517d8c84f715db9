"""The way to the daemon: an open client, one that is made again when it breaks, and the session that a few characters
of an ID mean.

In: `--connect`, `--token`, the beginning of an ID. Out: a `convo.Client`, a `SessionInfo`. This module prints nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

import convo
from convo.address import default_url, parse
from convo.messages import Code, ListSessions, SessionInfo

from .arguments import Options
from .errors import Exit, Problem

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a daemon may be away before the command gives up: it may be starting again, after looking into its store."""

_PAUSE_S = 0.1  # before a broken connection is tried again; doubles up to the next
_LONGEST_PAUSE_S = 2.0

_PAGE = 500  # sessions asked for at once
_NAMED = 4  # sessions named in a sentence


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[convo.Client]:
    """A client connected to where the options say.

    Raises:
        Problem: the URL is none.
        CannotConnect, RequestError: as `convo.connect` does.
    """
    url = options.connect or default_url()
    try:
        parse(url)
    except ValueError as error:
        raise Problem(Exit.USAGE, str(error)) from None
    async with convo.connect(url, token=options.token, client=f"convo/{convo.__version__}") as client:
        yield client


class Link:
    """A connection that several tasks share, made again when it breaks."""

    def __init__(self, options: Options, tell: Callable[[str], None]) -> None:
        self._options = options
        self._tell = tell
        self._client: convo.Client | None = None
        self._gave_up: convo.ConvoError | None = None
        self._changed = trio.lowlevel.ParkingLot()

    async def client(self) -> convo.Client:
        """The connection, as soon as there is one.

        Raises:
            CannotConnect, RequestError: there will be none any more.
        """
        while self._client is None or self._client.lost:
            if self._gave_up is not None:
                raise self._gave_up
            await self._changed.park()
        return self._client

    async def ask(self, question: Callable[[convo.Client], Awaitable[T]]) -> T:
        """The answer to something that may be asked twice, on the next connection if this one breaks."""
        while True:
            client = await self.client()
            try:
                return await question(client)
            except convo.ConnectionLost:
                continue

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a connection until cancelled, or until the daemon was away for too long; the first must come about.

        Raises:
            CannotConnect, RequestError: the first did not.
        """
        ever, until, pause = False, 0.0, _PAUSE_S
        while True:
            error: convo.ConvoError | None = None
            try:
                async with connected(self._options) as self._client:
                    if not ever:
                        task_status.started()
                    ever, until, pause = True, 0.0, _PAUSE_S
                    self._changed.unpark_all()
                    await self._client.wait_lost()
            except (convo.CannotConnect, convo.ConnectionLost, convo.RequestError) as trouble:
                error = trouble
                if not ever:
                    raise
            if until == 0.0:
                until = trio.current_time() + PATIENCE_S
                self._tell("The connection to the daemon broke. Trying again.")
            refused = isinstance(error, convo.RequestError) and error.code != Code.BUSY
            if error is not None and (refused or trio.current_time() > until):
                self._gave_up = error
                self._changed.unpark_all()
                return
            await trio.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)


@asynccontextmanager
async def linked(options: Options, tell: Callable[[str], None]) -> AsyncIterator[Link]:
    """A connected `Link`; `tell` says a sentence to the person."""
    link = Link(options, tell)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield link
        nursery.cancel_scope.cancel()


async def sessions(
    client: convo.Client,
    *,
    limit: int | None = None,
    **filters: Any,
) -> list[SessionInfo]:
    """Sessions, newest first: `limit` of them, or all."""
    found: list[SessionInfo] = []
    before: float | None = None
    while True:
        page = (await client.request(ListSessions(limit=_PAGE, before=before, **filters))).sessions
        for info in page:
            found.append(info)
            if len(found) == limit:
                return found
        if not page or (before is not None and page[-1].created >= before):  # the end, or it does not move on
            return found
        before = page[-1].created


async def find(client: convo.Client, beginning: str) -> SessionInfo:
    """The one session whose ID is, or begins with, these characters.

    Raises:
        Problem: there is none, or several.
    """
    known = await sessions(client, prefix=beginning) if beginning else []
    found = {info.session: info for info in known if info.session.startswith(beginning)}
    if beginning in found:
        return found[beginning]
    if not found:
        raise Problem(Exit.OTHER, f"No session begins with {beginning!r}: `convo ls` lists them.")
    if len(found) > 1:
        some = ", ".join(list(found)[:_NAMED]) + (", …" if len(found) > _NAMED else "")
        raise Problem(Exit.OTHER, f"Several sessions begin with {beginning!r} ({some}): give more of the ID.")
    return next(iter(found.values()))
