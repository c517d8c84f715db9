"""Connections for long reads: a few of them, one at a time for each user, so that users do not wait for each other.

In: users who want to read. Out: a connection for each until it is given back. Users take turns. It runs no SQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

import trio

from convod.store.base import TookTooLong

C = TypeVar("C")

STEPS: Final = 1000
"""SQLite's instructions between two checks of the deadline: well below a millisecond."""


class Deadline:
    """Until when one read may go on. `check` it between its steps; within SQLite that happens by itself (`watch`)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self._given_up = False

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return 0.0 if self._given_up else max(0.0, self._until - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the read must end."""
        return self._given_up or time.monotonic() >= self._until

    def give_up(self) -> None:
        """End the read: its caller has gone."""
        self._given_up = True

    def check(self) -> None:
        """Raise TookTooLong if the read must end."""
        if self.passed:
            raise TookTooLong(self.seconds)

    def watch(self, connection: sqlite3.Connection) -> None:
        """Let SQLite interrupt what runs on the connection; until `unwatch`."""
        connection.set_progress_handler(lambda: self.passed, STEPS)


def unwatch(connection: sqlite3.Connection) -> None:
    """Let statements on the connection run for any time again."""
    connection.set_progress_handler(None, 0)


class _Waiting:
    def __init__(self, who: str) -> None:
        self.who = who
        self.given = trio.Event()


class Readers(Generic[C]):
    """At most `size` connections, each made with `connect` (in a thread) when it is first needed."""

    def __init__(self, connect: Callable[[], C], disconnect: Callable[[C], None], size: int) -> None:
        self._connect = connect
        self._disconnect = disconnect
        self._size = size
        self._idle: list[C] = []
        self._reading: set[str] = set()
        self._waiting: list[_Waiting] = []  # in the order in which they came
        self.last_turns: dict[str, int] = {}  # of each that waits or reads: its last turn
        self._turn = 0
        self._pauses = 0
        self._none_reads = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def reader(self, who: str) -> AsyncIterator[C]:
        """A connection for one of `who`, once it is their turn."""
        mine = _Waiting(who)
        self._waiting.append(mine)
        self._hand_out()
        try:
            await mine.given.wait()
        except trio.Cancelled:
            if mine.given.is_set():
                self._give_back(who)
            else:
                self._waiting.remove(mine)
                self._forget(who)
            raise
        try:
            connection = self._idle.pop() if self._idle else await trio.to_thread.run_sync(self._connect)
            try:
                yield connection
            finally:
                self._idle.append(connection)
        finally:
            self._give_back(who)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Wait for all reads to end, and start none until the block ends."""
        self._pauses += 1
        try:
            while self._reading:
                await self._none_reads.park()
            yield
        finally:
            self._pauses -= 1
            self._hand_out()

    def close(self) -> None:
        """Close the connections; all reads have ended."""
        while self._idle:
            self._disconnect(self._idle.pop())

    def _hand_out(self) -> None:
        while not self._pauses and len(self._reading) < self._size:
            ready = [one for one in self._waiting if one.who not in self._reading]
            if not ready:
                return
            # Whose last turn is longest ago; of equals the first that came.
            following = min(ready, key=lambda one: self.last_turns.get(one.who, 0))
            self._waiting.remove(following)
            self._turn += 1
            self.last_turns[following.who] = self._turn
            self._reading.add(following.who)
            following.given.set()

    def _give_back(self, who: str) -> None:
        self._reading.remove(who)
        self._hand_out()
        self._forget(who)
        if not self._reading:
            self._none_reads.unpark_all()

    def _forget(self, who: str) -> None:
        if who not in self._reading and all(one.who != who for one in self._waiting):
            self.last_turns.pop(who, None)
