"""Which windows of audio are decoded next, and together. A state machine: jobs in, batches out; no process, no clock.

Finals go before interims, interims before file windows. Within a kind sessions take turns, those first whose window is
due: a final decoded at a pause is needed at the endpoint only, and somebody else's is needed now. A session has at most
one interim waiting: a newer one takes its place. A batch holds windows that can share one encoder run and one prompt:
same rate, options and length bucket; it is never waited for.

A batch whose worker died is tried again one window at a time in a fresh worker, each before others of its kind; a
window that is alone when its worker dies, three times, is given up: one that kills is known by it, and a worker may die
of something else. A batch that the model could not decode is tried again in the same way, and a window that it cannot
decode alone is given up at once: the worker lives and said so.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from convod.engine.wire import Kind, Lead, Options, bucket, room

TRIES: Final = 3
"""How often a window may take its worker with it."""


@dataclass(eq=False, slots=True)
class Job:
    """A window to decode: `audio` is mono s16le at `rate` Hz. `session` owns it, `since` it waits.

    Windows that begin at the same sample of the same stream share the name `growing`; `lead` comes before it, and
    its language is `expected`. `behind`: others of its session
    waited when it came. An interim that replaces another waits since that one did. `due` is when its text is needed.
    """

    session: str
    kind: Kind
    audio: bytes
    rate: int
    options: Options
    tag: object = None
    growing: str | None = None
    lead: Lead | None = None
    expected: str | None = None
    since: float = 0.0
    due: float = 0.0
    behind: bool = False
    deaths: int = field(default=0, init=False)

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return len(self.audio) / 2 / self.rate


class Scheduler:
    """`batch` is the most windows that are decoded together, `files` the most windows of files; `bucketed` if windows
    must be of about one length.
    """

    def __init__(self, batch: int = 1, *, files: int | None = None, bucketed: bool = True) -> None:
        self.batch = batch
        self.files = batch if files is None else files
        self._bucketed = bucketed
        self._waiting: dict[Kind, OrderedDict[str, deque[Job]]] = {kind: OrderedDict() for kind in Kind}
        self._retry: deque[Job] = deque()

    def submit(self, job: Job) -> Job | None:
        """Queue a window. Returns the interim that it replaces, if any."""
        if job.kind is Kind.INTERIM and (replaced := self._replace(job)) is not None:
            return replaced
        queue = self._waiting[job.kind].setdefault(job.session, deque())
        job.behind = bool(queue)
        queue.append(job)
        return None

    def _replace(self, job: Job) -> Job | None:
        """Put an interim in the place of the one of its session that waits, if any. One that waits for another try is
        suspected of killing its worker, and so is what holds its audio: it is tried alone, too.
        """
        for queue in (self._waiting[job.kind].get(job.session, deque()), self._retry):
            for place, other in enumerate(queue):
                if other.kind is job.kind and other.session == job.session:
                    queue[place] = job
                    job.since, job.deaths = other.since, other.deaths
                    return other
        return None

    def holds(self, job: Job) -> bool:
        """Whether a job waits."""
        return job in self._waiting[job.kind].get(job.session, ()) or job in self._retry

    def drop(self, job: Job) -> bool:
        """Take a job back, if it waits; returns whether it did."""
        queues = self._waiting[job.kind]
        queue = queues.get(job.session)
        if queue is not None and job in queue:
            queue.remove(job)
            if not queue:
                del queues[job.session]
            return True
        if job in self._retry:
            self._retry.remove(job)
            return True
        return False

    def waiting(self, kind: Kind) -> int:
        """Windows of a kind that wait."""
        retried = sum(job.kind is kind for job in self._retry)
        return retried + sum(len(queue) for queue in self._waiting[kind].values())

    def __bool__(self) -> bool:
        return bool(self._retry) or any(self._waiting.values())

    def take(self, now: float = 0.0, *, live: bool = False, files: bool = True) -> list[Job]:
        """The next batch at time `now`, empty when nothing waits. While there are `live` sessions, file windows go one
        by one, and without `files` not at all.

        A final that comes while a batch runs must wait for it, and then it waits for one window at most.
        """
        for kind, queues in self._waiting.items():
            if kind is Kind.FILE and not files:
                return []
            if (again := self._retried(kind)) is not None:
                return [again]
            if queues and kind is Kind.FILE:
                return self._file_batch(queues, 1 if live else self.files)
            if queues:
                return self._batch_from(queues, self.batch, now)
        return []

    def died(self, batch: list[Job], wanted: Container[Job] | None = None) -> list[Job]:
        """The worker died over this batch. Returns the jobs that are given up; the others are first of their kind now.

        An interim that a newer one waits to replace is given up at once. What is not `wanted` any more (None: all is)
        was dropped while it was at work, and is forgotten.
        """
        # Only a window that was alone is known to be the one that kills.
        if len(batch) == 1:
            batch[0].deaths += 1
        return self._again(batch, wanted)

    def failed(self, batch: list[Job], wanted: Container[Job] | None = None) -> list[Job]:
        """The model could not decode this batch, for one window of it or for their number. Returns the jobs that are
        given up, as `died` does.
        """
        return batch if len(batch) == 1 else self._again(batch, wanted)

    def _again(self, batch: list[Job], wanted: Container[Job] | None) -> list[Job]:
        given_up = []
        for job in batch:
            if wanted is not None and job not in wanted:
                continue
            if job.deaths >= TRIES or (job.kind is Kind.INTERIM and self._has_interim(job.session)):
                given_up.append(job)
            else:
                self._retry.append(job)
        return given_up

    def _has_interim(self, session: str) -> bool:
        again = any(job.kind is Kind.INTERIM and job.session == session for job in self._retry)
        return again or session in self._waiting[Kind.INTERIM]

    def _retried(self, kind: Kind) -> Job | None:
        """Take out the first window of a kind that waits for another try."""
        for job in self._retry:
            if job.kind is kind:
                self._retry.remove(job)
                return job
        return None

    def _batch_from(self, queues: OrderedDict[str, deque[Job]], most: int, now: float) -> list[Job]:
        batch: list[Job] = []
        turn_over: list[str] = []
        # One window of each session in turn, then round again while there is room.
        took = True
        while took and len(batch) < most:
            took = False
            for session in sorted(queues, key=lambda session: max(now, queues[session][0].due)):
                queue = queues[session]
                if batch and not self._alike(batch[0], queue[0]):
                    continue
                batch.append(queue.popleft())
                took = True
                turn_over.append(session)
                if not queue:
                    del queues[session]
                if len(batch) == most:
                    break
        for session in turn_over:
            if session in queues:
                queues.move_to_end(session)
        return batch

    def _file_batch(self, queues: OrderedDict[str, deque[Job]], most: int) -> list[Job]:
        """Windows of the session whose turn it is; its answers may come in any order, so alike ones are picked out.

        What a model hears in a window depends on the length that it is padded to, and on the room that its answer has:
        only windows of one bucket go together, so that the text does not depend on what happened to wait.
        """
        session, queue = next(iter(queues.items()))
        first = queue[0]
        batch = [job for job in queue if job.options == first.options and self._bucket(job) == self._bucket(first)]
        del batch[most:]
        for job in batch:
            queue.remove(job)
        if queue:
            queues.move_to_end(session)
        else:
            del queues[session]
        return batch

    def _bucket(self, job: Job) -> int:
        frames = len(job.audio) // 2 * 100 // job.rate
        return bucket(frames) if self._bucketed else room(frames)

    def _alike(self, one: Job, other: Job) -> bool:
        if one.rate != other.rate or one.options != other.options:
            return False
        return not self._bucketed or int(one.seconds) == int(other.seconds)
