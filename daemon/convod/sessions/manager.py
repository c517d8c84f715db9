"""All sessions: found, continued after a restart, ended when the daemon stops; `creation` creates them.

In: requests, with the owner who makes them. Out: sessions, journals, lists. A session belongs to its owner: for others
it does not exist. The manager knows nothing of connections; a producer is any object that stays the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    Code,
    CreateSession,
    DurableEvent,
    Hit,
    Priority,
    QueuedFile,
    Refine,
    Search,
    SegmentCorrected,
    SessionRenamed,
    State,
    StorageStatus,
    SummaryOptions,
)
from convo.transcript import one_line
from convod.engine.wire import RATE
from convod.sessions.admission import Admission
from convod.sessions.audio_recovery import claim_audio, count_audio
from convod.sessions.creation import Creation
from convod.sessions.exports import Exports
from convod.sessions.extra_summaries import SummaryRequests
from convod.sessions.file import FileSession
from convod.sessions.journal import Journal, JournalDeps
from convod.sessions.lengths import CORRECTIONS, check_query, check_text, cut_line
from convod.sessions.limits import RetentionSettings
from convod.sessions.live import LiveSession
from convod.sessions.naming import Naming
from convod.sessions.questions import Questions
from convod.sessions.refinements import Refinements
from convod.sessions.registry import Registry, unknown
from convod.sessions.request import check_summary
from convod.sessions.retention import Retention
from convod.sessions.segments import title_corrected
from convod.sessions.session import Refused, SessionDeps, SessionSettings, refused_by_disk
from convod.sessions.sharing import Sharing
from convod.store import BY_USER, Record, Refining, SpoolFailed, StoreFailed, TookTooLong
from convod.summary import SummarizerUnavailable

log = logging.getLogger("convod.sessions")

PROBE_S: Final = 5.0
"""Between two checks whether a disk that refused writes takes them again."""


class Manager:
    """What clients may ask of sessions; `run` owns their tasks.

    Args:
        journal_deps: what journals work with.
        deps: what sessions work with, apart from their settings.
        settings: returns section `[sessions]` as it is now; a session keeps what it was when it started.
        retention: section `[retention]`.
        audio_grace_s: how long another convod is waited for that alone has a session's audio.
    """

    def __init__(
        self,
        journal_deps: JournalDeps,
        deps: SessionDeps,
        settings: Callable[[], SessionSettings],
        retention: RetentionSettings,
        audio_grace_s: float = 600.0,
    ) -> None:
        self.store = journal_deps.store
        self.spool = deps.spool
        self.engine = deps.engine
        self.hallucination_filter = deps.hallucination_filter
        self.metrics = deps.metrics
        self.exports = Exports(self.store, self.spool.folder)
        self._limits = deps.limits
        self._file_queue = deps.file_queue
        self._summarizers = journal_deps.summarizers
        self._registry = Registry(journal_deps, deps, settings)
        self.refinements = Refinements(self._registry)
        self.admission = Admission(
            deps.limits,
            self.spool.usage,
            lambda owner: self._registry.count(owner) + self.refinements.count(owner),
        )
        self.find = self._registry.find
        self.journal = self._registry.journal
        self.running = self._registry.running
        self.elsewhere = self._registry.elsewhere
        self.counts = self._registry.counts
        self.naming = Naming(
            self.store, self.spool, self.admission, self.journal, self.find, self.engine.settings.voices
        )
        self._creation = Creation(self.store, self._registry, self.admission, self._summarizers)
        self.create = self._creation.create
        self.retranscribe = self._creation.retranscribe
        self.questions = Questions(self.store, self.journal, self._summarizers, deps.limits)
        self._summary_requests = SummaryRequests(self._summarized)
        self._paused: set[str] = set()
        leases = self.store.leases
        self._sharing = (
            None
            if leases is None
            else Sharing(
                leases,
                self.store,
                self.spool,
                self._registry,
                self._resume_asked,
                audio_grace_s,
                self._note_paused,
            )
        )
        self._retention = Retention(self.store, self.spool, retention, self.forget, self.remove_audio)

    def storage(self) -> StorageStatus | None:
        """Return what an operator should know about the disk, None if there is nothing. Looks at the disk."""
        files, size = self.spool.count_unclaimed()
        message = self.why_not_stored() or self._retention.message
        if not files and message is None:
            return None
        return StorageStatus(unclaimed_files=files, unclaimed_bytes=size, message=message)

    def why_not_stored(self) -> str | None:
        """Return why the disk takes no writes now, None if it does as far as is known."""
        return self.store.trouble or self.spool.trouble

    # --- their tasks --------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Continue what an earlier daemon left, then keep sessions until cancelled."""
        records = await self.store.unfinished()
        await claim_audio(self.store, self.spool, {record.id for record in records})
        await count_audio(self.store, self.spool)
        asked = await self.store.asked()
        await self._note_paused()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._registry.run)
            await nursery.start(self._summary_requests.run)
            await nursery.start(self.refinements.run)
            if self._sharing is not None:
                await nursery.start(self._sharing.run)
            else:
                self._go_on(records, asked)
            nursery.start_soon(self._retention.run)
            nursery.start_soon(self.exports.run)
            nursery.start_soon(self._probe_disk)
            task_status.started()
            await trio.sleep_forever()

    def _go_on(self, records: list[Record], asked: list[Record]) -> None:
        for record in records:
            log.info("session continues", extra={"session": record.id, "state": str(record.state)})
            self._registry.resume(record)
        for record in asked:
            self._resume_asked(self._registry.journal_of(record))

    def _resume_asked(self, journal: Journal) -> None:
        """Go on with what was asked for beside a session's own text and summary."""
        self._summary_requests.resume(journal)
        self.refinements.resume(journal)

    async def _note_paused(self) -> None:
        """Pause the files of owners who have paused them, and resume those of others; another convod was told, too."""
        paused = await self.store.paused()
        for owner in paused ^ self._paused:
            self._set_paused(owner, owner in paused)

    def _set_paused(self, owner: str, paused: bool) -> None:
        queue = self._file_queue
        if paused:
            self._paused.add(owner)
            for session in self._registry:
                if isinstance(session, FileSession) and session.record.owner == owner:
                    session.hold()
            queue.pause(owner)
        elif owner in self._paused:
            self._paused.discard(owner)
            queue.resume(owner)

    async def drain(self, seconds: float) -> None:
        """Finish what can be finished within `seconds`; no further session starts.

        Live sessions publish what they have received and may be resumed after the next start; those that were ended get
        their last segments and, if a summarizer is at it, their summary. What takes longer goes on at the next start.
        """
        self._creation.stopped = True
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for session in self._registry:
                    if not isinstance(session, LiveSession):
                        continue
                    if session.record.ended:
                        nursery.start_soon(session.wait_settled)
                    elif session.record.state is State.PROCESSING:
                        nursery.start_soon(session.finalize)

    async def _probe_disk(self) -> None:
        """Notice that the disk takes writes again, until cancelled; otherwise clients would never send any."""
        while True:
            await trio.sleep(PROBE_S)
            if self.store.trouble is not None:
                await self.store.probe()
            if self.spool.trouble is not None:
                await trio.to_thread.run_sync(self.spool.probe)

    # --- for connections ----------------------------------------------------------------------------------

    async def summarize(self, owner: str | None, session: str, options: SummaryOptions) -> Journal:
        """Request another summary; its events go to subscribers. A restart does not lose it.

        Raises:
            Refused: the session is unknown or not transcribed yet, no summarizer answers, or too many are in progress.
        """
        journal = await self.journal(owner, session)
        if journal.record.state in (State.PENDING, State.PROCESSING):
            raise Refused(Code.BAD_STATE, "the session is still being transcribed; end it first")
        self.admission.check_room(journal.record.owner)
        self._summary_requests.check(journal)  # first: to look for a summarizer costs more
        check_summary(options, self._summarizers)
        try:
            await self._summarizers.choose(options, insist=True)
        except SummarizerUnavailable as error:
            raise Refused(Code.SUMMARIZER_UNAVAILABLE, str(error)) from error
        await self._summary_requests.ask(journal, options)
        return journal

    def _summarized(self, session: str) -> None:
        if (waiting := self.find(session)) is not None:
            waiting.summarized()

    async def delete(self, owner: str | None, session: str) -> None:
        """Delete a session; its audio and its text are gone when this returns.

        Raises:
            Refused: the owner has no such session.
        """
        whose = await self.store.owner(session)  # not its journal: it may be damaged
        if whose is None or owner not in (None, whose):
            raise unknown(session)
        await self.forget(session)

    async def remove_audio(self, session: str) -> None:
        """Remove the audio of a session that is over; its text stays.

        Raises:
            StoreFailed, SpoolFailed: the disk refused it.
        """
        try:
            journal = await self.journal(None, session)
        except Refused:
            return  # deleted meanwhile
        self.spool.remove(session, journal.record.owner)
        await journal.publish_all([], wait=False, kept_bytes=0)

    async def search(self, owner: str | None, who: str, request: Search, limit: int) -> list[Hit]:
        """Find the words of a query in what the owner's sessions (everyone's if None) say.

        Raises:
            Refused: the query is not valid, or takes too long.
        """
        check_query(request.query)
        most = self._limits.search_s
        try:
            return await self.store.search(
                owner, request.query, limit, summaries=request.summaries, within_s=most or float("inf"), who=who
            )
        except TookTooLong as error:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"the search took longer than limits.search_s allows ({most:g} s); search for fewer or rarer words",
            ) from error

    async def forget(self, session: str) -> None:
        """Delete a session of any owner."""
        owner = await self.store.owner(session)
        self._summary_requests.forget(session)
        await self.refinements.forget(session)
        if (running := self.find(session)) is not None:
            if not running.record.state.final:
                running.cancel()
            with running.journal.impatiently():
                await running.wait_finished()
        # The audio first: if a power cut leaves some of it, it still has an owner who can delete it.
        try:
            await trio.to_thread.run_sync(partial(self.spool.remove, session, owner, durable=True))
        except SpoolFailed as error:
            raise StoreFailed(f"{error.strerror}; look at the daemon's disk") from error
        await self.store.delete(session)
        self.exports.forget(session)
        self._registry.drop(session)

    # --- the queue ----------------------------------------------------------------------------------------

    async def update(self, owner: str | None, session: str, title: str | None, priority: Priority | None) -> None:
        """Rename a session, or change its priority in the queue.

        Raises:
            Refused: the owner has no such session, or it is not a file that waits or runs.
        """
        journal = await self.journal(owner, session)
        record = journal.record
        if priority is not None:
            if record.kind != "file" or record.state.final:
                raise Refused(Code.BAD_STATE, "only a file session that is not finished has a priority")
            await journal.publish_all([], wait=False, config=msgspec.structs.replace(record.config, priority=priority))
            self._file_queue.prefer(session, priority)
        if title is not None:
            self.admission.check_room(record.owner)
            title = cut_line(title)
            config = msgspec.structs.replace(record.config, title=title)  # so that no other one takes its place
            await journal.publish(SessionRenamed, changes={"title": title, "config": config}, wait=False, title=title)

    async def correct(self, owner: str | None, session: str, segment: int, text: str) -> None:
        """Let a segment read otherwise from now on.

        Raises:
            Refused: there is no such segment, the text is too long, or the session has too many corrections.
        """
        check_text("text", text)
        journal = await self.journal(owner, session)
        self.admission.check_room(journal.record.owner, len(text) + 1)
        if segment >= journal.record.segments:
            raise Refused(Code.BAD_REQUEST, f"the session has no segment {segment}; get_session lists them")
        await self._check_corrections(journal.record)
        text = one_line(text)
        events: list[tuple[type[DurableEvent], dict[str, Any]]] = [
            (SegmentCorrected, {"segment": segment, "text": text, "by": BY_USER})
        ]
        changes: dict[str, Any] = {}
        if (title := await title_corrected(journal, {segment: text})) is not None:
            events.append((SessionRenamed, {"title": title}))
            changes["title"] = title
        self.refinements.corrected(session, segment)
        await journal.publish_all(events, wait=False, **changes)

    async def _check_corrections(self, record: Record) -> None:
        """Raise Refused if a session has as many corrections as it takes, those by rules of its own not counted."""
        by_rules = record.segments if record.config.vocabulary else 0
        if await self.store.count(record.id, SegmentCorrected) >= CORRECTIONS + by_rules:
            raise Refused(Code.LIMIT_EXCEEDED, f"a session takes {CORRECTIONS} corrections; edit an export of this one")

    async def refine(self, owner: str | None, request: Refine) -> tuple[Journal, str]:
        """Have the doubtful segments of a session heard again by a larger model, or stop that; with the model's name.

        Raises:
            Refused: the session or the model is not there, or the audio was not kept.
        """
        journal = await self.journal(owner, request.session)
        if request.cancel:
            await self.refinements.cancel(journal)
            return journal, ""
        record = journal.record
        model = self.refinements.check(record, request.model)
        self.admission.check_room(record.owner)
        await self._check_corrections(record)
        with self.admission.reserve(record.owner):
            await self.refinements.ask(journal, Refining(model=model, below=request.below))
        return journal, model

    async def retry(self, owner: str | None, session: str) -> None:
        """Continue a failed session from where it failed.

        Raises:
            Refused: it did not fail, or its audio is gone.
        """
        journal = await self.journal(owner, session)
        if (ending := self.find(session)) is not None and journal.record.state.final:
            await ending.wait_finished()
        record = journal.record
        if record.state is not State.FAILED:
            raise Refused(Code.BAD_STATE, f"the session is {record.state}; only a failed one can be retried")
        if not record.ended or not self.spool.size(session):
            raise Refused(Code.BAD_STATE, "the audio of this session is not there any more; send the file again")
        with self.admission.reserve(record.owner):
            try:
                self.spool.open(session, record.owner).close()
            except SpoolFailed as error:
                raise refused_by_disk(error) from error
            await journal.enter(State.PENDING, wait=False)
        self._registry.start_soon(record)

    def queue(self, owner: str) -> tuple[list[QueuedFile], bool]:
        """List the owner's files that run or wait, in order, then those being uploaded; and whether they are paused."""
        queue = self._file_queue
        files = {
            session.id: session
            for session in self._registry
            if isinstance(session, FileSession)
            and session.record.owner == owner
            and session.record.state in (State.PENDING, State.PROCESSING)
        }
        ordered = [files.pop(job.session) for job in queue.order(owner) if job.session in files]
        return [session.queued for session in (*ordered, *files.values())], queue.is_paused(owner)

    async def queued_elsewhere(self, owner: str) -> list[QueuedFile]:
        """List the owner's files that other convods work on, oldest first, as far as they were when last stored."""
        if self.store.leases is None:
            return []
        return [
            QueuedFile(
                session=record.id,
                title=record.title,
                priority=record.config.priority,
                state=record.state,
                created=record.created,
                done_s=round(record.checkpoint_sample / RATE, 3),
            )
            for record in await self.store.unfinished(owner)
            if record.kind == "file" and record.state is not State.TRANSCRIBED and self.find(record.id) is None
        ]

    async def pause(self, owner: str, paused: bool) -> None:
        """Pause or resume the owner's files; a restart does not forget it."""
        await self.store.pause(owner, paused)
        self._set_paused(owner, paused)


def settings_of(config: CreateSession) -> dict[str, Any]:
    """Return all settings of a session, defaults included, as plain values."""
    fields = {name: getattr(config, name) for name in config.__struct_fields__ if name not in ("id", "key")}
    return {
        name: msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
        for name, value in fields.items()
    }
