"""The way to the daemon: an open client, and the session that a few characters of an ID mean.

In: `--connect`, `--token`, the beginning of an ID. Out: a `convo.Client`, a `SessionInfo`. This module prints nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import convo
from convo.address import default_url, parse
from convo.messages import ListSessions, SessionInfo

from .arguments import Options
from .errors import Exit, Problem

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
