"""Sessions with a real database and a real spool, an engine that says what it is told to, and no threads.

`run_inline` does at once what would go to a thread, so that a virtual clock and the database never race.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from convo.messages import (
    ActionItem,
    AnswerSentence,
    AudioFormat,
    Code,
    CreateSession,
    EngineStatus,
    Event,
    Origin,
    QueueStatus,
    Segment,
    SessionState,
    State,
    SummarizerStatus,
    Summary,
    SummaryOptions,
    TranscriptSegment,
)
from convod.auto_reset_event import AutoResetEvent
from convod.engine.models import ModelNotHere
from convod.engine.pool import NoRoomForModel
from convod.engine.subscribers import Tell
from convod.engine.supervisor import Deliver, EngineSettings, Outcome
from convod.sessions import Manager, Refused, Session, exports
from convod.sessions.feed import EventLog
from convod.sessions.file_queue import FileQueue
from convod.sessions.journal import JournalDeps
from convod.sessions.limits import LimitSettings, RetentionSettings
from convod.sessions.session import SessionDeps, SessionSettings
from convod.speech.commands import DecodeStarted, LoadChanged
from convod.speech.decoding import DecodeJob, Interims, Kind
from convod.speech.hallucination import HallucinationFilter
from convod.speech.vad import level_dbfs
from convod.store import Database, SessionStore, Spool, Usage
from convod.store.postgres import PostgresDatabase
from convod.summary import Show, SummarizerUnavailable, Transcript
from convod.summary.parse import Draft
from convod.summary.questions import Answered, Found, ShowSentence
from convod.summary.rolling import Load, Rolling
from tests.daemon.support.talk import heard

LONG_S = 7200.0
"""Virtual seconds after which something that is waited for never comes."""


def code_of(refused: pytest.ExceptionInfo[Refused]) -> Code:
    return refused.value.code


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be given to a thread runs at once, until the test is over."""
    in_thread = trio.to_thread.run_sync

    async def run_sync(function: Callable[..., Any], *args: Any, limiter: Any = None, **options: Any) -> Any:
        if function is exports.write_pieces:  # it asks the loop for more, which must run meanwhile
            return await in_thread(function, *args)
        if limiter is None:
            await trio.lowlevel.checkpoint()
            return function(*args)
        async with limiter:
            return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


QUIET_DBFS: Final = -60.0
"""As the real one, it hears no voice in what is as quiet as this, if it is asked."""


class ScriptedEngine:
    """Has the interface of `Engine` that sessions use. Answers by itself unless `hold` is set."""

    def __init__(self) -> None:
        self.settings = EngineSettings()
        self.state = "ready"
        self.message: str | None = None
        self.languages = ["en", "de"]
        self.lanes = None
        self.hold = False
        self.sessions: dict[str, bool] = {}  # is it live?
        self.woken: list[bool] = []  # for somebody who is going to speak?
        self.queued = False  # what is held waits for a worker; else it is at work
        self.affords = Interims.FULL
        self.tells: dict[str, Tell] = {}
        self.jobs: dict[DecodeJob, Deliver] = {}
        self.seen: list[DecodeJob] = []
        self.dropped: list[DecodeJob] = []
        self.forgotten: list[str] = []
        self.texts: Callable[[int, DecodeJob], Outcome] = lambda number, job: heard(f"sentence {number}")
        self._finals = 0

    def submit(self, job: DecodeJob, deliver: Deliver) -> None:
        if job.spare_s:
            job.due = trio.current_time() + job.spare_s
        if job.kind is Kind.INTERIM and self.queued:
            for other in [one for one in self.jobs if one.session == job.session and one.kind is job.kind]:
                del self.jobs[other]
        self.jobs[job] = deliver
        self.seen.append(job)
        if not self.queued and job.session in self.tells:
            self.tells[job.session](DecodeStarted(job))
        if not self.hold:
            trio.lowlevel.current_trio_token().run_sync_soon(self.finish, job)

    def finish(self, job: DecodeJob, outcome: Outcome | None = None) -> None:
        """Answer a job, as scripted if nothing else is said; nothing if it was dropped."""
        deliver = self.jobs.pop(job, None)
        if deliver is None:
            return
        if outcome is None:
            if job.options.check_voice and level_dbfs(job.audio) < QUIET_DBFS:
                outcome = heard("", no_speech_prob=1.0, voice_s=0.0, voice_end=0.0)
            elif job.kind is Kind.INTERIM:
                outcome = heard("sentence")  # as its final begins
            else:
                outcome = self.texts(self._finals, job)
                self._finals += 1
        deliver(job, outcome)

    def finish_all(self) -> None:
        for job in list(self.jobs):
            self.finish(job)

    def subscribe(self, session: str, tell: Tell, *, owner: str = "") -> None:
        self.tells[session] = tell
        tell(LoadChanged(self.affords))

    def afford(self, interims: Interims) -> None:
        self.affords = interims
        for tell in self.tells.values():
            tell(LoadChanged(interims))

    def begin(self) -> None:
        """What waited is at work now, and so is what comes."""
        self.queued = False
        for job in self.jobs:
            self.tells[job.session](DecodeStarted(job))

    context = "short"

    async def wait_ready(self) -> None:
        await trio.lowlevel.checkpoint()

    def join(self, session: str, *, owner: str, live: bool) -> None:
        self.sessions[session] = live

    def retract(self, job: DecodeJob) -> bool:
        return self.jobs.pop(job, None) is not None

    def wake(self, *, live: bool = False) -> None:
        """The real one loads its model again, if it was let go."""
        self.woken += [live]

    def drop(self, job: DecodeJob) -> None:
        self.dropped.append(job)
        self.jobs.pop(job, None)

    def forget(self, session: str) -> None:
        self.forgotten.append(session)
        self.sessions.pop(session, None)
        self.tells.pop(session, None)
        self.jobs = {job: deliver for job, deliver in self.jobs.items() if job.session != session}

    def status(self) -> EngineStatus:
        return EngineStatus(
            state=self.state, model="builtin", device="cpu", compute_type="int8", workers=1, message=self.message
        )

    def queue(self) -> QueueStatus:
        return QueueStatus(final=0, interim=0, file=0)


class ScriptedPool:
    """Has the interface of `EnginePool` that sessions use: one other model, `larger`."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine()
        self.full = False

    def check(self, model: str) -> None:
        if model != "larger":
            raise ModelNotHere(model, model)

    def get(self, model: str) -> ScriptedEngine:
        self.check(model)
        if self.full:
            raise NoRoomForModel("two others are in use")
        return self.engine


class ScriptedSummarizers:
    """Has the interface of `Summarizers` that sessions use. `away` is why none can be had."""

    def __init__(self) -> None:
        self.away: str | None = None
        self.wait_s = 0.0
        self.asked: list[Transcript] = []
        self.wanted: list[SummaryOptions] = []
        self.breaks: list[Exception] = []
        """What goes wrong while the next summaries are written, one each."""
        self.rolled: list[list[int]] = []
        """The numbers of the segments that each rolling summary found new."""
        self.gate: trio.Event | None = None
        self.back = trio.Event()
        self.unverified: list[str] = []
        self.action_items: list[ActionItem] = []
        self.questions: list[str] = []
        self.answers = 1
        """Sentences of an answer that hold: 0 or 1."""

    def check(self, options: SummaryOptions) -> None:
        if options.style == "sonnet":
            raise ValueError("There is no summary style 'sonnet': choose one of brief")

    async def choose(self, options: SummaryOptions, *, insist: bool = False) -> None:
        if self.away is not None:
            raise SummarizerUnavailable(self.away, wait_s=self.wait_s)

    async def status(self) -> SummarizerStatus:
        return SummarizerStatus(provider="scripted", model="m", reason=self.away or "", available=self.away is None)

    async def wait_back(self) -> None:
        await self.back.wait()

    async def write(self, transcript: Transcript, options: SummaryOptions, show: Show) -> Summary:
        self.asked.append(transcript)
        self.wanted.append(options)
        await self.choose(options)
        show("They ", True)
        show("spoke.", False)
        if self.breaks:
            raise self.breaks.pop(0)
        if self.gate is not None:
            await self.gate.wait()
            show("They spoke on.", True)
        return self._summary(None)

    async def answer(
        self, question: str, found: Found, owner: str, show: ShowSentence
    ) -> tuple[Answered, SummarizerStatus]:
        self.questions.append(question)
        await self.choose(SummaryOptions())
        sentence = AnswerSentence(text="They said so.", sources=[0])
        show(sentence)
        if self.breaks:
            raise self.breaks.pop(0)
        if self.gate is not None:
            await self.gate.wait()
        return Answered([sentence] * self.answers, 1 - self.answers), await self.status()

    def rolling(self, title: str, last: Summary | None) -> Rolling:
        return Rolling(title, last)

    async def roll(
        self, rolling: Rolling, transcript: Transcript, load: Load, options: SummaryOptions, show: Show
    ) -> Summary:
        async def refine(before: Draft | None, segments: Sequence[Segment]) -> Draft:
            self.rolled.append([segment.segment for segment in segments])
            await self.choose(options)
            show("They speak.", True)
            return Draft(title="", summary="They speak.")

        await rolling.refined(load, refine)
        return self._summary(rolling.through)

    def _summary(self, through: int | None) -> Summary:
        return Summary(
            provider="scripted", model="m", title="Talk", summary="They spoke.",
            key_points=[], action_items=self.action_items, keywords=[], language="en", unverified=self.unverified,
            origin=Origin(created=1.0, style="brief", through=through),
        )  # fmt: skip


class Reader:
    """Follows a feed and keeps all that it gave."""

    def __init__(self, feed: EventLog, after_seq: int = 0) -> None:
        self.events: list[Event] = []
        self._wakeup = AutoResetEvent()
        self.attachment = feed.subscribe(after_seq, self._wakeup.set)

    async def take(self) -> list[Event]:
        """What is there now."""
        while self.attachment.ready:
            self.events += await self.attachment.take()
        return self.events

    async def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event, of those had and those to come, that is wanted."""
        with trio.fail_after(LONG_S):
            while True:
                for event in await self.take():
                    if wanted(event):
                        return event
                await self._wakeup.wait()

    async def until_state(self, state: State) -> SessionState:
        event = await self.until(lambda one: isinstance(one, SessionState) and one.state is state)
        assert isinstance(event, SessionState)
        return event

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def states(self) -> list[State]:
        return [event.state for event in self.of(SessionState)]

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.of(TranscriptSegment)]


@dataclass
class House:
    """Everything that a session lives in."""

    manager: Manager
    engine: ScriptedEngine
    summarizers: ScriptedSummarizers
    store: SessionStore
    spool: Spool
    settings: SessionSettings
    """Of sessions that start from now on."""
    file_queue: FileQueue
    producer: object = field(default_factory=object)

    async def live(self, *, summary: str = "off", audio: AudioFormat | None = None, **fields: Any) -> Session:
        return await self.create(
            CreateSession(
                kind="live", audio=audio or AudioFormat(), summary=SummaryOptions(mode=summary), **fields
            )
        )  # fmt: skip

    async def create(self, request: CreateSession) -> Session:
        _, session = await self.manager.create("me", request, self.producer)
        assert session is not None
        return session

    def send(self, session: Session, sound: bytes, piece: int = 32000) -> None:
        for at in range(0, len(sound), piece):
            session.audio(self.producer, session.audio_offset, sound[at : at + piece])


@asynccontextmanager
async def house(
    state: Path,
    engine: ScriptedEngine | None = None,
    summarizers: ScriptedSummarizers | None = None,
    limits: LimitSettings | None = None,
    retention: RetentionSettings | None = None,
    fsync: bool = False,
    database: PostgresDatabase | None = None,
    audio_grace_s: float = 600.0,
    may_append: Callable[[], bool] = lambda: True,
    pool: ScriptedPool | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """A manager that runs until the end of the block, then stops as the daemon would be killed: nothing is drained."""
    (state / "spool").mkdir(parents=True, exist_ok=True)
    limits, retention = limits or LimitSettings(), retention or RetentionSettings()
    opened = database or Database(state / "convod.sqlite")
    opened.open()
    usage = Usage(limits.owner_disk_bytes)
    store, spool = (
        SessionStore(opened, usage),
        Spool(state / "spool", fsync=fsync, quota=limits.disk_bytes, usage=usage),
    )
    engine = engine or ScriptedEngine()
    summarizers = summarizers or ScriptedSummarizers()
    wanted: dict[str, Any] = {"beam": 1} | settings
    queue = FileQueue(wanted.get("files_at_once", 2))
    deps = SessionDeps(
        spool=spool,
        engine=engine,
        engine_pool=pool,
        hallucination_filter=HallucinationFilter(),
        file_queue=queue,
        limits=limits,
        may_append=may_append,
    )  # type: ignore[arg-type]
    journal_deps = JournalDeps(store, summarizers)  # type: ignore[arg-type]
    manager = Manager(journal_deps, deps, lambda: home.settings, retention, audio_grace_s)
    home = House(manager, engine, summarizers, store, spool, SessionSettings(**wanted), queue)
    try:
        async with trio.open_nursery() as store_tasks:
            store_tasks.start_soon(opened.run)
            async with trio.open_nursery() as nursery:
                await nursery.start(manager.run)
                yield home
                nursery.cancel_scope.cancel()
            store_tasks.cancel_scope.cancel()
    finally:
        opened.close()
