"""Which windows of audio are decoded next, and together. A state machine: jobs in, batches out; no process, no clock.

Finals go before interims, interims before file windows. Within a kind owners take turns, and in those of each owner its
sessions do: a hundred sessions of one owner get no more than the single one of another. Those go first whose window is
due: a final decoded at a pause is needed at the endpoint only, and another may be needed now. Finals of one owner never
keep the interims of another waiting for ever: after FINALS_AHEAD batches these go first, once. A session has one
interim at most that waits: a newer one takes its place. A batch holds windows that can share one encoder run and one
prompt: same rate, options and length bucket; it is never waited for.

A batch whose worker died is tried again one window at a time in a fresh worker, each before others of its kind; a
window that is alone when its worker dies, three times, is given up: one that kills is known by it, and a worker may die
of something else. A batch that the model could not decode is tried again in the same way, and a window that it cannot
decode alone is given up at once: the worker lives and said so.

A worker on another machine may be lost with its connection or the broker, which says nothing about its windows: they
are tried again up to LOSSES times, by local workers if there are any.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Final

from convod.engine.wire import bucket, room
from convod.owners import OwnerTurns
from convod.speech.decoding import DecodeJob, Kind

LEAST_SHARE: Final = 2
"""Windows of files that go together though a worker gets nothing for it: one by one they take a third longer."""

TRIES: Final = 3
"""How often a window may take its worker with it."""

LOSSES: Final = 9
"""How often a window's worker may be lost. A window that kills whole machines is given up as well."""

FINALS_AHEAD: Final = 2
"""Batches of finals in a row that go before the interim of an owner who has none among them, nor waits for one."""


class _Queue:
    """The windows of one kind that wait, by owner and session; the sessions of an owner in the order of their turns."""

    def __init__(self) -> None:
        self._owners: dict[str, OrderedDict[str, deque[DecodeJob]]] = {}
        self._turns = OwnerTurns()

    def __bool__(self) -> bool:
        return bool(self._owners)

    def __len__(self) -> int:
        return sum(len(windows) for sessions in self._owners.values() for windows in sessions.values())

    def __iter__(self) -> Iterator[DecodeJob]:
        return (job for sessions in self._owners.values() for windows in sessions.values() for job in windows)

    @property
    def owners(self) -> list[str]:
        """Those who have windows here."""
        return list(self._owners)

    def of(self, job: DecodeJob) -> deque[DecodeJob]:
        """The windows of a job's session."""
        sessions = self._owners.get(job.owner)
        return deque() if sessions is None else sessions.get(job.session, deque())

    def add(self, job: DecodeJob) -> None:
        """A window behind those of its session."""
        windows = self._owners.setdefault(job.owner, OrderedDict()).setdefault(job.session, deque())
        job.behind = bool(windows)
        windows.append(job)

    def remove(self, job: DecodeJob) -> bool:
        """Take a window out; returns whether it was here."""
        windows = self.of(job)
        if job not in windows:
            return False
        windows.remove(job)
        if not windows:
            sessions = self._owners[job.owner]
            del sessions[job.session]
            if not sessions:
                del self._owners[job.owner]
        return True

    def take(self, batch: list[DecodeJob]) -> None:
        """Take windows out; their owners had a turn each, and their sessions."""
        for job in batch:
            self.remove(job)
            sessions = self._owners.get(job.owner)
            if sessions is not None and job.session in sessions:
                sessions.move_to_end(job.session)
        for owner in dict.fromkeys(job.owner for job in batch):
            self._turns.took(owner, self._owners)

    def in_turn(self, now: float, among: Iterable[str] | None = None) -> dict[str, deque[deque[DecodeJob]]]:
        """Owners in the order of their turns, and the windows of each, by session in the order of theirs. Those who
        have a window that is due come first.
        """
        due = {
            owner: max(now, min(windows[0].due for windows in self._owners[owner].values()))
            for owner in (self._owners if among is None else among)
        }
        return {
            owner: deque(sorted(self._owners[owner].values(), key=lambda windows: max(now, windows[0].due)))
            for owner in self._turns.order(due, due.__getitem__)
        }


class Scheduler:
    """`batch` is the most windows that are decoded together, `files` the most windows of files; `bucketed` if windows
    must be of about one length. The windows of files are shared out among so many `workers`; that may change.
    """

    def __init__(self, batch: int = 1, *, files: int | None = None, bucketed: bool = True, workers: int = 1) -> None:
        self.batch = batch
        self.workers = workers
        self.files = batch if files is None else files
        self._bucketed = bucketed
        self._waiting: dict[Kind, _Queue] = {kind: _Queue() for kind in Kind}
        self._retry: deque[DecodeJob] = deque()
        self._finals_ahead: dict[str, int] = {}  # of an owner whose interims wait: batches that went before them

    def submit(self, job: DecodeJob) -> DecodeJob | None:
        """Queue a window. Returns the interim that it replaces, if any."""
        if job.kind is Kind.INTERIM and (replaced := self._replace(job)) is not None:
            return replaced
        self._waiting[job.kind].add(job)
        return None

    def _replace(self, job: DecodeJob) -> DecodeJob | None:
        """Put an interim in the place of the one of its session that waits, if any. One that waits for another try is
        suspected of killing its worker, and so is what holds its audio: it is tried alone, too.
        """
        for queue in (self._waiting[job.kind].of(job), self._retry):
            for place, other in enumerate(queue):
                if other.kind is job.kind and other.session == job.session:
                    queue[place] = job
                    job.since, job.deaths = other.since, other.deaths
                    return other
        return None

    def holds(self, job: DecodeJob) -> bool:
        """Whether a job waits."""
        return job in self._waiting[job.kind].of(job) or job in self._retry

    def drop(self, job: DecodeJob) -> bool:
        """Take a job back, if it waits; returns whether it did."""
        if self._waiting[job.kind].remove(job):
            return True
        if job in self._retry:
            self._retry.remove(job)
            return True
        return False

    def waiting(self, kind: Kind) -> int:
        """Windows of a kind that wait."""
        retried = sum(job.kind is kind for job in self._retry)
        return retried + len(self._waiting[kind])

    def __bool__(self) -> bool:
        return bool(self._retry) or any(self._waiting.values())

    def take(self, now: float = 0.0, *, live: bool = False, files: bool = True) -> list[DecodeJob]:
        """The next batch at time `now`, empty when nothing waits. While there are `live` sessions, file windows go one
        by one, and without `files` not at all.

        A final that comes while a batch runs must wait for it, and then it waits for one window at most.
        """
        for kind, queue in self._waiting.items():
            if kind is Kind.FILE and not files:
                return []
            if (again := self._retried(kind)) is not None:
                return [again]
            if not queue:
                continue
            if kind is Kind.FILE:
                batch = self._file_batch(queue, 1 if live else self.files, now)
            elif kind is Kind.FINAL and (passed_over := self._passed_over()):
                queue = self._waiting[Kind.INTERIM]
                batch = self._batch_from(queue, now, passed_over)
            else:
                batch = self._batch_from(queue, now)
            queue.take(batch)
            self._count_finals_ahead(batch)
            return batch
        return []

    def take_leaving(self, leaves: Callable[[DecodeJob], bool], now: float = 0.0) -> list[DecodeJob]:
        """The next batch for a worker on another machine: a final that `leaves`, alone, else windows of a file that do.
        Interims stay: they are needed at once.
        """
        for kind in (Kind.FINAL, Kind.FILE):
            again = next((job for job in self._retry if job.kind is kind and leaves(job)), None)
            if again is not None:
                self._retry.remove(again)
                return [again]
            queue = self._waiting[kind]
            if kind is Kind.FILE:
                batch = self._file_batch(queue, self.files, now, leaves)
            else:
                heads = (windows[0] for sessions in queue.in_turn(now).values() for windows in sessions)
                batch = [job for job in heads if leaves(job)][:1]
            if batch:
                queue.take(batch)
                return batch
        return []

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that wait."""
        queued = (job for queue in self._waiting.values() for job in queue)
        return sum(job.seconds for job in (*self._retry, *queued))

    def _passed_over(self) -> list[str]:
        """Owners whose interims are to go before the finals of others."""
        finals = self._waiting[Kind.FINAL].owners
        return [
            owner
            for owner in self._waiting[Kind.INTERIM].owners
            if self._finals_ahead.get(owner, 0) >= FINALS_AHEAD and owner not in finals
        ]

    def _count_finals_ahead(self, batch: list[DecodeJob]) -> None:
        served = {job.owner for job in batch}
        self._finals_ahead = {
            owner: self._finals_ahead.get(owner, 0) + (batch[0].kind is Kind.FINAL)
            for owner in self._waiting[Kind.INTERIM].owners
            if owner not in served
        }

    def died(
        self, batch: list[DecodeJob], wanted: Container[DecodeJob] | None = None, *, lost: bool = False
    ) -> list[DecodeJob]:
        """The worker died over this batch. Returns the jobs that are given up; the others are first of their kind now.

        An interim that a newer one waits to replace is given up at once. What is not `wanted` any more (None: all is)
        was dropped while it was at work, and is forgotten. A worker that was `lost` to sight may well live.
        """
        # Only a window that was alone is known to be the one that kills.
        if lost:
            for job in batch:
                job.losses += 1
        elif len(batch) == 1:
            batch[0].deaths += 1
        return self._again(batch, wanted)

    def failed(self, batch: list[DecodeJob], wanted: Container[DecodeJob] | None = None) -> list[DecodeJob]:
        """The model could not decode this batch, for one window of it or for their number. Returns the jobs that are
        given up, as `died` does.
        """
        return batch if len(batch) == 1 else self._again(batch, wanted)

    def _again(self, batch: list[DecodeJob], wanted: Container[DecodeJob] | None) -> list[DecodeJob]:
        given_up = []
        for job in batch:
            if wanted is not None and job not in wanted:
                continue
            replaced = job.kind is Kind.INTERIM and self._has_interim(job)
            if replaced or job.deaths >= TRIES or job.losses >= LOSSES:
                given_up.append(job)
            else:
                self._retry.append(job)
        return given_up

    def _has_interim(self, job: DecodeJob) -> bool:
        again = any(other.kind is Kind.INTERIM and other.session == job.session for other in self._retry)
        return again or bool(self._waiting[Kind.INTERIM].of(job))

    def _retried(self, kind: Kind) -> DecodeJob | None:
        """Take out the first window of a kind that waits for another try."""
        for job in self._retry:
            if job.kind is kind:
                self._retry.remove(job)
                return job
        return None

    def _batch_from(self, queue: _Queue, now: float, among: Iterable[str] | None = None) -> list[DecodeJob]:
        """One window of each owner in turn, then round again while there is room; of `among` only, where given."""
        batch: list[DecodeJob] = []
        turns = queue.in_turn(now, among)
        taken: Counter[str] = Counter()
        while turns:
            for owner in list(turns):
                if (job := self._next(turns[owner], taken, batch[0] if batch else None)) is None:
                    del turns[owner]
                    continue
                batch.append(job)
                if len(batch) == self.batch:
                    return batch
        return batch

    def _next(self, sessions: deque[deque[DecodeJob]], taken: Counter[str], like: DecodeJob | None) -> DecodeJob | None:
        """The next window of an owner that can go with `like`: of each session in turn, each in its order."""
        while sessions:
            windows = sessions.popleft()
            job = windows[taken[windows[0].session]]
            if like is not None and not self._alike(like, job):
                continue  # nor can what is behind it, which comes later
            taken[job.session] += 1
            if taken[job.session] < len(windows):
                sessions.append(windows)
            return job
        return None

    def _file_batch(
        self, queue: _Queue, most: int, now: float, fits: Callable[[DecodeJob], bool] = lambda job: True
    ) -> list[DecodeJob]:
        """Windows that fit of the first session in turn that has any; its answers may come in any order, so alike ones
        are picked out.

        What a model hears in a window depends on the length that it is padded to, and on the room that its answer has:
        only windows of one bucket go together, so that the text does not depend on what happened to wait. No worker
        takes what another could decode meanwhile: most recordings are a batch or two.
        """
        share = math.ceil(self.waiting(Kind.FILE) / max(1, self.workers))
        for windows in (windows for sessions in queue.in_turn(now).values() for windows in sessions):
            if fitting := [job for job in windows if fits(job)]:
                options, size = fitting[0].options, self._bucket(fitting[0])
                batch = [job for job in fitting if job.options == options and self._bucket(job) == size]
                return batch[: min(most, max(LEAST_SHARE, share))]
        return []

    def _bucket(self, job: DecodeJob) -> int:
        frames = len(job.audio) // 2 * 100 // job.rate
        return bucket(frames) if self._bucketed else room(frames)

    def _alike(self, one: DecodeJob, other: DecodeJob) -> bool:
        if one.rate != other.rate or one.options != other.options:
            return False
        return not self._bucketed or int(one.seconds) == int(other.seconds)
