"""Which file session is worked on next: owners in turn, of each the one with the highest priority, then the first come.
Sans-IO.

In: jobs that come, leave, change; owners that pause and resume. Out: jobs that begin. It holds nothing of a job but its
place, knows no clock and stores nothing: what is to survive a restart is in the sessions' records, and every job is
submitted again.

A job is waiting or running, and there is no third thing:

    submit -> waiting -> (begin) -> running -> (leave) -> gone
                 │ └──── (pause) ──────┘                   │
                 └────────────── (leave) ──────────────────┘

At most `at_once` run. Pausing an owner begins none of its jobs, and those that run wait again: their place is for
others, or one who pauses would hold up all. Whoever works on them holds still until they begin once more. The same
happens to a job of an owner who has several at work while another has none: a file may take hours. A user of this
machine who has none is given a place as well if owners with tokens have several together.

Priority is the owner's own: high ones go before its others, never before another owner's. Low ones wait for all that
are not low, as who chose that wanted.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from convo.messages import Priority
from convod.owners import OwnerTurns, is_local

RANK: Final[dict[Priority, int]] = {"high": 0, "normal": 1, "low": 2}


class Job(msgspec.Struct, frozen=True):
    """A file session with all its audio. `begun` if it was worked on before a restart: it comes before its equals."""

    session: str
    owner: str
    created: float
    priority: Priority = "normal"
    begun: bool = False

    @property
    def place(self) -> tuple[int, bool, float, str]:
        """Among the jobs of its owner, the least comes first."""
        return RANK[self.priority], not self.begun, self.created, self.session


class JobQueue(msgspec.Struct):
    """Decides; see the module."""

    at_once: int
    _waiting: dict[str, Job] = msgspec.field(default_factory=dict)
    _running: dict[str, Job] = msgspec.field(default_factory=dict)
    _paused: set[str] = msgspec.field(default_factory=set)
    _turns: OwnerTurns = msgspec.field(default_factory=OwnerTurns)

    def submit(self, job: Job) -> None:
        """A job that waits."""
        assert job.session not in self._waiting, job
        assert job.session not in self._running, job
        self._waiting[job.session] = job

    def begin(self) -> list[Job]:
        """The jobs that run from now on."""
        begun = []
        while (job := self._next()) is not None:
            del self._waiting[job.session]
            self._running[job.session] = job
            waiting = {other.owner for other in self._waiting.values()} - self._paused
            self._turns.took(job.owner, waiting)
            begun.append(job)
        return [job for job in begun if job.session in self._running]

    def _next(self) -> Job | None:
        ready = [job for job in self._waiting.values() if job.owner not in self._paused]
        if any(job.priority != "low" for job in ready):
            ready = [job for job in ready if job.priority != "low"]
        running = Counter(job.owner for job in self._running.values())
        # Who has the fewest at work comes first, then whose last turn is longest ago.
        for owner in self._turns.order(sorted({job.owner for job in ready}), lambda owner: running[owner]):
            job = min((job for job in ready if job.owner == owner), key=lambda job: job.place)
            if len(self._running) < self.at_once or self._gives_way(job):
                return job
        return None

    def _gives_way(self, job: Job) -> bool:
        """Take a place from who has more of them, for an owner who has none; returns whether there was one."""
        running = Counter(other.owner for other in self._running.values())
        if running[job.owner]:
            return False
        owner, most = max(running.items(), key=lambda each: each[1])
        if most < 2:
            remote = [other for other in running if not is_local(other)]
            if not is_local(job.owner) or len(remote) < 2:
                return False
            owner = remote[-1]
        # The last of them: what is first of an owner is done first, whatever comes.
        last = max((other for other in self._running.values() if other.owner == owner), key=lambda other: other.place)
        if job.priority == "low" != last.priority:
            return False
        self._interrupt(last)
        return True

    def _interrupt(self, job: Job) -> None:
        del self._running[job.session]
        self._waiting[job.session] = msgspec.structs.replace(job, begun=True)

    def leave(self, session: str) -> None:
        """A job is done, failed or given up, wherever it stands."""
        self._waiting.pop(session, None)
        self._running.pop(session, None)

    def prefer(self, session: str, priority: Priority) -> None:
        """Change a job's priority; one that runs goes on."""
        for jobs in (self._waiting, self._running):
            if session in jobs:
                jobs[session] = msgspec.structs.replace(jobs[session], priority=priority)

    def pause(self, owner: str) -> None:
        """Begin none of this owner's jobs, and let those that run wait."""
        self._paused.add(owner)
        for job in [job for job in self._running.values() if job.owner == owner]:
            self._interrupt(job)

    def resume(self, owner: str) -> None:
        """Begin them again."""
        self._paused.discard(owner)

    def is_paused(self, owner: str) -> bool:
        """Whether this owner's jobs wait."""
        return owner in self._paused

    def is_running(self, session: str) -> bool:
        """Whether a job has begun, and may go on."""
        return session in self._running

    @property
    def running(self) -> list[str]:
        """Sessions that are worked on."""
        return list(self._running)

    def order(self, owner: str) -> list[Job]:
        """An owner's jobs: those that run, then the others as they come."""
        mine = [sorted((job for job in jobs.values() if job.owner == owner), key=lambda job: job.place)
                for jobs in (self._running, self._waiting)]  # fmt: skip
        return mine[0] + mine[1]
