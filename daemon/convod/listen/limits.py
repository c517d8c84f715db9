"""Limit connections: how many there are by owner, and how fast each may send messages and bytes.

In: connections that come, say hello, send, and go. Out: refusals, pauses, and which silent connections are evicted. It
knows neither bytes nor sessions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from convod.listen.settings import ListenSettings

BURST_S: Final = 2.0
"""A burst may be as large as this many seconds at the full rate."""

STRANGER_BYTES: Final = 1 << 14
"""Most bytes read from a client before its welcome."""

RESERVE_AT_MOST: Final = 8
"""At most this fraction of all connections, an eighth, is reserved for the Unix socket and admins."""

RESERVE_EACH: Final = 8
"""An owner with this many connections may use none of the reserve."""

NO_ROOM: Final = "The daemon has no room for more connections; try again later."


class TokenBucket:
    """What exceeds the rate waits. A `per_s` of 0 means no limit."""

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._room = per_s * BURST_S
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Count an amount; return the seconds to wait before the next."""
        if not self._per_s:
            return 0.0
        self._room = min(self._per_s * BURST_S, self._room + (now - self._at) * self._per_s) - amount
        self._at = now
        return max(0.0, -self._room / self._per_s)


class RateLimit:
    """The rates of messages and of bytes together."""

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        now = trio.current_time()
        self._messages = TokenBucket(messages_per_s, now)
        self._bytes = TokenBucket(bytes_per_s, now)

    def take(self, size: int, messages: int, now: float) -> float:
        """Count messages of `size` bytes in all; return the seconds to wait before the next."""
        return max(self._messages.take(messages, now), self._bytes.take(size, now))


class Slot:
    """The place of one open connection.

    Args:
        settings: those in force when the client connected.
        number: of the connection, for the log.
        peer: the client's address or user, for the log.
        host: whose handshakes are counted together.

    `deadline`: when it must have said hello, on trio's clock. `spoke`: whether it has sent a request; of one host,
    those that have not are evicted first. `scope` is cancelled if it is evicted.
    """

    def __init__(self, settings: ListenSettings, number: int, peer: str, host: str) -> None:
        self.settings = settings
        self.number = number
        self.peer = peer
        self.host = host
        self.owner: str | None = None
        self.scope = trio.CancelScope()
        self.deadline = trio.current_time() + settings.handshake_s
        self.spoke = False
        self._own = RateLimit(settings.messages_per_s, settings.bytes_per_s)
        self.shared: RateLimit | None = None

    def pause(self, size: int, messages: int = 1) -> float:
        """Count messages with `size` bytes of audio in all; return the seconds before the next one may be read."""
        now = trio.current_time()
        own = self._own.take(size, messages, now)
        return own if self.shared is None else max(own, self.shared.take(size, messages, now))


class ConnectionLimiter:
    """Limits all connections of the daemon. `refused`: how often each limit was met."""

    def __init__(self) -> None:
        self.connected = 0
        self.refused: Counter[str] = Counter()
        self._numbers = 0
        self.silent: dict[str, OrderedDict[int, Slot]] = {}  # by host: those that have not said hello, oldest first
        self.silent_count = 0
        self._owners: Counter[str] = Counter()
        self._owner_limits: dict[str, RateLimit] = {}

    @property
    def greeted(self) -> int:
        """How many connections have said hello."""
        return self._owners.total()

    @contextmanager
    def slot(self, settings: ListenSettings, peer: str = "", host: str | None = None) -> Iterator[Slot]:
        """Hold a slot for a connection, from its first byte to its last. Cancelled if the connection is evicted.

        Args:
            settings: those in force.
            peer: the client's address, or its user at the Unix socket.
            host: whose handshakes are counted together; None: the peer's.
        """
        self._numbers += 1
        host = peer if host is None else host
        slot = Slot(settings, self._numbers, peer, host)
        self.connected += 1
        self.silent.setdefault(host, OrderedDict())[slot.number] = slot
        self.silent_count += 1
        self._evict(host, settings)
        try:
            with slot.scope:
                yield slot
        finally:
            self.connected -= 1
            self._end_handshake(slot)
            if slot.owner is not None:
                self._leave(slot.owner)

    def _evict(self, newest: str, settings: ListenSettings) -> None:
        """Evict a connection that has not said hello if there are too many, from the host that has most of them.

        An honest client says hello at once, and is not evicted for other hosts that do not.
        """
        if len(self.silent[newest]) > settings.host_handshakes:
            host = newest
        elif self.silent_count > settings.handshakes:
            host = max(self.silent, key=lambda each: len(self.silent[each]))
        else:
            return
        here = self.silent[host].values()
        evicted = next((slot for slot in here if not slot.spoke), next(iter(here)))
        self.refused["handshakes"] += 1
        self._end_handshake(evicted)
        evicted.scope.cancel()

    def _end_handshake(self, slot: Slot) -> None:
        here = self.silent.get(slot.host)
        if here is not None and here.pop(slot.number, None) is not None:
            self.silent_count -= 1
            if not here:
                del self.silent[slot.host]

    def full(self, settings: ListenSettings) -> bool:
        """Whether there is no room at all, not even in the reserve."""
        full = self.greeted >= settings.connections
        self.refused["connections"] += full
        return full

    def welcome(self, slot: Slot, owner: str, settings: ListenSettings, *, may_use_reserve: bool = False) -> str | None:
        """Count a connection whose owner is known; return a sentence if there is no room for it."""
        own = self._owners[owner]
        reserve = min(settings.reserved_connections, settings.connections // RESERVE_AT_MOST)
        free = settings.connections - self.greeted
        if own >= settings.owner_connections:
            self.refused["owner_connections"] += 1
            return "Too many connections of one owner; close one first."
        if free <= 0 or (free <= reserve and not (may_use_reserve and own < RESERVE_EACH)):
            self.refused["connections"] += 1
            return NO_ROOM
        self._end_handshake(slot)
        self._owners[owner] += 1
        slot.owner = owner
        if owner not in self._owner_limits:
            self._owner_limits[owner] = RateLimit(settings.owner_messages_per_s, settings.owner_bytes_per_s)
        slot.shared = self._owner_limits[owner]
        return None

    def _leave(self, owner: str) -> None:
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner], self._owner_limits[owner]
