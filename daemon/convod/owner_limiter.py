"""Limit how many expensive tasks run at once, with turns by owner.

In: tasks that want a turn, by owner. Out: turns, in the order that `owners.OwnerTurns` decides. An owner has at most
one turn at a time, so that others need not wait for all it asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from convod.owners import OwnerTurns


class OwnerLimiter:
    """`at_once` turns of different owners."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self.running: set[str] = set()
        self.waiting: dict[str, deque[trio.Event]] = {}
        self._turns = OwnerTurns()

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for the owner's turn; it ends with the block."""
        mine = trio.Event()
        self.waiting.setdefault(owner, deque()).append(mine)
        self._begin()
        try:
            await mine.wait()
            yield
        finally:
            if mine.is_set():
                self.running.discard(owner)
            else:
                self._leave(owner, mine)
            self._begin()

    def _begin(self) -> None:
        while len(self.running) < self._at_once:
            order = self._turns.order(owner for owner in self.waiting if owner not in self.running)
            if not order:
                return
            owner = order[0]
            self.running.add(owner)
            first = self.waiting[owner][0]
            self._leave(owner, first)
            self._turns.took(owner, self.waiting)
            first.set()

    def _leave(self, owner: str, turn: trio.Event) -> None:
        self.waiting[owner].remove(turn)
        if not self.waiting[owner]:
            del self.waiting[owner]
