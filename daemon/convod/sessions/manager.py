"""All sessions: created, found, continued after a restart, ended when the daemon stops.

In: requests with the owner they come from. Out: sessions, journals, lists. A session is its owner's: to others it does
not exist. It knows nothing of connections; a producer is any object that stays the same.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import trio

from convo.messages import (
    Code,
    CreateSession,
    SessionCounts,
    SessionWarning,
    State,
    SummaryOptions,
)
from convod.captions import Guard
from convod.engine.supervisor import Engine
from convod.hearing import PcmFormat, UnsupportedAudio
from convod.hearing.vad import VadSettings
from convod.measure import Measures
from convod.sessions.file import FileSession
from convod.sessions.journal import NEXT, Desk, Journal
from convod.sessions.live import LiveSession
from convod.sessions.session import Parts, Refused, Session, SessionSettings
from convod.store import Record, SessionStore, Spool
from convod.summary import SummarizerUnavailable

log = logging.getLogger("convod.sessions")

ENDPOINT_MS = (200, 3000)

_CONTAINERS = ("auto",)


class Manager:
    """`run` owns every session's task."""

    def __init__(self, store: SessionStore, desk: Desk, parts: Parts) -> None:
        self.store = store
        self._desk = desk
        self._parts = parts
        self._sessions: dict[str, Session] = {}
        # One journal a session, as long as anybody reads or writes it: what one publishes, all who read must see.
        self._journals: WeakValueDictionary[str, Journal] = WeakValueDictionary()
        self._nursery: trio.Nursery | None = None
        self._stopping = False

    @property
    def engine(self) -> Engine:
        """The engine that the sessions share."""
        return self._parts.engine

    @property
    def guard(self) -> Guard:
        """What judges texts, and counts what it rejected."""
        return self._parts.guard

    @property
    def measures(self) -> Measures:
        """What the sessions count."""
        return self._parts.measures

    @property
    def spool(self) -> Spool:
        """Where audio waits."""
        return self._parts.spool

    def reconfigure(self, settings: SessionSettings) -> None:
        """Settings of the sessions that come from now on."""
        self._parts = dataclasses.replace(self._parts, settings=settings)

    def counts(self) -> SessionCounts:
        """Sessions that are not in a final state."""
        kinds = [session.record.kind for session in self._sessions.values()]
        return SessionCounts(live=kinds.count("live"), file=kinds.count("file"))

    # --- their tasks --------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Continue what a former daemon left, then keep sessions until cancelled."""
        records = await self.store.unfinished()
        await self._tidy_spool({record.id for record in records})
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._parts.acks.run)
            for record in records:
                log.info("session goes on", extra={"session": record.id, "state": str(record.state)})
                self._start(record)
            task_status.started()
            await trio.sleep_forever()

    async def _tidy_spool(self, unfinished: set[str]) -> None:
        """Remove audio that a former daemon was killed before removing."""
        for session in list(self.spool.sessions()):
            if session in unfinished:
                continue
            record = await self.store.get(session)
            kept = self._parts.settings.keep_audio or (record is not None and record.state is State.FAILED)
            if record is None or not kept:
                self.spool.remove(session)

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

    def _start(self, record: Record) -> Session:
        assert self._nursery is not None
        journal = self._journal_of(record)
        kind = LiveSession if record.kind == "live" else FileSession
        session = kind(journal, self._parts)
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
        config = self._resolve(request)
        mine = sum(session.record.owner == owner for session in self._sessions.values())
        if mine >= self._parts.settings.owner_sessions:
            raise Refused(Code.BUSY, f"you have {mine} sessions that are not done, as many as one may; end one first")
        record = await self.store.create(
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
        if self._stopping:  # said while it was being stored: it begins at the next start, found by its key
            raise Refused(Code.BUSY, "the daemon is stopping; connect again in a moment")
        session = self._sessions.get(record.id)
        if session is None:
            if record.state.final:
                return self._journal_of(record), None
            session = self._start(record)
        self.engine.wake()
        if session.takes_audio:
            session.produce(producer)
        return session.journal, session

    def _resolve(self, request: CreateSession) -> CreateSession:
        audio = request.audio
        if request.kind == "live":
            try:
                PcmFormat(audio.encoding, audio.rate, audio.channels)
            except UnsupportedAudio as error:
                raise Refused(Code.UNSUPPORTED_AUDIO, str(error)) from error
        elif audio.container not in _CONTAINERS:
            raise Refused(Code.UNSUPPORTED_AUDIO, f"container must be auto, not {audio.container!r}")
        if request.endpoint_ms is not None and not ENDPOINT_MS[0] <= request.endpoint_ms <= ENDPOINT_MS[1]:
            raise Refused(Code.BAD_REQUEST, f"endpoint_ms must be {ENDPOINT_MS[0]} to {ENDPOINT_MS[1]}")
        if request.vad_mode is not None and request.vad_mode > 3:
            raise Refused(Code.BAD_REQUEST, "vad_mode must be 0 (takes most for speech) to 3 (takes least)")
        if request.frame_ms not in (None, 10, 20, 30):
            raise Refused(Code.BAD_REQUEST, "frame_ms must be 10, 20 or 30")
        engine = self.engine
        status = engine.status()
        if request.model not in (None, status.model):
            raise Refused(
                Code.UNKNOWN_MODEL, f"this daemon runs model {status.model!r}; leave model out or start convod with it"
            )
        if engine.state == "failed":
            raise Refused(Code.MODEL_UNAVAILABLE, status.message or "the speech model is not available")
        if request.language is not None and engine.languages and request.language not in engine.languages:
            raise Refused(
                Code.BAD_REQUEST,
                f"model {status.model!r} does not know language {request.language!r}; "
                f"it knows {', '.join(engine.languages[:12])}",
            )
        self._check_summary(request.summary)
        title = request.title or audio.name or None
        return msgspec.structs.replace(
            request, id=0, model=status.model, title=None if title is None else title[:200],
            endpoint_ms=request.endpoint_ms or 500,
            vad_mode=VadSettings().mode if request.vad_mode is None else request.vad_mode,
            frame_ms=request.frame_ms or 30,
        )  # fmt: skip

    def _check_summary(self, options: SummaryOptions) -> None:
        try:
            self._desk.summarizers.check(options)
        except ValueError as error:
            raise Refused(Code.BAD_REQUEST, str(error)) from error

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
            raise Refused(Code.UNKNOWN_SESSION, f"there is no session {session!r}; list_sessions shows yours")
        return journal

    def _journal_of(self, record: Record) -> Journal:
        # Another task may have made it while this one read the record.
        journal = self._journals.get(record.id)
        if journal is None:
            journal = self._journals[record.id] = Journal(record, self._desk)
        return journal

    async def running(self, owner: str | None, session: str) -> Session:
        """A session of the owner that is not in a final state.

        Raises:
            Refused: there is none, or it has ended.
        """
        journal = await self.journal(owner, session)
        found = self._sessions.get(session)
        if found is None:
            raise Refused(Code.BAD_STATE, f"the session is {journal.record.state} already")
        return found

    async def summarize(self, owner: str | None, session: str, options: SummaryOptions) -> Journal:
        """Begin a new summary; its events go to those attached.

        Raises:
            Refused: unknown session, nothing transcribed yet, or no summarizer now.
        """
        journal = await self.journal(owner, session)
        if journal.record.state in (State.PENDING, State.PROCESSING):
            raise Refused(Code.BAD_STATE, "the session is still being transcribed; end it first")
        self._check_summary(options)
        try:
            await self._desk.summarizers.choose(options, insist=True)
        except SummarizerUnavailable as error:
            raise Refused(Code.SUMMARIZER_UNAVAILABLE, str(error)) from error
        assert self._nursery is not None
        self._nursery.start_soon(self._summarize_again, journal, options)
        return journal

    async def _summarize_again(self, journal: Journal, options: SummaryOptions) -> None:
        try:
            await journal.summarize(options)
            if (waiting := self._sessions.get(journal.id)) is not None:
                waiting.summarized()
        except SummarizerUnavailable as error:
            await journal.publish(SessionWarning, code=str(Code.SUMMARIZER_UNAVAILABLE), message=str(error))
        except Exception:
            # Deleted meanwhile, perhaps. Nothing of it may take the daemon along.
            log.exception("session was not summarised", extra={"session": journal.id})

    async def delete(self, owner: str | None, session: str) -> None:
        """Forget a session: its audio and its text are gone when this returns.

        Raises:
            Refused: the owner has no such session.
        """
        await self.journal(owner, session)
        if (running := self._sessions.get(session)) is not None:
            if not running.record.state.final:
                running.cancel()
            await running.wait_finished()
        await self.store.delete(session)
        self._journals.pop(session, None)
        self.spool.remove(session)


def new_id() -> str:
    """A session id: cannot be guessed, and a few of its first characters tell it from others."""
    return secrets.token_hex(10)


def settings_of(config: CreateSession) -> dict[str, Any]:
    """All settings of a session, defaults included, as plain values."""
    fields = {name: getattr(config, name) for name in config.__struct_fields__ if name not in ("id", "key")}
    return {
        name: msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
        for name, value in fields.items()
    }
