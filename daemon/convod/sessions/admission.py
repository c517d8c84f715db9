"""Decide whether an owner may have one more session, or store more bytes.

In: limits, what each owner has. Out: nothing, or `Refused` with a sentence that says what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convo.messages import Code
from convod.sessions.limits import LimitSettings
from convod.sessions.session import Refused
from convod.store import OwnerFull, Record, Store, TooMany, Usage


class Admission:
    """Checks limits on behalf of the manager.

    Args:
        limits: the settings.
        usage: bytes on disk by owner.
        running: returns how many unfinished sessions an owner has.
    """

    def __init__(self, limits: LimitSettings, usage: Usage, running: Callable[[str], int]) -> None:
        self._limits = limits
        self._usage = usage
        self._running = running
        self._coming: Counter[str] = Counter()  # by owner: sessions that are being stored and are not running yet

    def check_room(self, owner: str, size: int = 1) -> None:
        """Raise Refused if an owner may not store `size` more bytes."""
        try:
            self._usage.check(owner, size)
        except OwnerFull as error:
            raise Refused(Code.LIMIT_EXCEEDED, f"{error}; delete some") from error

    @contextmanager
    def reserve(self, owner: str) -> Iterator[None]:
        """Reserve a place for one more session while it is stored; start it before the next checkpoint.

        Raises:
            Refused: the owner has too many unfinished sessions.
        """
        most = self._limits.sessions
        if most and self._running(owner) + self._coming[owner] >= most:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"as many of your sessions are not finished as limits.sessions allows ({most}); wait for some",
            )
        self._coming[owner] += 1
        try:
            yield
        finally:
            self._coming[owner] -= 1
            if not self._coming[owner]:
                del self._coming[owner]

    async def create(self, store: Store, record: Record, *, durable: bool = False) -> Record:
        """Store a new session, or return the owner's session with the same key.

        Raises:
            Refused: the owner has too many stored sessions.
        """
        most = self._limits.stored_sessions
        try:
            return await store.create(record, durable=durable, most=most)
        except TooMany as error:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"you have as many sessions as limits.stored_sessions allows ({most}); delete some",
            ) from error
