"""The queue of files as sessions wait in it: a turn is asked for, had, and given back whatever happens.

In: file sessions, pauses. Out: turns, in the order that `queue` decides. Nothing is stored here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from convo.messages import Priority
from convod.sessions.queue import Job, JobQueue


class Turns:
    """One queue for all file sessions of the daemon."""

    def __init__(self, at_once: int) -> None:
        self._queue = JobQueue(at_once)
        self._begun: dict[str, trio.Event] = {}
        self._resumed = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self, job: Job) -> AsyncIterator[None]:
        """Wait for the job's turn; it ends with the block."""
        begun = self._begun[job.session] = trio.Event()
        self._queue.submit(job)
        try:
            self._begin()
            await begun.wait()
            yield
        finally:
            self._queue.leave(job.session)
            self._begun.pop(job.session, None)
            self._begin()

    def _begin(self) -> None:
        for job in self._queue.begin():
            self._begun[job.session].set()

    def prefer(self, session: str, priority: Priority) -> None:
        """Change a job's priority, if it is here."""
        self._queue.prefer(session, priority)

    def pause(self, owner: str) -> None:
        """Let this owner's jobs hold still."""
        self._queue.pause(owner)

    def resume(self, owner: str) -> None:
        """Let them go on."""
        self._queue.resume(owner)
        self._resumed.unpark_all()
        self._begin()

    def is_paused(self, owner: str) -> bool:
        """Whether this owner's jobs are to hold still."""
        return self._queue.is_paused(owner)

    async def wait_resumed(self, owner: str) -> None:
        """Until this owner's jobs may go on."""
        while self._queue.is_paused(owner):
            await self._resumed.park()

    def order(self, owner: str) -> list[Job]:
        """An owner's jobs: those at work, then the others as they come."""
        return self._queue.order(owner)
