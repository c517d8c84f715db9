"""The queue of files as sessions wait in it: a turn is asked for, had, and given back whatever happens.

In: file sessions, pauses. Out: turns, in the order that `queue` decides. Nothing is stored here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from convo.messages import Priority
from convod.sessions.queue import Job, JobQueue


class Turns:
    """One queue for all file sessions of the daemon."""

    def __init__(self, at_once: int) -> None:
        self._queue = JobQueue(at_once)
        self._begins: dict[str, Callable[[], None]] = {}
        self._begun = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self, job: Job, begins: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Wait for the job's turn; it ends with the block. A pause interrupts it: `begins` is called whenever the job
        begins, the first time and again.
        """
        self._begins[job.session] = begins
        self._queue.submit(job)
        try:
            self._begin()
            await self.wait(job.session)
            yield
        finally:
            self._queue.leave(job.session)
            self._begins.pop(job.session, None)
            self._begin()

    def _begin(self) -> None:
        if jobs := self._queue.begin():
            for job in jobs:
                self._begins[job.session]()
            self._begun.unpark_all()

    def is_on(self, session: str) -> bool:
        """Whether it is this job's turn."""
        return self._queue.is_running(session)

    async def wait(self, session: str) -> None:
        """Until it is this job's turn, for the first time or after a pause."""
        while not self._queue.is_running(session):
            await self._begun.park()

    def prefer(self, session: str, priority: Priority) -> None:
        """Change a job's priority, if it is here."""
        self._queue.prefer(session, priority)

    def pause(self, owner: str) -> None:
        """Let this owner's jobs hold still; it is others' turn meanwhile."""
        self._queue.pause(owner)
        self._begin()

    def resume(self, owner: str) -> None:
        """Let them go on, each when it is its turn."""
        self._queue.resume(owner)
        self._begin()

    def is_paused(self, owner: str) -> bool:
        """Whether this owner's jobs are to hold still."""
        return self._queue.is_paused(owner)

    def order(self, owner: str) -> list[Job]:
        """An owner's jobs: those at work, then the others as they come."""
        return self._queue.order(owner)
