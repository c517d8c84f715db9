"""A connection as requests see it, and what it may ask.

In: its grant. Out: whose it is, and `Refused` for what it may not do. It knows neither bytes nor requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from convo.messages import Code, Reply, Request
from convod.listen.auth import Grant, Right
from convod.listen.outbox import Outbox
from convod.sessions import Refused, Session

SLOW_AT_ONCE: Final = 16
"""Slow requests of one connection that are answered side by side."""

MOST: Final = 1000
"""Most sessions, hits or files in one reply."""


class Client:
    """One connection as requests see it: whose it is, what it produces, where its answers go."""

    def __init__(self, outbox: Outbox, peer: str, number: int) -> None:
        self.outbox = outbox
        self.peer = peer
        self.number = number
        self.grant = Grant("", Right(0))  # nothing, until it said hello
        self.slow = trio.CapacityLimiter(SLOW_AT_ONCE)
        self.producing: dict[str, Session] = {}
        self.asks: dict[int, trio.CancelScope] = {}  # questions that are being answered, by the ids of their requests
        self.streams = False  # whether audio is what came last

    @property
    def owner(self) -> str:
        """Whose sessions it makes."""
        return self.grant.owner

    @property
    def reach(self) -> str | None:
        """Whose sessions it sees; None for everybody's."""
        return self.grant.reach

    def gone(self) -> None:
        """The connection ended: sessions that it sent audio to are told."""
        for session in self.producing.values():
            session.producer_gone(self)
        self.producing.clear()

    @property
    def quiet(self) -> bool:
        """Whether nothing comes but audio, and nobody speaks in it."""
        return self.streams and all(session.quiet for session in self.producing.values())


Answers = Mapping[type[Request[Any]], tuple[Callable[[Client, Any], Awaitable[Reply | None]], Right]]
"""By the request's type: what answers it (None: the answer is in the outbox already), and the right it needs."""

_WHO_MAY: Final = {
    Right.STREAM: "ask the operator for a token of a wider scope",
    Right.PULL: "ask an admin: a user in listen.admins, or one with a token of the scope admin",
}


def check_right(client: Client, right: Right, what: object) -> None:
    """Raise Refused if a client has no right to `what`."""
    if right not in client.grant.rights:
        raise Refused(Code.FORBIDDEN, f"you may not {what}; {_WHO_MAY[right]}")
