"""Who is connected, and how much each may ask for: counts by owner, paces of messages and bytes.

In: connections that come, say who they are, send, and go. Out: refusals, pauses, and who is shown out for saying
nothing. It knows neither bytes nor sessions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from convod.listen.settings import ListenSettings

BURST_S: Final = 2.0
"""Seconds of a pace that may come at once."""


class Pace:
    """A rate with some slack: what is above it waits (a token bucket). `per_s` 0 is no limit."""

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._room = per_s * BURST_S
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Count an amount; returns the seconds to wait before the next."""
        if not self._per_s:
            return 0.0
        self._room = min(self._per_s * BURST_S, self._room + (now - self._at) * self._per_s) - amount
        self._at = now
        return max(0.0, -self._room / self._per_s)


class Paces:
    """Messages and bytes together."""

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        now = trio.current_time()
        self._messages = Pace(messages_per_s, now)
        self._bytes = Pace(bytes_per_s, now)

    def take(self, size: int, messages: int, now: float) -> float:
        """Count so many messages of `size` bytes in all; returns the seconds to wait before the next."""
        return max(self._messages.take(messages, now), self._bytes.take(size, now))


class Visit:
    """One connection while it is open."""

    def __init__(self, settings: ListenSettings, number: int) -> None:
        self.number = number
        self.owner: str | None = None
        self.scope = trio.CancelScope()
        self._own = Paces(settings.messages_per_s, settings.bytes_per_s)
        self.shared: Paces | None = None

    def pause(self, size: int, messages: int = 1) -> float:
        """Count messages with `size` bytes of audio in all; the seconds before the next one may be read."""
        now = trio.current_time()
        own = self._own.take(size, messages, now)
        return own if self.shared is None else max(own, self.shared.take(size, messages, now))


class Door:
    """All connections of the daemon. `refused`: how often which limit was met."""

    def __init__(self) -> None:
        self.connected = 0
        self.refused: Counter[str] = Counter()
        self._numbers = 0
        self._silent: OrderedDict[int, Visit] = OrderedDict()  # those that have not said hello, oldest first
        self._owners: Counter[str] = Counter()
        self._paces: dict[str, Paces] = {}

    @property
    def greeted(self) -> int:
        """Connections that have said hello."""
        return sum(self._owners.values())

    @contextmanager
    def visit(self, settings: ListenSettings) -> Iterator[Visit]:
        """A connection from its first byte to its last; the block is left early when it is shown out."""
        self._numbers += 1
        visit = Visit(settings, self._numbers)
        self.connected += 1
        self._silent[visit.number] = visit
        if len(self._silent) > settings.handshakes:
            # Whoever is serious says hello at once: those who wait longest are least likely to.
            self.refused["handshakes"] += 1
            next(iter(self._silent.values())).scope.cancel()
            self._silent.popitem(last=False)
        try:
            with visit.scope:
                yield visit
        finally:
            self.connected -= 1
            self._silent.pop(visit.number, None)
            if visit.owner is not None:
                self._leave(visit.owner)

    def full(self, settings: ListenSettings) -> bool:
        """Whether the connection that just came is one too many."""
        full = self.connected > settings.connections
        self.refused["connections"] += full
        return full

    def greet(self, visit: Visit, owner: str, settings: ListenSettings) -> bool:
        """A connection said whose it is; False if its owner has as many as may be open."""
        if self._owners[owner] >= settings.owner_connections:
            self.refused["owner_connections"] += 1
            return False
        self._silent.pop(visit.number, None)
        self._owners[owner] += 1
        visit.owner = owner
        if owner not in self._paces:
            self._paces[owner] = Paces(settings.owner_messages_per_s, settings.owner_bytes_per_s)
        visit.shared = self._paces[owner]
        return True

    def _leave(self, owner: str) -> None:
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner], self._paces[owner]
