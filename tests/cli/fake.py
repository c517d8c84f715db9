"""A daemon for tests of the command: real Unix sockets and frames, but it hears what the test tells it to hear.

In: requests and audio of the command under test. Out: replies and events as the contract has them; every request is
kept in `asked`, every session's audio in `audio`. It runs in a thread, because the command runs trio in the main one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from convo.connection import NEED_DATA, Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    ActionItem,
    AddMark,
    AnswerProgress,
    AnswerSentence,
    Ask,
    AskReply,
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    AudioFormat,
    Bookmark,
    CancelAsk,
    CancelSession,
    ClusterStatus,
    CorrectSegment,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    DeleteVoice,
    Detach,
    DurableEvent,
    EndSession,
    EngineStatus,
    Error,
    Event,
    Export,
    ExportReply,
    Finalize,
    FinalizeReply,
    FinalSummary,
    GetAudio,
    GetAudioReply,
    GetSession,
    GetSessionReply,
    Hello,
    Hit,
    Limits,
    ListModels,
    ListModelsReply,
    ListQueue,
    ListQueueReply,
    ListSessions,
    ListSessionsReply,
    ListSummaries,
    ListSummariesReply,
    ListVoices,
    ListVoicesReply,
    Mark,
    MergeSpeakers,
    Message,
    Metrics,
    MetricsReply,
    ModelInfo,
    ModelProgress,
    Origin,
    Passage,
    PauseQueue,
    Ping,
    PingReply,
    PullModel,
    PullModelReply,
    QueuedFile,
    QueueStatus,
    Refine,
    RefineProgress,
    RefineReply,
    RenameSpeaker,
    Reply,
    ResumeQueue,
    Retranscribe,
    RetranscribeReply,
    RetrySession,
    Search,
    SearchReply,
    Segment,
    SegmentCorrected,
    SessionCounts,
    SessionInfo,
    SessionRefined,
    SessionRenamed,
    SessionState,
    SessionWarning,
    SetSpeaker,
    SetSpeakerReply,
    Speaker,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    State,
    Status,
    StatusReply,
    StorageStatus,
    StoredSummary,
    Summarize,
    SummarizerStatus,
    Summary,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
    UpdateSession,
    Voice,
    Welcome,
)
from convo.redaction import Redactor, render_redacted
from convo.transcript import Transcript, corrected

M = TypeVar("M", bound=Message)

WAIT_S = 20.0
"""How long a test waits for something before it fails."""

SUMMARY = Summary(
    provider="extractive",
    model="",
    title="The plan",
    summary="They made a plan.",
    key_points=["A plan was made."],
    action_items=[ActionItem(text="Write it down.", owner="Ada", due="today")],
    keywords=["plan"],
    language="en",
)
TRUSTED = msgspec.structs.replace(
    SUMMARY,
    key_points=["A plan was made.", "It is a good one."],
    key_point_sources=[[1, 0], []],
    action_items=[ActionItem(text="Write it down.", owner="Ada", due="today", sources=[1])],
    unverified=["Ada"],
    origin=Origin(created=1_000_000.0, style="minutes", through=1),
)
"""One that says what it rests on."""


@dataclass
class FakeSession:
    """A session as the fake knows it. `said` are the texts that it hears by the time that the audio ends."""

    id: str
    kind: str = "live"
    title: str = ""
    state: State = State.PENDING
    created: float = 1_000_000.0
    said: list[str] = field(default_factory=lambda: ["Hello there.", "Good bye."])
    summary: Summary | None = None
    mode: str = "off"
    audio: bytearray = field(default_factory=bytearray)
    events: list[DurableEvent] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    readers: set[Peer] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    ended: bool = False
    language: str | None = None

    def info(self) -> dict[str, Any]:
        return {
            "session": self.id,
            "kind": self.kind,
            "title": self.title,
            "state": self.state,
            "created": self.created,
            "duration_s": 2.0 * len(self.segments),
        }

    def listed(self) -> dict[str, Any]:
        """The same with its language, and why it failed."""
        last = next((event for event in reversed(self.events) if isinstance(event, SessionState)), None)
        failure = last if self.state is State.FAILED else None
        why = {name: getattr(failure, name, None) for name in ("code", "message")}
        return {**self.info(), "language": self.language, **why}

    def fail(self, code: str, message: str) -> None:
        """It failed before."""
        self.state = State.FAILED
        seq = len(self.events) + 1
        self.events.append(SessionState(session=self.id, seq=seq, state=State.FAILED, code=code, message=message))

    def speakers(self) -> list[Speaker]:
        return [Speaker(speaker=number, name=name) for number, name in sorted(self.names.items())]

    def marks(self) -> list[Bookmark]:
        marks = [event for event in self.events if isinstance(event, Mark)]
        return [Bookmark(time=mark.time, text=mark.text) for mark in sorted(marks, key=lambda mark: mark.time)]


class Peer:
    """One connection."""

    def __init__(self, connection: Connection, stream: trio.SocketStream) -> None:
        self.connection = connection
        self.stream = stream
        self.lock = trio.Lock()

    async def send(self, *messages: Message) -> None:
        async with self.lock:
            try:
                await self.stream.send_all(b"".join(map(self.connection.send, messages)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


class FakeDaemon:
    """What tests set before, and look at after, a command ran against `url`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix:{path}"
        self.credit = 1 << 20
        self.features = ["corrections", "names", "voices"]
        self.voices: list[Voice] = []
        self.token: str | None = None
        self.sessions: dict[str, FakeSession] = {}
        self.asked: list[Message] = []
        self.models = [
            ModelInfo(
                name="builtin",
                here=True,
                size_bytes=5_600_000,
                context="short",
                loaded=True,
                languages=["en"],
                source="builtin",
            ),
            ModelInfo(
                name="tiny.en", here=True, size_bytes=78_000_000, context="full", languages=["en"], source="index"
            ),
            ModelInfo(name="small", here=False, size_bytes=0, context="full"),
        ]
        self.answer: list[AnswerSentence] = []  # to any question
        self.refuse: dict[type[Message], Error] = {}
        self.ignores: set[type[Message]] = set()  # requests that get no answer
        self.on_created: Callable[[FakeSession], None] = lambda session: None
        self.fail_with: tuple[str, str] | None = None
        self.summarizer: SummarizerStatus | None = None
        self.storage: StorageStatus | None = None
        self.cluster: ClusterStatus | None = None
        self.reason: str | None = None  # of the model
        self.writes = SUMMARY  # by summarize
        self.sums_up = SUMMARY  # at a session's end
        self.refined: dict[str, Any] | None = {"heard_s": 62.0, "corrected": 1}  # None: never
        self.fails_to_write: str | None = None  # why summarize writes nothing
        self.silent_end = False  # nothing follows end_session
        self.stays_at_work = False  # a session is being transcribed for ever
        self.pause_s = 0.5  # between two segments
        self.segment_every = 0  # bytes of audio after which a live session hears the next of `said`
        self.drop_after = 0  # bytes of audio after which the connection is closed, once
        self.cut_replay = 0  # events of a replay after which the connection is closed, once
        self.stays_away = False  # and nobody is let in any more then
        self.away = False
        self.resume_s = 5.0
        self.queue: list[QueuedFile] = []
        self.paused = False
        self._changed = threading.Condition()
        self._next = 1

    # --- for tests ----------------------------------------------------------------------------------------

    def add(self, id: str, *said: str, **fields: Any) -> FakeSession:
        """A session from before, completed."""
        session = FakeSession(id, said=list(said), **fields)
        self.sessions[id] = session
        for state in (State.PENDING, State.PROCESSING):
            self.enter(session, state)
        for text in said:
            self.segment(session, text)
        self.enter(session, State.TRANSCRIBED)
        if session.summary is not None:
            self._store(session, FinalSummary, **_fields(session.summary))
        self.enter(session, State.COMPLETED)
        return session

    def says(self, said: list[str]) -> None:
        """What the sessions that are created from now on hear."""

        def hears(session: FakeSession) -> None:
            session.said = list(said)

        self.on_created = hears

    def of(self, kind: type[M]) -> list[M]:
        """All messages of a kind that came."""
        return [message for message in self.asked if isinstance(message, kind)]

    @property
    def only(self) -> FakeSession:
        """The one session there is."""
        (session,) = self.sessions.values()
        return session

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; it is looked at whenever a message comes."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), f"in vain: {self.asked[-3:]}"

    def wait_for(self, kind: type[Message]) -> None:
        """Wait until a message of a kind has come."""
        self.wait(lambda: bool(self.of(kind)))

    # --- the wire -----------------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        peer = Peer(Connection(Role.SERVER, LengthPrefixed()), stream)
        try:
            async with stream:
                while True:
                    event = peer.connection.next_event()
                    if event is NEED_DATA:
                        data = bytes(await stream.receive_some())
                        if not data:
                            return
                        peer.connection.receive_data(data)
                        continue
                    assert isinstance(event, Message), event
                    with self._changed:
                        self.asked.append(event)
                        self._changed.notify_all()
                    await self._take(peer, event)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            for session in self.sessions.values():
                session.readers.discard(peer)

    async def _take(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Hello):
            if self.away:
                raise trio.ClosedResourceError
            if self.token is not None and message.token != self.token:
                await peer.send(Error(code="unauthorized", message="The token is wrong."))
                await peer.stream.aclose()
                return
            limits = Limits(audio_credit=self.credit, resume_s=self.resume_s)
            await peer.send(Welcome(protocol=1, server="fake", limits=limits, features=self.features))
            return
        if isinstance(message, Audio):
            await self._audio(peer, message)
            return
        if type(message) in self.ignores:
            return
        error = self.refuse.get(type(message))
        number: int = message.id  # type: ignore[attr-defined]
        name = getattr(message, "session", None)
        if error is None and name is not None and name not in self.sessions:
            error = Error(code="unknown_session", message="There is no such session.")
        if error is not None:
            await peer.send(Error(code=error.code, message=error.message, id=number))
            return
        await getattr(self, f"on_{type(message).__name__}")(peer, message, number)

    # --- requests -----------------------------------------------------------------------------------------

    async def on_Ping(self, peer: Peer, message: Ping, number: int) -> None:
        await peer.send(PingReply(id=number, time=1.0))

    async def on_Status(self, peer: Peer, message: Status, number: int) -> None:
        engine = EngineStatus(
            state="ready", model="builtin", device="cpu", compute_type="int8", workers=1, reason=self.reason
        )
        reply = StatusReply(
            id=number,
            version="0.1.0",
            uptime_s=3720,
            engine=engine,
            queue=QueueStatus(final=0, interim=2, file=0),
            sessions=SessionCounts(live=1, file=0),
            summarizer=self.summarizer,
            storage=self.storage,
            cluster=self.cluster,
        )
        await peer.send(reply)

    async def on_CreateSession(self, peer: Peer, message: CreateSession, number: int) -> None:
        session = FakeSession(f"{self._next:04x}new", kind=message.kind, title=message.title or "")
        self._next += 1
        session.mode = message.summary.mode
        self.on_created(session)
        self.sessions[session.id] = session
        await peer.send(CreateSessionReply(id=number, session=session.id, config={}, credit=self.credit))
        session.readers.add(peer)
        await self._say(session, self.enter(session, State.PENDING))

    async def _audio(self, peer: Peer, message: Audio) -> None:
        session = self.sessions[message.session]
        assert message.offset <= len(session.audio), "a gap in the audio"
        before = len(session.audio)
        session.audio[message.offset :] = message.data
        if self.drop_after and len(session.audio) >= self.drop_after:
            # What came with this message is lost; the client has to send it again.
            del session.audio[before:]
            self.drop_after = 0
            self.away = self.stays_away
            raise trio.ClosedResourceError
        await peer.send(AudioAck(session=session.id, offset=len(session.audio), credit=self.credit))
        if session.state is State.PENDING and session.kind == "live":
            await self._say(session, self.enter(session, State.PROCESSING))
        if self.segment_every and len(session.audio) // self.segment_every > len(session.segments):
            await self._say(session, self.segment(session, session.said[len(session.segments)]))

    async def on_EndSession(self, peer: Peer, message: EndSession, number: int) -> None:
        session = self.sessions[message.session]
        session.ended = True
        await peer.send(Reply(id=number))
        if self.silent_end:
            return
        if session.state is State.PENDING:
            await self._say(session, self.enter(session, State.PROCESSING))
        if self.stays_at_work:
            return
        if self.fail_with is not None:
            code, text = self.fail_with
            session.state = State.FAILED
            await self._say(session, self._store(session, SessionState, state=State.FAILED, code=code, message=text))
            return
        for text in session.said[len(session.segments) :]:
            partial = TranscriptPartial(
                session=session.id, segment=len(session.segments), start=0, end=1, stable=text, tentative="…"
            )
            await self._say(session, partial)
            await self._say(session, self.segment(session, text))
        await self._say(session, self.enter(session, State.TRANSCRIBED))
        if session.mode != "off":
            session.summary = self.sums_up
            await self._say(session, self._store(session, FinalSummary, **_fields(self.sums_up)))
        await self._say(session, self.enter(session, State.COMPLETED))

    async def on_CancelSession(self, peer: Peer, message: CancelSession, number: int) -> None:
        session = self.sessions[message.session]
        await peer.send(Reply(id=number))
        await self._say(session, self.enter(session, State.CANCELLED))

    async def on_DeleteSession(self, peer: Peer, message: DeleteSession, number: int) -> None:
        del self.sessions[message.session]
        await peer.send(Reply(id=number))

    async def on_GetSession(self, peer: Peer, message: GetSession, number: int) -> None:
        session = self.sessions[message.session]
        marks = session.marks() if message.after_segment is None else []
        reply = GetSessionReply(
            id=number, segments=session.segments, summary=session.summary, marks=marks, speakers=session.speakers(),
            **session.listed(),
        )  # fmt: skip
        await peer.send(reply)

    async def on_Export(self, peer: Peer, message: Export, number: int) -> None:
        session = self.sessions[message.session]
        transcript = Transcript(
            segments=session.segments, summary=session.summary, marks=session.marks(), speakers=session.speakers(),
            **session.info(),
        )  # fmt: skip
        redactor = Redactor(message.redact, message.redact_names)
        content = "".join(render_redacted(transcript, message.format, transcript.segments, redactor))
        await peer.send(ExportReply(id=number, content=content))

    async def on_GetAudio(self, peer: Peer, message: GetAudio, number: int) -> None:
        session = self.sessions[message.session]
        data = bytes(session.audio[message.offset : message.offset + 40_000])
        end = message.offset + len(data)
        await peer.send(
            GetAudioReply(
                id=number, data=data, size=len(session.audio), kind=session.kind, audio=AudioFormat(),
                next=end if end < len(session.audio) else None,
            )
        )  # fmt: skip

    async def on_Ask(self, peer: Peer, message: Ask, number: int) -> None:
        passages = [
            Passage(
                session=session.id, title=session.title, created=session.created, segment=segment.segment,
                start=segment.start, end=segment.end, text=segment.text,
            )
            for session in self.sessions.values()
            if not message.sessions or session.id in message.sessions
            for segment in session.segments
        ]  # fmt: skip
        await peer.send(AnswerProgress(ask=number, passages=passages))
        for sentence in self.answer:
            await peer.send(AnswerProgress(ask=number, sentence=sentence))
        await peer.send(
            AskReply(
                id=number, answer=self.answer, passages=passages, provider="ollama", model="m",
                dropped=1, reason=None if self.answer else "No language model answers questions.",
            )
        )  # fmt: skip

    async def on_CancelAsk(self, peer: Peer, message: CancelAsk, number: int) -> None:
        await peer.send(Reply(id=number))

    async def on_Attach(self, peer: Peer, message: Attach, number: int) -> None:
        session = self.sessions[message.session]
        seq = len(session.events)
        reply = AttachReply(
            id=number,
            state=session.state,
            seq=seq,
            audio_offset=len(session.audio),
            credit=self.credit,
            ended=session.state not in ("pending", "processing"),
        )
        events = session.events[message.after_seq :]
        if self.cut_replay:
            cut, self.cut_replay = self.cut_replay, 0
            await peer.send(reply, *events[:cut])
            await peer.stream.aclose()
            return
        await peer.send(reply, *events)
        session.readers.add(peer)

    async def on_ListSessions(self, peer: Peer, message: ListSessions, number: int) -> None:
        found = sorted(self.sessions.values(), key=lambda session: -session.created)
        infos = [
            SessionInfo(**session.listed())
            for session in found
            if (message.before is None or session.created < message.before)
            and message.state in (None, session.state)
            and message.kind in (None, session.kind)
            and session.id.startswith(message.prefix or "")
        ]
        await peer.send(ListSessionsReply(id=number, sessions=infos[: min(message.limit, 3)]))

    async def on_Search(self, peer: Peer, message: Search, number: int) -> None:
        hits = [
            Hit(session=session.id, segment=segment.segment, start=segment.start, end=segment.end, text=segment.text)
            for session in self.sessions.values()
            for segment in session.segments
            if message.query.lower() in segment.text.lower()
        ]
        await peer.send(SearchReply(id=number, hits=hits[: message.limit]))

    async def on_Summarize(self, peer: Peer, message: Summarize, number: int) -> None:
        session = self.sessions[message.session]
        session.summary = self.writes
        await peer.send(Reply(id=number))
        if self.fails_to_write:
            await self._say(
                session,
                self._store(session, SessionWarning, code="summarizer_unavailable", message=self.fails_to_write),
            )
            return
        for text, restart in (("They", True), ("They made", True), (" a plan.", False)):
            await self._say(session, SummaryDelta(session=session.id, text=text, restart=restart))
        if self.writes.unverified:
            await self._say(session, self._store(session, SessionWarning, code="unverified", message="Look it up: Ada"))
        await self._say(session, self._store(session, FinalSummary, **_fields(self.writes)))

    async def on_ListSummaries(self, peer: Peer, message: ListSummaries, number: int) -> None:
        """One at a time, so that clients must ask again."""
        found = [event for event in self.sessions[message.session].events if isinstance(event, FinalSummary)]
        found = [event for event in found if message.before is None or event.seq < message.before]
        newest = [StoredSummary(seq=event.seq, summary=summary_of(event)) for event in found[-1:]]
        await peer.send(ListSummariesReply(id=number, summaries=newest, more=len(found) > 1))

    async def on_AddMark(self, peer: Peer, message: AddMark, number: int) -> None:
        session = self.sessions[message.session]
        await peer.send(Reply(id=number))
        await self._say(session, self._store(session, Mark, time=message.time, text=message.text))

    async def on_CorrectSegment(self, peer: Peer, message: CorrectSegment, number: int) -> None:
        session = self.sessions[message.session]
        session.segments[message.segment] = corrected(session.segments[message.segment], message.text)
        event = self._store(session, SegmentCorrected, segment=message.segment, text=message.text, by="user")
        await peer.send(Reply(id=number))
        await self._say(session, event)

    async def on_RenameSpeaker(self, peer: Peer, message: RenameSpeaker, number: int) -> None:
        session = self.sessions[message.session]
        session.names[message.speaker] = message.name
        event = self._store(session, SpeakerRenamed, speaker=message.speaker, name=message.name, by="user")
        await peer.send(Reply(id=number))
        await self._say(session, event)

    async def on_MergeSpeakers(self, peer: Peer, message: MergeSpeakers, number: int) -> None:
        session = self.sessions[message.session]
        event = self._store(session, SpeakersMerged, speaker=message.speaker, into=message.into)
        await peer.send(Reply(id=number))
        await self._say(session, event)

    async def on_SetSpeaker(self, peer: Peer, message: SetSpeaker, number: int) -> None:
        session = self.sessions[message.session]
        speaker = message.speaker or 101
        session.names.setdefault(speaker, f"Speaker {speaker}")
        one = session.segments[message.segment]
        session.segments[message.segment] = msgspec.structs.replace(one, speaker=speaker)
        event = self.label(session, message.segment, speaker, by="user")
        await peer.send(SetSpeakerReply(id=number, speaker=speaker))
        await self._say(session, event)

    async def on_ListVoices(self, peer: Peer, message: ListVoices, number: int) -> None:
        await peer.send(ListVoicesReply(id=number, voices=self.voices))

    async def on_DeleteVoice(self, peer: Peer, message: DeleteVoice, number: int) -> None:
        self.voices = [voice for voice in self.voices if voice.name != message.name]
        await peer.send(Reply(id=number))

    async def on_Finalize(self, peer: Peer, message: Finalize, number: int) -> None:
        session = self.sessions[message.session]
        if len(session.segments) < len(session.said):
            await self._say(session, self.segment(session, session.said[len(session.segments)]))
        await peer.send(FinalizeReply(id=number, offset=len(session.audio)))

    async def on_ListModels(self, peer: Peer, message: ListModels, number: int) -> None:
        await peer.send(ListModelsReply(id=number, models=self.models))

    async def on_Metrics(self, peer: Peer, message: Metrics, number: int) -> None:
        content = 'convo_info{version="\x1b]0;owned\x07\x9b2J1"} 1\nconvo_uptime_seconds 2\n'
        await peer.send(MetricsReply(id=number, content=content, content_type="text/plain"))

    async def on_PullModel(self, peer: Peer, message: PullModel, number: int) -> None:
        await peer.send(
            ModelProgress(model=message.model, done_bytes=10, total_bytes=20),
            PullModelReply(id=number, model=message.model, size_bytes=484_000_000),
        )

    async def on_UpdateSession(self, peer: Peer, message: UpdateSession, number: int) -> None:
        session = self.sessions[message.session]
        if message.title is not None:
            session.title = message.title
        await peer.send(Reply(id=number))
        if message.title is not None:
            await self._say(session, self._store(session, SessionRenamed, title=message.title))

    async def on_Detach(self, peer: Peer, message: Detach, number: int) -> None:
        self.sessions[message.session].readers.discard(peer)
        await peer.send(Reply(id=number))

    async def on_RetrySession(self, peer: Peer, message: RetrySession, number: int) -> None:
        await peer.send(Reply(id=number))

    async def on_Retranscribe(self, peer: Peer, message: Retranscribe, number: int) -> None:
        await peer.send(RetranscribeReply(id=number, session="0009new"))

    async def on_Refine(self, peer: Peer, message: Refine, number: int) -> None:
        session = self.sessions[message.session]
        await peer.send(RefineReply(id=number, model="" if message.cancel else "small"))
        if message.cancel:
            return
        await self._say(session, RefineProgress(session=session.id, model="small", done_s=1.0, total_s=2.0))
        if self.refined is not None:
            await self._say(session, self._store(session, SessionRefined, model="small", **self.refined))

    async def on_ListQueue(self, peer: Peer, message: ListQueue, number: int) -> None:
        await peer.send(ListQueueReply(id=number, jobs=self.queue, paused=self.paused))

    async def on_PauseQueue(self, peer: Peer, message: PauseQueue, number: int) -> None:
        self.paused = True
        await peer.send(Reply(id=number))

    async def on_ResumeQueue(self, peer: Peer, message: ResumeQueue, number: int) -> None:
        self.paused = False
        await peer.send(Reply(id=number))

    # --- events -------------------------------------------------------------------------------------------

    def _store(self, session: FakeSession, kind: type[DurableEvent], **fields: Any) -> DurableEvent:
        event = kind(session=session.id, seq=len(session.events) + 1, **fields)
        session.events.append(event)
        return event

    def enter(self, session: FakeSession, state: State) -> DurableEvent:
        session.state = state
        return self._store(session, SessionState, state=state)

    def segment(self, session: FakeSession, text: str) -> DurableEvent:
        place = len(session.segments)
        fields: dict[str, Any] = {
            "segment": place,
            "start": (1.5 + self.pause_s) * place,
            "end": (1.5 + self.pause_s) * place + 1.5,
            "text": text,
            "language": "en",
            "confidence": 0.9,
        }
        session.segments.append(Segment(**fields))
        return self._store(session, TranscriptSegment, lag_ms=100.0, **fields)

    def label(self, session: FakeSession, segment: int, speaker: int, **fields: Any) -> DurableEvent:
        """A label of a segment; `confidence` is 1 unless given."""
        return self._store(
            session, SpeakerLabel, **({"segment": segment, "speaker": speaker, "confidence": 1.0} | fields)
        )

    async def _say(self, session: FakeSession, event: Event) -> None:
        for peer in tuple(session.readers):
            await peer.send(event)


def summary_of(event: FinalSummary) -> Summary:
    return Summary(**{name: getattr(event, name) for name in Summary.__struct_fields__})


def _fields(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in summary.__struct_fields__}


@contextmanager
def fake_daemon(path: Path) -> Iterator[FakeDaemon]:
    """A fake that listens at `path` until the end of the block; what went wrong in it is raised there."""
    daemon = FakeDaemon(path)
    started = threading.Event()
    failures: list[BaseException] = []
    stops: list[Callable[[], None]] = []

    async def serve() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            stops.append(lambda: token.run_sync_soon(nursery.cancel_scope.cancel))
            listening = trio.socket.socket(trio.socket.AF_UNIX)
            await listening.bind(str(path))
            listening.listen()
            nursery.start_soon(trio.serve_listeners, daemon.serve, [trio.SocketListener(listening)])
            started.set()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield daemon
    finally:
        if thread.is_alive():
            with suppress(trio.RunFinishedError):
                stops[0]()
        thread.join()
    if failures:
        raise failures[0]
