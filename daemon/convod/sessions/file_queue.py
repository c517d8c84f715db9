"""The queue of files: which file session is transcribed next, and how sessions wait for their turn in it.

In: files that are ready, priorities, owners that pause and resume. Out: turns. Nothing is stored: what must survive a
restart is in the sessions' records, and every file is submitted again.

`FileScheduler` decides, without I/O and without a clock. A file is waiting or running, and nothing else:

    submit -> waiting -> (start) -> running -> (leave) -> gone
                 │ └──── (pause) ──────┘                   │
                 └────────────── (leave) ──────────────────┘

At most `at_once` files run. Owners take turns; of one owner's files the highest priority goes first, then the oldest.

Pausing an owner starts none of its files and sends those that run back to waiting: if they kept their places, one
paused owner could block everyone. A file is also sent back when its owner has several running and another owner has
none, because one file may take hours. A local user with none running gets a place too when token owners hold several
between them. A session that was sent back submits nothing to the engine until it is started again.

Priority only orders an owner's own files: `high` goes before that owner's others, never before another owner's. `low`
waits for every file of anyone that is not low, which is what its owner asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from convo.messages import Priority
from convod.owners import OwnerTurns, is_local

RANK: Final[dict[Priority, int]] = {"high": 0, "normal": 1, "low": 2}


class FileJob(msgspec.Struct, frozen=True):
    """A file session with all its audio; one that had `started` before a restart goes before its equals."""

    session: str
    owner: str
    created: float
    priority: Priority = "normal"
    started: bool = False

    @property
    def place(self) -> tuple[int, bool, float, str]:
        """The sort key among its owner's files: the smallest goes first."""
        return RANK[self.priority], not self.started, self.created, self.session


class FileScheduler(msgspec.Struct):
    """Decides which files run; a state machine, see the module."""

    at_once: int
    _waiting: dict[str, FileJob] = msgspec.field(default_factory=dict)
    _running: dict[str, FileJob] = msgspec.field(default_factory=dict)
    _paused: set[str] = msgspec.field(default_factory=set)
    _turns: OwnerTurns = msgspec.field(default_factory=OwnerTurns)

    def submit(self, job: FileJob) -> None:
        """Add a file to those that wait."""
        assert job.session not in self._waiting, job
        assert job.session not in self._running, job
        self._waiting[job.session] = job

    def start(self) -> list[FileJob]:
        """Start as many files as may run now, and return them."""
        started = []
        while (job := self._next()) is not None:
            del self._waiting[job.session]
            self._running[job.session] = job
            waiting = {other.owner for other in self._waiting.values()} - self._paused
            self._turns.took(job.owner, waiting)
            started.append(job)
        return [job for job in started if job.session in self._running]

    def _next(self) -> FileJob | None:
        ready = [job for job in self._waiting.values() if job.owner not in self._paused]
        if any(job.priority != "low" for job in ready):
            ready = [job for job in ready if job.priority != "low"]
        running = Counter(job.owner for job in self._running.values())
        # The owner with the fewest running files first, then the one whose last turn is longest ago.
        for owner in self._turns.order(sorted({job.owner for job in ready}), lambda owner: running[owner]):
            job = min((job for job in ready if job.owner == owner), key=lambda job: job.place)
            if len(self._running) < self.at_once or self._preempt_for(job):
                return job
        return None

    def _preempt_for(self, job: FileJob) -> bool:
        """Send back a file of an owner with several, if the job's owner has none running; return whether one was."""
        running = Counter(other.owner for other in self._running.values())
        if running[job.owner]:
            return False
        owner, most = max(running.items(), key=lambda each: each[1])
        if most < 2:
            remote = [other for other in running if not is_local(other)]
            if not is_local(job.owner) or len(remote) < 2:
                return False
            owner = remote[-1]
        # An owner's last file is sent back: its first should finish first.
        last = max((other for other in self._running.values() if other.owner == owner), key=lambda other: other.place)
        if job.priority == "low" != last.priority:
            return False
        self._send_back(last)
        return True

    def _send_back(self, job: FileJob) -> None:
        del self._running[job.session]
        self._waiting[job.session] = msgspec.structs.replace(job, started=True)

    def leave(self, session: str) -> None:
        """Remove a file that is done, failed or cancelled, whether it waits or runs."""
        self._waiting.pop(session, None)
        self._running.pop(session, None)

    def prefer(self, session: str, priority: Priority) -> None:
        """Change a file's priority; one that runs keeps running."""
        for jobs in (self._waiting, self._running):
            if session in jobs:
                jobs[session] = msgspec.structs.replace(jobs[session], priority=priority)

    def pause(self, owner: str) -> None:
        """Start none of this owner's files, and send back those that run."""
        self._paused.add(owner)
        for job in [job for job in self._running.values() if job.owner == owner]:
            self._send_back(job)

    def resume(self, owner: str) -> None:
        """Let this owner's files be started again."""
        self._paused.discard(owner)

    def is_paused(self, owner: str) -> bool:
        """Whether this owner's files are paused."""
        return owner in self._paused

    def is_running(self, session: str) -> bool:
        """Whether a file may be worked on now."""
        return session in self._running

    @property
    def running(self) -> list[str]:
        """Sessions whose files run."""
        return list(self._running)

    def order(self, owner: str) -> list[FileJob]:
        """Return an owner's files: those that run, then those that wait, each in order."""
        mine = [sorted((job for job in jobs.values() if job.owner == owner), key=lambda job: job.place)
                for jobs in (self._running, self._waiting)]  # fmt: skip
        return mine[0] + mine[1]


class FileQueue:
    """The daemon's one queue: sessions wait in it for the turns that a `FileScheduler` gives."""

    def __init__(self, at_once: int) -> None:
        self._scheduler = FileScheduler(at_once)
        self._on_start: dict[str, Callable[[], None]] = {}
        self._started = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self, job: FileJob, on_start: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Wait for the file's turn, which ends with the block.

        Args:
            job: the file.
            on_start: called each time it is started: the first time, and again after it was sent back.
        """
        self._on_start[job.session] = on_start
        self._scheduler.submit(job)
        try:
            self._start()
            await self.wait(job.session)
            yield
        finally:
            self._scheduler.leave(job.session)
            self._on_start.pop(job.session, None)
            self._start()

    def _start(self) -> None:
        if started := self._scheduler.start():
            for job in started:
                self._on_start[job.session]()
            self._started.unpark_all()

    def is_running(self, session: str) -> bool:
        """Whether it is this file's turn."""
        return self._scheduler.is_running(session)

    async def wait(self, session: str) -> None:
        """Wait until it is this file's turn, for the first time or again."""
        while not self._scheduler.is_running(session):
            await self._started.park()

    def prefer(self, session: str, priority: Priority) -> None:
        """Change a file's priority, if it is in the queue."""
        self._scheduler.prefer(session, priority)

    def pause(self, owner: str) -> None:
        """Send back this owner's files and give their places to others."""
        self._scheduler.pause(owner)
        self._start()

    def resume(self, owner: str) -> None:
        """Let this owner's files take turns again."""
        self._scheduler.resume(owner)
        self._start()

    def is_paused(self, owner: str) -> bool:
        """Whether this owner's files are paused."""
        return self._scheduler.is_paused(owner)

    def order(self, owner: str) -> list[FileJob]:
        """Return an owner's files: those that run, then those that wait, each in order."""
        return self._scheduler.order(owner)
