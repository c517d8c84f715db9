"""Connections to the daemon: one that ends when it breaks, one that reconnects; and sessions by the start of their ID.

In: `--connect`, `--token`, the beginning of an ID. Out: a `convo.Client`, a `convo.Link`, a `SessionInfo`. This module
prints nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import convo
from convo.address import default_url, parse
from convo.link import PATIENCE_S
from convo.messages import ListSessions, SessionInfo
from convo.resume import LinkPhase, LinkState

from .arguments import Options
from .errors import Exit, Problem

_NAME = f"convo/{convo.__version__}"

_PAGE = 500  # sessions asked for at once
_NAMED = 4  # sessions named in a sentence


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[convo.Client]:
    """A client connected to where the options say.

    Raises:
        Problem: the URL is invalid.
        CannotConnect, RequestError: as `convo.connect` does.
    """
    async with convo.connect(_url(options), token=options.token, client=_NAME) as client:
        yield client


@asynccontextmanager
async def linked(
    options: Options, tell: Callable[[str], None], *, why: bool = False, patience_s: float | None = PATIENCE_S
) -> AsyncIterator[convo.Link]:
    """A link that reconnects when it breaks. Raises like `connected`.

    Args:
        options: where to connect to.
        tell: shows a sentence to the user.
        why: whether to say why it broke.
        patience_s: how long the daemon may be away; None waits for ever, also for the first connection.
    """

    def changed(state: LinkState) -> None:
        if state.phase is LinkPhase.ABSENT:
            tell(f"{state.error} Trying again.")
        if state.phase is LinkPhase.LOST:
            tell(f"{state.error if why else 'The connection to the daemon broke.'} Trying again.")

    async with convo.open_link(
        _url(options), token=options.token, client=_NAME, patience_s=patience_s, changed=changed
    ) as link:
        yield link


def _url(options: Options) -> str:
    url = options.connect or default_url()
    try:
        parse(url)
    except ValueError as error:
        raise Problem(Exit.USAGE, str(error)) from None
    return url


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
        if not page or (before is not None and page[-1].created >= before):  # the end, or the daemon repeats itself
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
