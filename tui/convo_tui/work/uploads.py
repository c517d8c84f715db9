"""Files sent to the daemon and followed until their transcript is there, a few at a time.

In: jobs. Out: `JobChanged` for each of their steps. A broken connection is waited for: the upload goes on from the
byte that the daemon has, the events from the last one that was taken. Nothing here touches a widget.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from contextlib import suppress

from textual.message import Message

import convo
from convo.media import PIECE
from convo.messages import (
    AttachReply,
    AudioFormat,
    CancelSession,
    Code,
    CreateSession,
    DurableEvent,
    Event,
    Progress,
    SessionState,
    State,
    SummaryOptions,
)
from convo.text import clean, file_name

from ..model.files import FileJob, Step
from .link import Link
from .messages import JobChanged

SIDE_BY_SIDE = 3
"""Files that are sent and waited for at once; the daemon decides how many it works on."""


class Uploads:
    """The queue. `post` takes messages for the app; `summary`: have each file summed up."""

    def __init__(self, link: Link, post: Callable[[Message], object], *, summary: bool = True) -> None:
        self.jobs: list[FileJob] = []
        self._link = link
        self._post = post
        self._summary = summary
        self._turn = asyncio.Semaphore(SIDE_BY_SIDE)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def start(self, job: FileJob) -> None:
        """Put a job at the end of the queue, or one that is over there again."""
        if job not in self.jobs:
            self.jobs.append(job)
        task = asyncio.create_task(self._run(job))
        self._tasks[id(job)] = task
        task.add_done_callback(lambda done: self._over(job, done))

    def _over(self, job: FileJob, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id(job)) is task:
            del self._tasks[id(job)]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(job, f"convo-tui made a mistake: {error!r}")

    async def cancel(self, job: FileJob) -> None:
        """Stop it; what was transcribed stays in its session."""
        if job.step.over:
            return
        job.enter(Step.CANCELLED, self._now())
        task = self._tasks.pop(id(job), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._post(JobChanged(job))
        if job.session is not None:
            with suppress(convo.ConvoError):  # it is over, or will be
                client = await self._link.client()
                await client.request(CancelSession(session=job.session))

    def forget(self, job: FileJob) -> None:
        """Take one that is over out of the queue."""
        if job.step.over and job in self.jobs:
            self.jobs.remove(job)

    async def close(self) -> None:
        """Leave: files that were sent whole go on at the daemon by themselves, half a file is cancelled."""
        half = [job for job in self.jobs if job.session and not job.step.over and job.sent < job.size]
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in half:
            with suppress(convo.ConvoError):
                client = await self._link.client()
                await client.request(CancelSession(session=str(job.session)))

    # --- one file -----------------------------------------------------------------------------------------

    async def _run(self, job: FileJob) -> None:
        async with self._turn:
            try:
                await self._send_and_follow(job)
            except OSError as error:
                self._fail(job, f"Cannot read {job.path.name}: {error.strerror or error}.")
            except convo.RequestError as error:
                self._fail(job, error.message)
            except convo.ConvoError as error:
                self._fail(job, str(error))

    async def _send_and_follow(self, job: FileJob) -> None:
        descriptor = os.open(job.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            job.size = os.fstat(descriptor).st_size
            key = uuid.uuid4().hex
            upload = _Upload()
            while not job.step.over:
                client = await self._link.client()
                try:
                    await self._once(client, job, upload, descriptor, key)
                except (convo.ConnectionLost, convo.EventsLost):
                    await asyncio.sleep(0)
        finally:
            os.close(descriptor)

    async def _once(self, client: convo.Client, job: FileJob, upload: _Upload, descriptor: int, key: str) -> None:
        if job.session is None:
            request = CreateSession(
                kind="file",
                audio=AudioFormat(name=file_name(job.path.name), size=job.size),
                title=file_name(job.path.stem),
                interim=False,
                key=key,
                summary=SummaryOptions(mode="final" if self._summary else "off"),
            )
            fields = {name: getattr(request, name) for name in request.__struct_fields__ if name not in ("id", "kind")}
            session = await client.create_session("file", **fields)
            job.session = session.id
        else:
            session = await client.attach(job.session, after_seq=upload.seq, produce=not upload.ended)
        sending = None if upload.ended else asyncio.create_task(self._send(session, job, upload, descriptor))
        try:
            async for event in session.events():
                if isinstance(event, DurableEvent):
                    upload.seq = max(upload.seq, event.seq)
                self._take(job, event)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, session: convo.ClientSession, job: FileJob, upload: _Upload, descriptor: int) -> None:
        reply = session.reply
        at = reply.audio_offset if isinstance(reply, AttachReply) else 0
        try:
            if isinstance(reply, AttachReply) and reply.ended:
                upload.ended = True
                return
            while data := await asyncio.to_thread(os.pread, descriptor, PIECE * 2, at):
                await session.send_audio(data)
                at += len(data)
                job.sending(at, self._now())
                self._post(JobChanged(job))
            await session.end()
            upload.ended = True
            job.heard(0.0, None, self._now())
            self._post(JobChanged(job))
        except OSError as error:
            self._fail(job, f"Cannot read {job.path.name}: {error.strerror or error}.")
            with suppress(convo.ConvoError):
                await session.cancel()
        except convo.RequestError as error:
            if error.code != Code.BAD_STATE:  # else it ended meanwhile, and its last event says why
                self._fail(job, error.message)
        except convo.ConvoError:
            return  # the listener tells

    def _take(self, job: FileJob, event: Event) -> None:
        now = self._now()
        match event:
            case Progress():
                job.heard(event.done_s, event.total_s, now)
            case SessionState(state=State.TRANSCRIBED) if self._summary:
                job.enter(Step.SUMMING_UP, now)
            case SessionState(state=State.COMPLETED):
                job.enter(Step.DONE, now)
            case SessionState(state=State.CANCELLED):
                job.enter(Step.CANCELLED, now)
            case SessionState(state=State.FAILED):
                self._fail(job, clean(event.message or event.code or "The daemon did not say why."))
                return
            case _:
                return
        self._post(JobChanged(job))

    def _fail(self, job: FileJob, problem: str) -> None:
        if not job.step.over:
            job.enter(Step.FAILED, self._now(), clean(problem))
            self._post(JobChanged(job))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class _Upload:
    """What has to be known to go on with an upload."""

    def __init__(self) -> None:
        self.seq = 0
        self.ended = False
