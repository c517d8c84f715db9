"""The daemon's own queue of files, whoever sent them: what each is doing, how fast, how long it will take.

In: what the daemon told, with the time. Out: jobs like those that are sent from here. Nothing here asks the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from convo.messages import QueuedFile, SessionInfo, State
from convo.text import clean

from .files import FileJob, Step

FAILED_S = 7 * 86400.0
"""Failed files are shown for so long: by default the daemon keeps their audio for a week, for another try."""

MOST_FAILED = 5
MOST_OVER = 20  # that ended while somebody looked

_OVER = {State.COMPLETED: Step.DONE, State.FAILED: Step.FAILED, State.CANCELLED: Step.CANCELLED}


class QueueModel:
    """`jobs` in the order in which they come, then those that are over; `paused`: none of them is worked on."""

    def __init__(self) -> None:
        self.jobs: list[FileJob] = []
        self.paused = False
        self._known: dict[str, FileJob] = {}
        self._hidden: set[str] = set()

    def update(
        self, queue: Iterable[QueuedFile], newest: Iterable[SessionInfo], *, paused: bool, now: float, wall: float
    ) -> None:
        """Take what the daemon said: its queue, its newest file sessions.

        Args:
            queue: what waits or is worked on, in order.
            newest: file sessions in any state, newest first.
            paused: whether the queue rests.
            now: seconds of any steady clock.
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
                job.enter(step, now)
            over.append(job)
        self.jobs = waiting + over[:MOST_OVER]
        self._known = {str(job.session): job for job in self.jobs}

    def others(self, own: Iterable[str | None]) -> list[FileJob]:
        """Those that are not among our own sessions."""
        ours = set(own)
        return [job for job in self.jobs if job.session not in ours]

    def hide(self, job: FileJob) -> None:
        """Show one that is over no more."""
        self._hidden.add(str(job.session))
        self.jobs.remove(job)
        self._known.pop(str(job.session), None)

    def _job(self, file: QueuedFile, now: float) -> FileJob:
        self._hidden.discard(file.session)  # it was tried again
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
