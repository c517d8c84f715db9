"""Sends files to the daemon and follows them until they are transcribed, a few at a time.

In: jobs. Out: `JobsChanged` at each step. The client library survives broken links. Nothing here touches a widget.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable

from textual.message import Message

import convo
from convo.messages import Event, Progress, SessionState, State, SummaryOptions, TranscriptSegment
from convo.text import clean

from ..messages import JobsChanged
from ..model.files import FileJob, Step, remedy
from ..settings import Settings
from .vocabulary import known_rules

SIDE_BY_SIDE = 3
"""Files sent and followed at once; the daemon decides how many it works on."""


class Uploads:
    """The queue. `post` takes messages for the app; `settings` are read whenever a file's turn comes."""

    def __init__(self, link: convo.Link, post: Callable[[Message], object], settings: Callable[[], Settings]) -> None:
        self.jobs: list[FileJob] = []
        self._link = link
        self._post = post
        self._settings = settings
        self._turn = asyncio.Semaphore(SIDE_BY_SIDE)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._uploads: dict[int, convo.FileUpload] = {}

    def start(self, job: FileJob) -> None:
        """Put a job at the end of the queue; one that is over is run again."""
        if job not in self.jobs:
            self.jobs.append(job)
        task = asyncio.create_task(self._run(job))
        self._tasks[id(job)] = task
        task.add_done_callback(lambda done: self._over(job, done))

    def _over(self, job: FileJob, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id(job)) is task:
            del self._tasks[id(job)]
            self._uploads.pop(id(job), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(job, f"convo-tui failed unexpectedly: {error!r}")

    async def cancel(self, job: FileJob) -> None:
        """Stop a job; its session keeps what was transcribed."""
        if job.step.over:
            return
        job.enter(Step.CANCELLED, self._now())
        self._post(JobsChanged())
        upload = self._uploads.pop(id(job), None)
        task = self._tasks.pop(id(job), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if upload is not None:
            await upload.cancel(None)

    def forget(self, job: FileJob) -> None:
        """Remove a job that is over from the queue."""
        if job.step.over and job in self.jobs:
            self.jobs.remove(job)

    async def close(self) -> None:
        """Stop all uploads; the daemon finishes files that were sent whole, and cancels the others."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one file -----------------------------------------------------------------------------------------

    async def _run(self, job: FileJob) -> None:
        def progress(sent: int, whole: bool) -> None:
            if whole:
                job.transcribed(0.0, None, self._now())
            else:
                job.sending(sent, self._now())
            self._post(JobsChanged())

        async with self._turn:
            try:
                job.size = job.path.stat().st_size
                settings = self._settings()
                job.summed_up = settings.summary
                upload = convo.FileUpload(
                    self._link,
                    job.path,
                    progress=progress,
                    interim=False,
                    languages=settings.spoken or None,
                    model=settings.model or None,
                    words=settings.doubts,
                    speakers=settings.speakers,
                    keep_audio=settings.keep_audio or None,  # else as the daemon does
                    vocabulary=known_rules(self._post),
                    summary=SummaryOptions(mode="final" if settings.summary else "off"),
                )
                self._uploads[id(job)] = upload
                async with upload:
                    job.session = await upload.opened()
                    async for event in upload:
                        self._take(job, event)
            except OSError as error:
                self._fail(
                    job,
                    f"Cannot read {job.path.name}: {error.strerror or error}.",
                    f"ls -l {shlex.quote(str(job.path))}",
                )
            except convo.RequestError as error:
                self._fail(job, str(error), remedy(error.code, job.path, job.session))
            except convo.ConvoError as error:
                self._fail(job, str(error), "convo status")

    def _take(self, job: FileJob, event: Event) -> None:
        now = self._now()
        match event:
            case TranscriptSegment():
                job.said_in(clean(event.language), event.end - event.start)
            case Progress():
                job.transcribed(event.done_s, event.total_s, now)
            case SessionState(state=State.TRANSCRIBED) if job.summed_up:
                job.enter(Step.SUMMING_UP, now)
            case SessionState(state=State.COMPLETED):
                job.enter(Step.DONE, now)
            case SessionState(state=State.CANCELLED):
                job.enter(Step.CANCELLED, now)
            case SessionState(state=State.FAILED):
                problem = event.message or event.code or "The daemon gave no reason."
                self._fail(job, problem, remedy(event.code or "", job.path, job.session))
                return
            case _:
                return
        self._post(JobsChanged())

    def _fail(self, job: FileJob, problem: str, command: str = "") -> None:
        if not job.step.over:
            job.enter(Step.FAILED, self._now(), clean(problem), clean(command))
            self._post(JobsChanged())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
