"""The daemon's own queue of this user's files, from any program: the step, speed and time left of each.

In: the daemon's answers, with the time. Out: jobs like those sent from here. Nothing here asks the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from convo.messages import QueuedFile, SessionInfo, State
from convo.text import clean

from .files import FileJob, Step, why_failed

FAILED_S = 7 * 86400.0
"""How long failed files are shown: by default the daemon keeps their audio for a week, for a retry."""

MOST_FAILED = 5
MOST_OVER = 20  # that ended while the screen was open

_OVER = {State.COMPLETED: Step.DONE, State.FAILED: Step.FAILED, State.CANCELLED: Step.CANCELLED}


class QueueModel:
    """`jobs` are in the order they will be worked on, then those that are over; `paused`: work is suspended."""

    def __init__(self) -> None:
        self.jobs: list[FileJob] = []
        self.paused = False
        self._known: dict[str, FileJob] = {}
        self._hidden: set[str] = set()

    def update(
        self, queue: Iterable[QueuedFile], newest: Sequence[SessionInfo], *, paused: bool, now: float, wall: float
    ) -> None:
        """Take the daemon's answers: its queue, its newest file sessions.

        Args:
            queue: the files that wait or are being transcribed, in order.
            newest: file sessions in any state, newest first.
            paused: whether the queue is paused.
            now: seconds of any monotonic clock.
            wall: Unix seconds.
        """
        self.paused = paused
        waiting = [self._job(each, now) for each in queue]
        at_work = {job.session for job in waiting}
        over: list[FileJob] = []
        failed = 0
        for info in newest:
            if info.session in at_work or info.session in self._hidden:
                continue
            known = self._known.get(info.session)
            failed += info.state is State.FAILED
            if known is None and not (
                info.state is State.FAILED and failed <= MOST_FAILED and wall - info.created < FAILED_S
            ):
                continue
            step = _OVER.get(info.state, Step.SUMMING_UP)
            job = known or FileJob(Path(), title=_title(info.title, info.session), session=info.session)
            if job.step is not step:
                job.enter(step, now, *(why_failed(info) if step is Step.FAILED else ()))
            over.append(job)
        self.jobs = waiting + over[:MOST_OVER]
        self._known = {str(job.session): job for job in self.jobs}
        for info in newest:
            if (known := self._known.get(info.session)) is not None:
                known.heard_in = clean(info.language or "")

    def others(self, own: Iterable[str | None]) -> list[FileJob]:
        """The jobs that are not among our own sessions."""
        ours = set(own)
        return [job for job in self.jobs if job.session not in ours]

    def hide(self, job: FileJob) -> None:
        """Stop showing a job that is over."""
        self._hidden.add(str(job.session))
        self.jobs.remove(job)
        self._known.pop(str(job.session), None)

    def _job(self, file: QueuedFile, now: float) -> FileJob:
        self._hidden.discard(file.session)  # it was retried
        job = self._known.get(file.session)
        if job is None or job.step.over:
            job = FileJob(Path(), title=_title(file.title, file.session), session=file.session)
        job.title, job.priority = _title(file.title, file.session), file.priority
        if file.state is State.PROCESSING:
            if job.begun is None:
                job.begun = now
            job.transcribed(file.done_s, file.total_s, now)
        elif job.step is not Step.WAITING:
            job.enter(Step.WAITING, now)
        return job


def _title(title: str, session: str) -> str:
    return clean(title) or session[:8]
