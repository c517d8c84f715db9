"""Counts what is in use, so that no client can take everything.

In: something that begins and ends. Out: a place for it, or `Refused`. This module waits for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from convo.messages import Code

from .errors import Refused


class Places:
    """At most `most` places at once for each key."""

    def __init__(self, most: int, sentence: str, *, status: int = 503) -> None:
        self._most = most
        self._sentence = sentence
        self._status = status
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken, for all keys."""
        return self._taken.total()

    @contextmanager
    def place(self, key: str = "") -> Iterator[None]:
        """Hold a place for the length of a block.

        Raises:
            Refused: all are taken.
        """
        if self._taken[key] >= self._most:
            raise Refused(Code.BUSY, self._sentence, status=self._status)
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class Budget:
    """At most `most` bytes in use at once, by all who `take` some."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    def take(self, size: int) -> None:
        """Take bytes.

        Raises:
            Refused: not enough are left.
        """
        if self.used + size > self._most:
            raise Refused(Code.BUSY, "The gateway has no room for more uploads now; try again later.", status=503)
        self.used += size

    def give_back(self, size: int) -> None:
        """Give them back."""
        self.used -= size
