"""Decide when to try again: growing pauses, and a circuit breaker for a provider that keeps failing.

In: what happened, and the time. Out: how long to wait, and whether to try at all. It never sleeps and reads no clock.

Jitter is "full" between half and all of the pause: sessions that ended together must not come back together (Marc
Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from collections.abc import Callable

Random = Callable[[], float]
"""A number from 0 to below 1."""


class Backoff:
    """Pauses in seconds that double from `first` to `most`, each shortened by up to half at random."""

    def __init__(self, first: float, most: float, chance: Random = random.random) -> None:
        self._next = first
        self._most = most
        self._chance = chance

    def pause(self) -> float:
        """Return how long to wait before the next try."""
        whole, self._next = self._next, min(self._most, self._next * 2)
        return whole * (1 - self._chance() / 2)


class Breaker:
    """A circuit breaker. Closed: all may try. After `failures` in a row it opens: none may, for a pause. Then one may:
    if that succeeds it closes, else it opens for twice as long.
    """

    def __init__(
        self, *, failures: int = 3, first: float = 30.0, most: float = 600.0, chance: Random = random.random
    ) -> None:
        self._limit = failures
        self._first, self._most, self._chance = first, most, chance
        self._backoff = Backoff(first, most, chance)
        self._failures = 0
        self._until = 0.0
        self._trying = False
        self.reason = ""
        """Why the last try failed."""

    def wait(self, now: float) -> float:
        """Seconds until a caller may try; 0 is now."""
        if self._failures < self._limit:
            return 0.0
        left = self._until - now
        # Another one tries now: its result is known soon.
        return left if left > 0 else 1.0 if self._trying else 0.0

    def begin(self) -> None:
        """Note that a caller tries now; `succeeded`, `failed` or `given_up` must follow."""
        self._trying = self._failures >= self._limit

    def succeeded(self) -> None:
        """Note a success: closed."""
        self._failures, self._trying, self.reason = 0, False, ""
        self._backoff = Backoff(self._first, self._most, self._chance)

    def failed(self, now: float, reason: str, *, permanent: bool = False) -> None:
        """Note a failure; a `permanent` one opens it at once, since the same would happen again."""
        self._trying = False
        self._failures = max(self._failures + 1, self._limit if permanent else 0)
        self.reason = reason
        if self._failures >= self._limit:
            self._until = now + self._backoff.pause()

    def given_up(self) -> None:
        """Note that the try was cancelled, which says nothing."""
        self._trying = False
