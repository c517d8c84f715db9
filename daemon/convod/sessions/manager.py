"""All sessions: created, found, continued after a restart, ended when the daemon stops.

In: requests with the owner they come from. Out: sessions, journals, lists. A session is its owner's: to others it does
not exist. It knows nothing of connections; a producer is any object that stays the same.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec
import trio

from convo.messages import (
    Code,
    CreateSession,
    Hit,
    Priority,
    QueuedFile,
    Retranscribe,
    Search,
    SessionCounts,
    SessionRenamed,
    State,
    StorageStatus,
    SummaryOptions,
)
from convod.auto_reset_event import AutoResetEvent
from convod.captions import Guard
from convod.engine.supervisor import Engine
from convod.measure import Measures
from convod.sessions.exports import Exports
from convod.sessions.extra_summaries import SummaryRequests
from convod.sessions.file import FileSession
from convod.sessions.journal import NEXT, Journal, JournalDeps
from convod.sessions.lengths import check_query, check_text, cut_line
from convod.sessions.limits import RetentionSettings
from convod.sessions.live import LiveSession
from convod.sessions.request import check_summary, validate_request
from convod.sessions.retention import Retention
from convod.sessions.session import Refused, Session, SessionDeps, SessionSettings, keeps_audio
from convod.store import (
    NoRoom,
    OverQuota,
    OwnerFull,
    Record,
    Spool,
    SpoolFailed,
    StoreFailed,
    TookTooLong,
    TooMany,
)
from convod.summary import SummarizerUnavailable

log = logging.getLogger("convod.sessions")

PROBE_S: Final = 5.0
"""Between two looks whether a disk that took nothing does again."""

RESUME_S: Final = 30.0
"""Between two tries to open the audio of a session that goes on."""


class Manager:
    """`run` owns every session's task."""

    def __init__(self, journal_deps: JournalDeps, deps: SessionDeps, retention: RetentionSettings) -> None:
        self.store = store = journal_deps.store
        self._journal_deps = journal_deps
        self._deps = deps
        self._sessions: dict[str, Session] = {}
        self._coming: Counter[str] = Counter()  # by owner: sessions that are being stored, soon among the others
        self._keys: WeakValueDictionary[tuple[str, str], trio.Lock] = WeakValueDictionary()
        # One journal a session, as long as anybody reads or writes it: what one publishes, all who read must see.
        self._journals: WeakValueDictionary[str, Journal] = WeakValueDictionary()
        self._nursery: trio.Nursery | None = None
        self._summary_requests: SummaryRequests | None = None
        self._stopping = False
        self._waiting: dict[str, Record] = {}  # sessions whose audio cannot be opened now
        self._waits = AutoResetEvent()
        self.exports = Exports(store, deps.spool.folder)
        self._retention = Retention(store, deps.spool, retention, self._forget, self.remove_audio)

    @property
    def engine(self) -> Engine:
        """The engine that the sessions share."""
        return self._deps.engine

    @property
    def guard(self) -> Guard:
        """What judges texts, and counts what it rejected."""
        return self._deps.guard

    @property
    def measures(self) -> Measures:
        """What the sessions count."""
        return self._deps.measures

    def storage(self) -> StorageStatus | None:
        """What an operator should know of the disk, None if there is nothing."""
        files, size = self.spool.count_unclaimed()
        message = self.why_not_stored() or self._retention.message
        if not files and message is None:
            return None
        return StorageStatus(unclaimed_files=files, unclaimed_bytes=size, message=message)

    def why_not_stored(self) -> str | None:
        """Why the disk takes nothing now, None if it does as far as is known."""
        return self.store.trouble or self.spool.trouble

    @property
    def spool(self) -> Spool:
        """Where audio waits."""
        return self._deps.spool

    def reconfigure(self, settings: SessionSettings) -> None:
        """Settings of the sessions that come from now on."""
        self._deps = msgspec.structs.replace(self._deps, settings=settings)

    def counts(self) -> SessionCounts:
        """Sessions that are not in a final state."""
        kinds = [session.record.kind for session in self._sessions.values()]
        return SessionCounts(live=kinds.count("live"), file=kinds.count("file"))

    # --- their tasks --------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Continue what a former daemon left, then keep sessions until cancelled."""
        records = await self.store.unfinished()
        await self._claim_audio({record.id for record in records})
        await self._count_audio()
        asked = await self.store.asked()
        for owner in await self.store.paused():
            self._deps.file_queue.pause(owner)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._summary_requests = SummaryRequests(nursery, self._summarized)
            nursery.start_soon(self._deps.acks.run)
            for record in records:
                log.info("session goes on", extra={"session": record.id, "state": str(record.state)})
                self._resume(record)
            for record in asked:
                self._summary_requests.resume(self._journal_of(record))
            nursery.start_soon(self._retention.run)
            nursery.start_soon(self.exports.run)
            nursery.start_soon(self._resume_waiting)
            nursery.start_soon(self._probe_disk)
            task_status.started()
            await trio.sleep_forever()

    async def _claim_audio(self, unfinished: set[str]) -> None:
        """Find each piece of audio its session: what nobody knows is set aside, and taken up again once somebody does.

        Audio of a session that is over was left by a daemon that was killed before it deleted it.
        """
        taken = await self._each_audio(list(self.spool.unclaimed_sessions()), self._take_up)
        aside: list[str] = []

        async def is_over(session: str) -> bool:
            record = await self.store.get(session)
            if record is None:
                self.spool.set_aside(session)
                aside.append(session)
            return record is not None and not _may_keep(record)

        others = [session for session in self.spool.sessions() if session not in unfinished]
        over = await self._each_audio(others, is_over)
        if over:
            try:
                await self.store.flush()  # that daemon may have died before the end of these sessions was on the disk
            except StoreFailed as error:
                log.error("audio of sessions that are over stays until the next start: %s", error)
                over = []
        await self._each_audio(over, self._remove)
        if taken:
            log.info("audio that was set aside has its session again", extra={"sessions": len(taken)})
        if aside:
            log.warning(
                "audio that no session here knows was set aside in %s; it is taken up again when its database is back",
                self.spool.unclaimed,
                extra={"files": len(aside)},
            )

    async def _count_audio(self) -> None:
        """Note what audio there is, where that was changed by hand or by a kill, and count from there on."""
        there = await trio.to_thread.run_sync(self.spool.sizes)
        noted = await self.store.kept()
        wrong = {session for session in there.keys() | noted.keys() if there.get(session) != noted.get(session)}
        if wrong:
            try:
                await self.store.set_kept({session: there.get(session, 0) for session in wrong})
            except StoreFailed as error:
                log.error("the sizes of kept audio stay as they were noted: %s", error)
        self.spool.usage.begin(await self.store.used())

    async def _each_audio(self, sessions: list[str], work: Callable[[str], Awaitable[bool]]) -> list[str]:
        """Those of some sessions of whose audio `work` says yes; one that cannot be dealt with holds up no other."""
        found = []
        for session in sessions:
            try:
                if await work(session):
                    found.append(session)
            except (StoreFailed, OSError) as error:
                log.error("audio in the spool stays as it is: %s", error, extra={"session": session})
        return found

    async def _take_up(self, session: str) -> bool:
        return await self.store.get(session) is not None and self.spool.take_up(session)

    async def _remove(self, session: str) -> bool:
        self.spool.remove(session)
        return True

    async def drain(self, seconds: float) -> None:
        """Write out what is on its way, for at most that long. No session begins any more.

        Live sessions say what they have heard and may be resumed at the next start; those that were ended get their
        last segments and, if somebody is writing it, their summary. What takes longer goes on at the next start.
        """
        self._stopping = True
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for session in list(self._sessions.values()):
                    if not isinstance(session, LiveSession):
                        continue
                    if session.record.ended:
                        nursery.start_soon(session.wait_settled)
                    elif session.record.state is State.PROCESSING:
                        nursery.start_soon(session.finalize)

    def _resume(self, record: Record) -> None:
        """Start a session that is stored; if its audio cannot be opened, later."""
        try:
            self._start(record)
        except SpoolFailed as error:
            log.error("session waits: %s", error.strerror, extra={"session": record.id})
            self._waiting[record.id] = record
            self._waits.set()

    def _begin_soon(self, record: Record) -> None:
        """Start a session that was just stored, and so promised: later, if its audio cannot be opened now."""
        self._resume(record)
        if (session := self.find(record.id)) is not None:
            session.prepare()

    async def _resume_waiting(self) -> None:
        """Try again to start those whose audio could not be opened, until cancelled."""
        while True:
            await self._waits.wait()
            await trio.sleep(RESUME_S)
            waiting, self._waiting = self._waiting, {}
            for record in waiting.values():
                self._resume(record)

    async def _probe_disk(self) -> None:
        """Notice that the disk takes something again, until cancelled: else nobody would send anything."""
        while True:
            await trio.sleep(PROBE_S)
            if self.store.trouble is not None:
                await self.store.probe()
            if self.spool.trouble is not None:
                await trio.to_thread.run_sync(self.spool.probe)

    def _start(self, record: Record) -> Session:
        assert self._nursery is not None
        journal = self._journal_of(record)
        config = journal.record.config
        if config.keep_audio is None:  # begun by an older convod: decided now, and stored with what comes next
            keep = keeps_audio(config, self._deps.settings)
            journal.record.config = msgspec.structs.replace(config, keep_audio=keep)
        kind = LiveSession if record.kind == "live" else FileSession
        session = kind(journal, self._deps)
        self._sessions[record.id] = session
        self._nursery.start_soon(self._keep, session)
        return session

    async def _keep(self, session: Session) -> None:
        try:
            await session.run()
        except Exception:
            # A fault in one session must not take the others with it.
            log.exception("session stopped by a fault of convod", extra={"session": session.id})
            await self._fail(session)
        finally:
            self._sessions.pop(session.id, None)

    async def _fail(self, session: Session) -> None:
        if State.FAILED not in NEXT[session.record.state]:
            return
        try:
            await session.journal.enter(
                State.FAILED, code=str(Code.INTERNAL), message="convod made a mistake; its log says which"
            )
        except Exception:
            # The store may be what is broken. The session goes on at the next start.
            log.exception("session could not be failed", extra={"session": session.id})

    # --- for connections ----------------------------------------------------------------------------------

    async def create(self, owner: str, request: CreateSession, producer: object) -> tuple[Journal, Session | None]:
        """A new session, or the owner's session with the same key: None in place of one that is over.

        Raises:
            Refused: the request cannot be met.
        """
        if self._stopping:
            raise Refused(Code.BUSY, "the daemon is stopping; connect again in a moment")
        check_text("key", request.key)
        async with self._alone(owner, request.key):
            # What is there already is found whatever the limits, and whatever else the request says.
            record = await self._with_key(owner, request.key) or await self._store_new(owner, request)
            if self._stopping:  # said while it was being stored: it begins at the next start, found by its key
                raise Refused(Code.BUSY, "the daemon is stopping; connect again in a moment")
            session = self._sessions.get(record.id)
            if session is None:
                if record.state.final:
                    return self._journal_of(record), None
                session = await self._begin(record)
        session.prepare()
        if session.takes_audio:
            session.produce(producer)
        return session.journal, session

    async def _begin(self, record: Record) -> Session:
        """Start a new session, or one that was found by its key and does not run.

        Raises:
            Refused: its audio could not be opened.
        """
        try:
            return self._start(record)
        except SpoolFailed as error:
            if record.seq == 0:  # nobody was told of it
                with suppress(StoreFailed):  # then the next start finds it, and that nobody sends anything
                    await self.store.delete(record.id)
            raise Refused(Code.BUSY, f"{error.strerror}; look at the daemon's disk") from error

    def _validated(self, request: CreateSession) -> CreateSession:
        return validate_request(request, self._deps, self._journal_deps.summarizers)

    def _alone(self, owner: str, key: str | None) -> trio.Lock:
        """For one request with that key at a time, so that the second finds what the first made."""
        return trio.Lock() if key is None else self._keys.setdefault((owner, key), trio.Lock())

    async def _with_key(self, owner: str, key: str | None) -> Record | None:
        if key is None:
            return None
        for session in self._sessions.values():
            if (session.record.owner, session.record.key) == (owner, key):
                return session.record
        return await self.store.keyed(owner, key)

    async def _store_new(self, owner: str, request: CreateSession) -> Record:
        config = self._validated(request)
        self.check_room(owner, config.audio.size or 1)
        with self._place(owner):
            return await self._create(
                Record(
                    id=new_id(),
                    owner=owner,
                    kind=config.kind,
                    title=config.title or "",
                    state=State.PENDING,
                    created=time.time(),
                    key=config.key,
                    config=config,
                )
            )

    async def _create(self, record: Record, *, durable: bool = False) -> Record:
        most = self._deps.limits.stored_sessions
        try:
            return await self.store.create(record, durable=durable, most=most)
        except TooMany as error:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"you have as many sessions as limits.stored_sessions allows ({most}); delete some",
            ) from error

    def check_room(self, owner: str, size: int = 1) -> None:
        """Raise Refused if an owner may not store so many more bytes."""
        try:
            self.spool.usage.check(owner, size)
        except OwnerFull as error:
            raise Refused(Code.LIMIT_EXCEEDED, f"{error}; delete some") from error

    @contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        """Room for one more session of an owner, held while it is stored; whoever asked starts it in the same step.

        Raises:
            Refused: the owner has as many as may be.
        """
        most = self._deps.limits.sessions
        running = sum(session.record.owner == owner for session in self._sessions.values())
        if most and running + self._coming[owner] >= most:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"as many of your sessions are not finished as limits.sessions allows ({most}); wait for some",
            )
        self._coming[owner] += 1
        try:
            yield
        finally:
            self._coming[owner] -= 1
            if not self._coming[owner]:
                del self._coming[owner]

    def find(self, session: str) -> Session | None:
        """A session that is not in a final state."""
        return self._sessions.get(session)

    async def journal(self, owner: str | None, session: str) -> Journal:
        """The journal of any session of the owner, or of anybody if that is None.

        Raises:
            Refused: the owner has no such session.
        """
        journal = self._journals.get(session)
        if journal is None and (record := await self.store.get(session)) is not None:
            journal = self._journal_of(record)
        if journal is None or owner not in (None, journal.record.owner):
            raise _unknown(session)
        return journal

    def _journal_of(self, record: Record) -> Journal:
        # Another task may have made it while this one read the record.
        journal = self._journals.get(record.id)
        if journal is None:
            journal = self._journals[record.id] = Journal(record, self._journal_deps)
        return journal

    async def running(self, owner: str | None, session: str) -> Session:
        """A session of the owner that is not in a final state.

        Raises:
            Refused: there is none, or it has ended.
        """
        journal = await self.journal(owner, session)
        found = self._sessions.get(session)
        if found is None and session in self._waiting:
            raise Refused(
                Code.BUSY, "the audio of this session cannot be opened now; look into the daemon's log, and at its disk"
            )
        if found is None:
            raise Refused(Code.BAD_STATE, f"the session is {journal.record.state} already")
        return found

    async def summarize(self, owner: str | None, session: str, options: SummaryOptions) -> Journal:
        """Begin a new summary; its events go to those attached. A restart does not lose it.

        Raises:
            Refused: unknown session, nothing transcribed yet, no summarizer now, or too many are under way.
        """
        journal = await self.journal(owner, session)
        if journal.record.state in (State.PENDING, State.PROCESSING):
            raise Refused(Code.BAD_STATE, "the session is still being transcribed; end it first")
        self.check_room(journal.record.owner)
        assert self._summary_requests is not None
        self._summary_requests.check(journal)  # before anybody is looked for, who costs more
        check_summary(options, self._journal_deps.summarizers)
        try:
            await self._journal_deps.summarizers.choose(options, insist=True)
        except SummarizerUnavailable as error:
            raise Refused(Code.SUMMARIZER_UNAVAILABLE, str(error)) from error
        await self._summary_requests.ask(journal, options)
        return journal

    def _summarized(self, session: str) -> None:
        if (waiting := self._sessions.get(session)) is not None:
            waiting.summarized()

    async def delete(self, owner: str | None, session: str) -> None:
        """Forget a session: its audio and its text are gone when this returns.

        Raises:
            Refused: the owner has no such session.
        """
        whose = await self.store.owner(session)  # not its journal: it may be damaged
        if whose is None or owner not in (None, whose):
            raise _unknown(session)
        await self._forget(session)

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
        """What the owner's sessions (everybody's if None) say with the words of a query, which `who` asks for.

        Raises:
            Refused: the query cannot be, or takes longer than it may.
        """
        check_query(request.query)
        most = self._deps.limits.search_s
        try:
            return await self.store.search(
                owner, request.query, limit, summaries=request.summaries, within_s=most or float("inf"), who=who
            )
        except TookTooLong as error:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"the search took longer than limits.search_s allows ({most:g} s); search for fewer or rarer words",
            ) from error

    async def _forget(self, session: str) -> None:
        owner = await self.store.owner(session)
        if self._summary_requests is not None:
            self._summary_requests.forget(session)
        if (running := self._sessions.get(session)) is not None:
            if not running.record.state.final:
                running.cancel()
            with running.journal.impatiently():
                await running.wait_finished()
        self._waiting.pop(session, None)
        # The audio first: what is left of it after a power cut has an owner who can delete it.
        try:
            await trio.to_thread.run_sync(partial(self.spool.remove, session, owner, durable=True))
        except SpoolFailed as error:
            raise StoreFailed(f"{error.strerror}; look at the daemon's disk") from error
        await self.store.delete(session)
        self.exports.forget(session)
        self._journals.pop(session, None)

    # --- the queue ----------------------------------------------------------------------------------------

    async def update(self, owner: str | None, session: str, title: str | None, priority: Priority | None) -> None:
        """Rename a session, or change its place in the queue.

        Raises:
            Refused: the owner has no such session, or it waits for no turn.
        """
        journal = await self.journal(owner, session)
        record = journal.record
        if priority is not None:
            if record.kind != "file" or record.state.final:
                raise Refused(Code.BAD_STATE, "only a file session that is not finished has a priority")
            await journal.publish_all([], wait=False, config=msgspec.structs.replace(record.config, priority=priority))
            self._deps.file_queue.prefer(session, priority)
        if title is not None:
            self.check_room(record.owner)
            title = cut_line(title)
            await journal.publish(SessionRenamed, changes={"title": title}, wait=False, title=title)

    async def retry(self, owner: str | None, session: str) -> None:
        """Let a failed session go on where it failed.

        Raises:
            Refused: it did not fail, or its audio is gone.
        """
        journal = await self.journal(owner, session)
        if (ending := self._sessions.get(session)) is not None and journal.record.state.final:
            await ending.wait_finished()
        record = journal.record
        if record.state is not State.FAILED:
            raise Refused(Code.BAD_STATE, f"the session is {record.state}; only a failed one can be tried again")
        if not record.ended or not self.spool.size(session):
            raise Refused(Code.BAD_STATE, "the audio of this session is not there any more; send the file again")
        with self._place(record.owner):
            try:
                self.spool.open(session, record.owner).close()
            except SpoolFailed as error:
                raise Refused(Code.BUSY, f"{error.strerror}; look at the daemon's disk") from error
            await journal.enter(State.PENDING, wait=False)
        self._begin_soon(record)

    async def retranscribe(self, reach: str | None, owner: str, request: Retranscribe) -> str:
        """A new session with the audio of one whose audio was kept; returns its id.

        Raises:
            Refused: there is no such session, its audio was not kept, or the request cannot be met.
        """
        source = (await self.journal(reach, request.session)).record
        if not source.ended or not self.spool.size(source.id):
            raise Refused(
                Code.BAD_STATE, "the audio of this session was not kept (keep_audio); send it again as a new session"
            )
        changes = {name: getattr(request, name) for name in ("language", "task", "words")}
        changes = {name: value for name, value in changes.items() if value is not None}
        config = self._validated(
            msgspec.structs.replace(
                source.config, model=request.model, key=None, title=source.title, priority=request.priority,
                **changes,
            )
        )  # fmt: skip
        record = Record(
            id=new_id(),
            owner=owner,
            kind=source.kind,
            title=source.title,
            state=State.PENDING,
            created=time.time(),
            config=config,
            ended=True,
        )
        with self._place(owner):
            try:
                await trio.to_thread.run_sync(self.spool.share, source.id, record.id, owner)
            except SpoolFailed as error:
                code = Code.LIMIT_EXCEEDED if isinstance(error, OverQuota) else Code.BUSY
                todo = "free some" if isinstance(error, NoRoom) else "look at the daemon's disk"
                raise Refused(code, f"{error.strerror}; {todo}") from error
            try:
                await self._create(record, durable=True)
            except BaseException:
                with suppress(SpoolFailed):
                    self.spool.remove(record.id, owner)
                raise
        self._begin_soon(record)
        return record.id

    def queue(self, owner: str) -> tuple[list[QueuedFile], bool]:
        """The owner's files that wait or are worked on, in their order, then those that are uploaded; if paused."""
        queue = self._deps.file_queue
        files = {
            session.id: session
            for session in self._sessions.values()
            if isinstance(session, FileSession)
            and session.record.owner == owner
            and session.record.state in (State.PENDING, State.PROCESSING)
        }
        ordered = [files.pop(job.session) for job in queue.order(owner) if job.session in files]
        return [session.queued for session in (*ordered, *files.values())], queue.is_paused(owner)

    async def pause(self, owner: str, paused: bool) -> None:
        """Let the owner's files hold still, or go on; remembered."""
        await self.store.pause(owner, paused)
        queue = self._deps.file_queue
        if paused:
            for session in self._sessions.values():
                if isinstance(session, FileSession) and session.record.owner == owner:
                    session.hold()
            queue.pause(owner)
        elif queue.is_paused(owner):
            queue.resume(owner)


def _unknown(session: str) -> Refused:
    return Refused(Code.UNKNOWN_SESSION, f"there is no session {session!r}; list_sessions shows yours")


def new_id() -> str:
    """A session id: cannot be guessed, and a few of its first characters tell it from others."""
    return secrets.token_hex(10)


def _may_keep(record: Record) -> bool:
    """Whether a session that is over may have audio; all else was left by a daemon that died before it was removed."""
    # Only what the session itself was told counts, never today's setting: that is for sessions to come, and who turns
    # it off deletes nothing. Older versions told sessions nothing (None). Theirs was kept or left behind; as nobody can
    # say which, it stays, until the session or audio so old (`retention.audio_days`) is deleted.
    if record.state is State.COMPLETED:
        return record.config.keep_audio is not False
    return record.state is State.FAILED


def settings_of(config: CreateSession) -> dict[str, Any]:
    """All settings of a session, defaults included, as plain values."""
    fields = {name: getattr(config, name) for name in config.__struct_fields__ if name not in ("id", "key")}
    return {
        name: msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
        for name, value in fields.items()
    }
