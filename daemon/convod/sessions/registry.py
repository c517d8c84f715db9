"""Which sessions run, their tasks, and the journals that are in use.

In: stored records. Out: sessions that run until they reach a final state; journals of any session. It decides nothing
about requests: the manager does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final
from weakref import WeakValueDictionary

import msgspec
import trio

from convo.messages import Code, SessionCounts, State
from convod.auto_reset_event import AutoResetEvent
from convod.sessions.file import FileSession
from convod.sessions.journal import NEXT, Journal, JournalDeps
from convod.sessions.live import LiveSession
from convod.sessions.session import Refused, Session, SessionDeps, SessionSettings, keeps_audio
from convod.store import Record, SpoolFailed

log = logging.getLogger("convod.sessions")

RESUME_S: Final = 30.0
"""Between two tries to open the audio of a session that goes on."""


class Registry:
    """`run` owns every session's task.

    Args:
        journal_deps: what journals work with.
        deps: what sessions work with, apart from their settings.
        settings: returns section `[sessions]` as it is now; a session keeps what it was when it started.
    """

    def __init__(self, journal_deps: JournalDeps, deps: SessionDeps, settings: Callable[[], SessionSettings]) -> None:
        self._store = journal_deps.store
        self._journal_deps = journal_deps
        self._deps = deps
        self._settings = settings
        self._sessions: dict[str, Session] = {}  # those that are not in a final state
        # One journal for each session while it is read or written: all readers must see what one writer adds.
        self._journals: WeakValueDictionary[str, Journal] = WeakValueDictionary()
        self._nursery: trio.Nursery | None = None
        self._waiting: dict[str, Record] = {}  # sessions whose audio cannot be opened now
        self._retry_waiting = AutoResetEvent()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run sessions until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._resume_waiting)
            task_status.started()
            await trio.sleep_forever()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def deps_now(self) -> SessionDeps:
        """Return what a session that starts now works with."""
        return msgspec.structs.replace(self._deps, settings=self._settings())

    def counts(self) -> SessionCounts:
        """Count the sessions that are not in a final state."""
        kinds = [session.record.kind for session in self._sessions.values()]
        return SessionCounts(live=kinds.count("live"), file=kinds.count("file"))

    def count(self, owner: str) -> int:
        """Count an owner's sessions that are not in a final state."""
        return sum(session.record.owner == owner for session in self._sessions.values())

    def start(self, record: Record) -> Session:
        """Start a stored session.

        Raises:
            SpoolFailed: its audio cannot be opened.
        """
        assert self._nursery is not None, "run has started"
        journal = self.own(record)
        config = journal.record.config
        if config.keep_audio is None:  # from an older convod: decided now, and stored with the next event
            keep = keeps_audio(config, self._settings())
            journal.record.config = msgspec.structs.replace(config, keep_audio=keep)
        kind = LiveSession if record.kind == "live" else FileSession
        session = kind(journal, self.deps_now())
        self._sessions[record.id] = session
        self._nursery.start_soon(self._run_session, session)
        return session

    async def _run_session(self, session: Session) -> None:
        try:
            await session.run()
        except Exception:
            # A fault in one session must not end the others.
            log.exception("session stopped by a fault of convod", extra={"session": session.id})
            await self._fail(session)
        finally:
            self._sessions.pop(session.id, None)

    def own(self, record: Record) -> Journal:
        """Return the journal of a session that is leased to this convod."""
        journal = self.journal_of(record)
        journal.refresh(record)
        journal.owned = True
        return journal

    async def _fail(self, session: Session) -> None:
        if State.FAILED not in NEXT[session.record.state]:
            return
        try:
            await session.journal.enter(
                State.FAILED, code=str(Code.INTERNAL), message="convod made a mistake; its log says which"
            )
        except Exception:
            # Perhaps the store is what is broken. The session goes on at the next start.
            log.exception("session could not be failed", extra={"session": session.id})

    def resume(self, record: Record) -> None:
        """Start a stored session; if its audio cannot be opened, try again later."""
        try:
            self.start(record)
        except SpoolFailed as error:
            log.error("session waits: %s", error.strerror, extra={"session": record.id})
            self._waiting[record.id] = record
            self._retry_waiting.set()

    def start_soon(self, record: Record) -> None:
        """Start a session that was just stored; later, if its audio cannot be opened now: a client counts on it."""
        self.resume(record)
        if (session := self.find(record.id)) is not None:
            session.prepare()

    async def _resume_waiting(self) -> None:
        """Retry sessions whose audio could not be opened, until cancelled."""
        while True:
            await self._retry_waiting.wait()
            await trio.sleep(RESUME_S)
            waiting, self._waiting = self._waiting, {}
            for record in waiting.values():
                self.resume(record)

    def find(self, session: str) -> Session | None:
        """Return a session that is not in a final state, None if it is not running."""
        return self._sessions.get(session)

    async def journal(self, owner: str | None, session: str) -> Journal:
        """Return the journal of any session of the owner; of any owner's if that is None.

        Raises:
            Refused: the owner has no such session.
        """
        journal = self._journals.get(session)
        if (journal is None or not journal.owned) and (record := await self._store.get(session)) is not None:
            journal = self.journal_of(record)
            journal.refresh(record)
        elif journal is not None and not journal.owned:
            journal = None  # another convod has deleted it
        if journal is None or owner not in (None, journal.record.owner):
            raise unknown(session)
        return journal

    def journal_of(self, record: Record) -> Journal:
        """Return the one journal of a stored session."""
        # Another task may have created it while this one read the record.
        journal = self._journals.get(record.id)
        if journal is None:
            journal = self._journals[record.id] = Journal(record, self._journal_deps)
        return journal

    async def running(self, owner: str | None, session: str) -> Session:
        """Return a session of the owner that is not in a final state.

        Raises:
            Refused: there is none, or it has ended.
        """
        journal = await self.journal(owner, session)
        found = self._sessions.get(session)
        if found is None and session in self._waiting:
            raise Refused(
                Code.BUSY, "the audio of this session cannot be opened now; look into the daemon's log, and at its disk"
            )
        if found is None and is_elsewhere(journal):
            raise await self.elsewhere(session)
        if found is None:
            raise Refused(Code.BAD_STATE, f"the session is {journal.record.state} already")
        return found

    # --- other convods ------------------------------------------------------------------------------------

    def known(self) -> dict[str, bool]:
        """Return the sessions that are read or run here, and whether they run."""
        return {session: session in self._sessions for session in self._journals}

    def moved(self, session: str, seq: int) -> None:
        """Note that another convod has stored events of a session up to `seq`."""
        journal = self._journals.get(session)
        if journal is not None and not journal.owned:
            journal.feed.move(seq)

    def lose(self, session: str) -> None:
        """Stop a session that is leased to another convod, or deleted."""
        if (running := self._sessions.get(session)) is not None:
            running.lose()

    def drop(self, session: str) -> None:
        """Forget a session that was deleted and does not run."""
        self._waiting.pop(session, None)
        self._journals.pop(session, None)

    async def elsewhere(self, session: str) -> Refused:
        """Return the refusal of what a session can be asked only where it is worked on."""
        leases = self._store.leases
        holder = None if leases is None else await leases.requests.holder(session, None)
        return Refused(Code.BUSY, CHANGES_HANDS if holder is None else holder.sentence)


CHANGES_HANDS: Final = "the session goes from one convod to another; try again in a moment"


def is_elsewhere(journal: Journal) -> bool:
    """Whether another convod works on a session, or did."""
    return not journal.owned and not journal.record.state.final


def unknown(session: str) -> Refused:
    """Return the refusal for a session that does not exist, or is another owner's."""
    return Refused(Code.UNKNOWN_SESSION, f"there is no session {session!r}; list_sessions shows yours")
