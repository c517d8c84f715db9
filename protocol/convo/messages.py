"""Every message of the contract as a frozen struct, and the tables that find a struct by its wire name.

In: plain maps as MessagePack gives them. Out: typed structs, or one sentence that says which field is wrong.
This module never touches bytes, sockets or clocks. `protocol/SPEC.md` is the same text for people.

A request names the struct of its reply in `Reply`; a durable event carries `seq`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

import msgspec

PROTOCOL = 1
"""Version of the contract that this package speaks."""

WEBSOCKET_SUBPROTOCOL = "convo.v1"
WEBSOCKET_JSON = "convo.v1.json"
"""The subprotocol of people and browsers: the same messages as JSON."""

MESSAGE_BYTES = 1 << 20
"""Largest message in bytes before the handshake says otherwise (`limits.message_bytes`)."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number that counts something: never negative, and small enough for any database."""


Priority = Literal["low", "normal", "high"]
"""Which file sessions go before others."""


class State(StrEnum):
    """States of a session, as the store and every client see them."""

    PENDING = "pending"
    PROCESSING = "processing"
    TRANSCRIBED = "transcribed"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows this state by itself."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Code(StrEnum):
    """Error codes. The message beside one is a sentence that says what to do."""

    BAD_MESSAGE = "bad_message"
    HELLO_EXPECTED = "hello_expected"
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNKNOWN_SESSION = "unknown_session"
    UNKNOWN_MODEL = "unknown_model"
    BAD_REQUEST = "bad_request"
    BAD_STATE = "bad_state"
    BAD_AUDIO = "bad_audio"
    UNSUPPORTED_AUDIO = "unsupported_audio"
    OUT_OF_CREDIT = "out_of_credit"
    TOO_LARGE = "too_large"
    BUSY = "busy"
    MODEL_UNAVAILABLE = "model_unavailable"
    SUMMARIZER_UNAVAILABLE = "summarizer_unavailable"
    LIMIT_EXCEEDED = "limit_exceeded"
    UNVERIFIED = "unverified"
    UNCOVERED = "uncovered"
    AUDIO_ELSEWHERE = "audio_elsewhere"
    NO_SPEECH = "no_speech"
    OTHER_TRACK = "other_track"
    WRONG_RATE = "wrong_rate"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Anything that travels. Optional fields at their default are left out on the wire."""


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A map inside a message."""


# --- values -----------------------------------------------------------------------------------------------


SAMPLE_BYTES: Final = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
"""Bytes of one sample by encoding: all encodings of live audio."""


class AudioFormat(Value, frozen=True, kw_only=True):
    """How a session's bytes are to be read.

    A live session reads `encoding` (s16le, f32le, mulaw, alaw), `rate` in Hz (8000 to 48000) and `channels` (1 to
    8, interleaved). A file session reads `container` ("auto"), `name` (for people only), `size` in bytes, and `track`:
    which of the file's audio tracks, from 1; unless given, the default one, or one with sound if that is silent.
    """

    encoding: str = "s16le"
    rate: int = 16000
    channels: int = 1
    container: str = "auto"
    name: str | None = None
    size: Count | None = None
    track: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None


class SummaryOptions(Value, frozen=True, kw_only=True):
    """What kind of summary a session gets. None leaves a field to the daemon's configuration."""

    mode: Literal["off", "final", "rolling"] = "final"
    provider: str | None = None
    model: str | None = None
    style: str | None = None
    language: str | None = None


class Rule(Value, frozen=True, kw_only=True):
    """Words that are misheard, and what they should be; empty: nothing."""

    wrong: str
    right: str


class Word(Value, frozen=True, kw_only=True):
    """One word; times are seconds on the session's sample clock, confidence is 0 to 1."""

    start: float
    end: float
    word: str
    confidence: float


class Segment(Value, frozen=True, kw_only=True):
    """A stored piece of transcript as it reads now. `speaker`: who says it by what is known now, from 1.

    `original`: the text that was sent, if it was corrected since; an empty `text` hides the segment.
    """

    segment: int
    start: float
    end: float
    text: str
    language: str
    confidence: float
    words: list[Word] | None = None
    speaker: int | None = None
    original: str | None = None


class Label(Value, frozen=True, kw_only=True):
    """Who says a segment: a speaker's number, from 1, and how sure that is, 0 to 1."""

    segment: int
    speaker: int
    confidence: float


class Speaker(Value, frozen=True, kw_only=True):
    """A speaker of a session: `speaker`, a number that stays the same, and a `name` for people."""

    speaker: int
    name: str


class Voice(Value, frozen=True, kw_only=True):
    """A voice that is remembered: its name, since when (Unix seconds), and seconds of speech that it is known by."""

    name: str
    created: float
    seconds: float


class ActionItem(Value, frozen=True, kw_only=True):
    """Something somebody is to do. `sources`: the segments it rests on; [] is none, None is not known."""

    text: str
    owner: str | None = None
    due: str | None = None
    sources: list[int] | None = None


class Section(Value, frozen=True, kw_only=True):
    """A named field of a summary's style, such as the findings of a consultation; `label` is its name for people."""

    name: str
    label: str
    text: str


class Bookmark(Value, frozen=True, kw_only=True):
    """A bookmark: seconds on the session's sample clock, and its text."""

    time: float
    text: str = ""


class Origin(Value, frozen=True, kw_only=True):
    """How a summary came about: when (Unix seconds), in which style, and the last segment that it takes in."""

    created: float
    style: str
    through: int | None = None


class Summary(Value, frozen=True, kw_only=True):
    """The content of a summary, of any provider.

    `key_point_sources` has an entry for each of `key_points`: the segments it rests on, none where it cites nothing.
    `sections` are the parts of `summary` where the style has named fields; `unverified` the names and numbers that the
    transcript does not contain.
    """

    provider: str
    model: str
    title: str
    summary: str
    key_points: list[str]
    action_items: list[ActionItem]
    keywords: list[str]
    language: str
    key_point_sources: list[list[int]] | None = None
    sections: list[Section] | None = None
    unverified: list[str] | None = None
    origin: Origin | None = None


class StoredSummary(Value, frozen=True, kw_only=True):
    """A summary that is kept, by the number of the event that it came with."""

    seq: int
    summary: Summary


class SessionInfo(Value, frozen=True, kw_only=True):
    """A session in a list. `created` is Unix seconds, `duration_s` seconds of audio so far.

    `language`: the one that was asked for, or that was detected; of a talk in several, one of them. `code` and
    `message` say why a failed one failed.
    """

    session: str
    kind: Literal["live", "file"]
    title: str
    state: State
    created: float
    duration_s: float
    language: str | None = None
    code: str | None = None
    message: str | None = None


class Hit(Value, frozen=True, kw_only=True):
    """What a search found: a segment, or (`source`) a summary, which has `segment` 0 and spans its session.

    `snippet` is the part of `text` around what was found, `marks` the places in it: [from, to) in characters.
    """

    session: str
    segment: int
    start: float
    end: float
    text: str
    source: Literal["segment", "summary"] = "segment"
    title: str = ""
    snippet: str | None = None
    marks: list[tuple[int, int]] | None = None


class QueuedFile(Value, frozen=True, kw_only=True):
    """A file session in the queue; `done_s` of `total_s` seconds (None if not known) are transcribed."""

    session: str
    title: str
    priority: Priority
    state: State
    created: float
    done_s: float = 0.0
    total_s: float | None = None


class ModelInfo(Value, frozen=True, kw_only=True):
    """A speech model: `size_bytes` on this disk (0 if not here), `context` full or short, `source` builtin, hub, index
    (the Python package index) or directory, see SPEC.md.
    """

    name: str
    here: bool
    size_bytes: int
    context: Literal["full", "short"]
    loaded: bool = False
    languages: list[str] | None = None
    source: str | None = None


class EngineStatus(Value, frozen=True, kw_only=True):
    """`state`: loading, ready, unloaded or failed. `message` says why it failed. `interims`: full, rarer, shorter or
    none, what live captions are reduced to while the machine is too busy for more. `reason` says why it is this model.
    """

    state: str
    model: str
    device: str
    compute_type: str
    workers: int
    restarts: int = 0
    interims: str = "full"
    message: str | None = None
    reason: str | None = None


class QueueStatus(Value, frozen=True, kw_only=True):
    """Windows of audio that wait for the engine, by kind."""

    final: int
    interim: int
    file: int


class SessionCounts(Value, frozen=True, kw_only=True):
    """Sessions that are not in a final state."""

    live: int
    file: int


class SummarizerStatus(Value, frozen=True, kw_only=True):
    """The provider that a summary would be written by now, and why that one; or why it cannot be had now."""

    provider: str
    model: str
    reason: str
    available: bool = True


class StorageStatus(Value, frozen=True, kw_only=True):
    """What needs attention on the daemon's disk: audio that no session claims, and a sentence."""

    unclaimed_files: int = 0
    unclaimed_bytes: int = 0
    message: str | None = None


class Passage(Value, frozen=True, kw_only=True):
    """A segment that a question may be about; `match`: it has words of the question, else it stands beside one.

    `speaker` is the name of who says it, where that is known; `created` of its session, Unix seconds.
    """

    session: str
    title: str
    created: float
    segment: int
    start: float
    end: float
    text: str
    speaker: str | None = None
    match: bool = True


class AnswerSentence(Value, frozen=True, kw_only=True):
    """A sentence of an answer. `sources`: the passages that it rests on, by their places in the list, from 0;
    `unverified`: names and numbers in it that these do not have.
    """

    text: str
    sources: list[int]
    unverified: list[str] = []


class RemoteWorkerStatus(Value, frozen=True, kw_only=True):
    """A worker on another machine. `load` is that of its machine over its processors, `beat_s` the seconds since its
    last sign of life. `reason` says why it gets no windows, if so; `note`, which ones it does not get.
    """

    worker: str
    host: str
    model: str
    device: str
    compute_type: str
    slots: int = 1
    busy: int = 0
    load: float = 0.0
    windows: int = 0
    beat_s: float = 0.0
    reason: str | None = None
    note: str | None = None


class ClusterStatus(Value, frozen=True, kw_only=True):
    """The broker that brings windows to workers on other machines: whether it can be reached, and what is wrong."""

    connected: bool
    workers: list[RemoteWorkerStatus] = []
    message: str | None = None


class Limits(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What the daemon grants: bytes a message, bytes of unacknowledged audio, seconds to resume."""

    message_bytes: int = MESSAGE_BYTES
    audio_credit: int = 0
    resume_s: float = 30.0


# --- handshake --------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message of a client."""

    protocol: int
    client: str
    token: str | None = None


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """First message of the daemon."""

    protocol: int
    server: str
    limits: Limits
    features: list[str]


# --- replies ----------------------------------------------------------------------------------------------


class Reply(Message, frozen=True, kw_only=True, tag="ok"):
    """A request was done; subclasses carry more."""

    id: int


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """A request was refused (`id`), or audio was (`session`). With neither, the connection closes, but after a
    `bad_message` or `bad_request`, which answer one message that had no id.
    """

    code: str
    message: str
    id: int | None = None
    session: str | None = None


class PingReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """`time` is the daemon's clock in Unix seconds."""

    time: float


class StatusReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """How the daemon is. `rejected`: texts that were not shown since it started, by reason. `storage` is there when
    something on its disk needs attention, `cluster` where a broker is set.
    """

    version: str
    uptime_s: float
    engine: EngineStatus
    queue: QueueStatus
    sessions: SessionCounts
    summarizer: SummarizerStatus | None = None
    rejected: dict[str, int] | None = None
    storage: StorageStatus | None = None
    cluster: ClusterStatus | None = None


class MetricsReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """Metrics as text; `content_type` says in which format."""

    content: str
    content_type: str


class CreateSessionReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """`config` holds all settings in force; `credit` the bytes of audio that may be sent at once."""

    session: str
    config: dict[str, Any]
    credit: int


class FinalizeReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """All audio up to `offset` bytes is transcribed, and its segments were sent."""

    offset: int


class GetSessionReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """A session whole. `more` is there when segments were left out: ask again with `after_segment`.

    `marks` are in the order of their times, and come with the first page; so do `speakers`, in that of their numbers.
    `language`, `code` and `message`: as in a list.
    """

    session: str
    kind: Literal["live", "file"]
    title: str
    state: State
    created: float
    duration_s: float
    segments: list[Segment]
    summary: Summary | None
    more: bool = False
    marks: list[Bookmark] = []
    speakers: list[Speaker] = []
    language: str | None = None
    code: str | None = None
    message: str | None = None


class AttachReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """`seq` is the newest stored event, `audio_offset` the bytes safely stored; `ended` if no more are taken."""

    state: State
    seq: int
    audio_offset: int
    credit: int
    ended: bool = False


class ListSessionsReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """Newest first."""

    sessions: list[SessionInfo]


class SearchReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """Best hit first."""

    hits: list[Hit]


class ExportReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """A transcript in a format. `next` is there when more follows: ask again with that `offset`."""

    content: str
    next: int | None = None


class AskReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """An answer, and the passages that it is made from. Without `answer`, `reason` says why.

    `dropped`: sentences that were left out, because their passages do not say such a thing.
    """

    answer: list[AnswerSentence]
    passages: list[Passage]
    provider: str
    model: str
    dropped: int = 0
    reason: str | None = None


class GetAudioReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """Bytes of a session's audio as they were sent, `size` in all, and what they are (`kind`, `audio`).

    `next` is there when more follows: ask again with that `offset`.
    """

    data: bytes
    size: int
    kind: Literal["live", "file"]
    audio: AudioFormat
    next: int | None = None


class ListQueueReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The owner's file sessions in the order in which they come; `paused` if none of them is worked on."""

    jobs: list[QueuedFile]
    paused: bool = False


class RetranscribeReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The new session."""

    session: str


class RefineReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The model that hears it again; empty if that was cancelled."""

    model: str


class ListSummariesReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """Newest first. `more` is there when older ones were left out: ask again with `before`."""

    summaries: list[StoredSummary]
    more: bool = False


class SetSpeakerReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The number of the speaker."""

    speaker: int


class ListVoicesReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """In the order of their names."""

    voices: list[Voice]


class ListModelsReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The models that are here, and those that can be fetched by name."""

    models: list[ModelInfo]


class PullModelReply(Reply, frozen=True, kw_only=True, tag="ok"):
    """The model is here now."""

    model: str
    size_bytes: int


# --- requests ---------------------------------------------------------------------------------------------


R = TypeVar("R", bound=Reply)


class Request(Message, Generic[R], frozen=True, kw_only=True):
    """Asks for exactly one answer with the same `id`: an `R`, or an `Error`.

    `id` is set by the connection that sends it (from 1); on the wire it is always there.
    """

    Reply: ClassVar[type[Any]] = Reply

    id: int = 0


class Ping(Request[PingReply], frozen=True, kw_only=True, tag="ping"):
    """Keeps an idle connection open; moves no audio time."""

    Reply: ClassVar = PingReply


class Status(Request[StatusReply], frozen=True, kw_only=True, tag="status"):
    """How is the daemon?"""

    Reply: ClassVar = StatusReply


class Metrics(Request[MetricsReply], frozen=True, kw_only=True, tag="metrics"):
    """How is the daemon, in numbers for a monitor?"""

    Reply: ClassVar = MetricsReply


class CreateSession(Request[CreateSessionReply], frozen=True, kw_only=True, tag="create_session"):
    """Opens a session and attaches the connection to it; the same `key` again gets the same session.

    `speakers`: whether voices are told apart: off, auto, or how many there are. `channels`: mix them, or split them, so
    that each is a speaker, called as `channel_names` say. `vocabulary`: corrections of words, for all segments.
    `languages`: those that are spoken, where each passage's language is detected; None: any.
    """

    Reply: ClassVar = CreateSessionReply

    kind: Literal["live", "file"]
    audio: AudioFormat = AudioFormat()
    title: str | None = None
    language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    model: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    interim: bool = True
    words: bool = False
    endpoint_ms: Count | None = None
    vad_mode: Count | None = None
    frame_ms: Count | None = None
    key: str | None = None
    summary: SummaryOptions = SummaryOptions()
    priority: Priority = "normal"
    keep_audio: bool | None = None
    speakers: str = "off"
    channels: Literal["mix", "split"] = "mix"
    channel_names: list[str] = []
    vocabulary: list[Rule] = []
    languages: list[str] | None = None


class Finalize(Request[FinalizeReply], frozen=True, kw_only=True, tag="finalize"):
    """Transcribe all audio sent so far now; answered once its segments are out."""

    Reply: ClassVar = FinalizeReply

    session: str


class EndSession(Request[Reply], frozen=True, kw_only=True, tag="end_session"):
    """No more audio comes. Answered at once; the session's events follow."""

    session: str


class CancelSession(Request[Reply], frozen=True, kw_only=True, tag="cancel_session"):
    """Stop the session; what was transcribed stays."""

    session: str


class DeleteSession(Request[Reply], frozen=True, kw_only=True, tag="delete_session"):
    """Forget the session, its audio and its text."""

    session: str


class UpdateSession(Request[Reply], frozen=True, kw_only=True, tag="update_session"):
    """Rename the session, or let it go before others in the queue."""

    session: str
    title: str | None = None
    priority: Priority | None = None


class RetrySession(Request[Reply], frozen=True, kw_only=True, tag="retry_session"):
    """Let a failed session go on where it failed."""

    session: str


class Retranscribe(Request[RetranscribeReply], frozen=True, kw_only=True, tag="retranscribe"):
    """Transcribe kept audio anew, as a session of its own; None leaves a field as it was."""

    Reply: ClassVar = RetranscribeReply

    session: str
    model: str | None = None
    language: str | None = None
    task: Literal["transcribe", "translate"] | None = None
    words: bool | None = None
    priority: Priority = "normal"
    languages: list[str] | None = None


class Refine(Request[RefineReply], frozen=True, kw_only=True, tag="refine"):
    """Hear segments of a lower confidence than `below` again with another model; None is the best one that is here.

    What comes of it are corrections. `cancel` stops it: what was corrected stays.
    """

    Reply: ClassVar = RefineReply

    session: str
    model: str | None = None
    below: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.75
    cancel: bool = False


class ListQueue(Request[ListQueueReply], frozen=True, kw_only=True, tag="list_queue"):
    """The file sessions that wait or are worked on, in their order."""

    Reply: ClassVar = ListQueueReply


class PauseQueue(Request[Reply], frozen=True, kw_only=True, tag="pause_queue"):
    """Work on none of this owner's file sessions until `resume_queue`, whatever restarts meanwhile."""


class ResumeQueue(Request[Reply], frozen=True, kw_only=True, tag="resume_queue"):
    """Go on with this owner's file sessions."""


class GetSession(Request[GetSessionReply], frozen=True, kw_only=True, tag="get_session"):
    """The session with its transcript and summary."""

    Reply: ClassVar = GetSessionReply

    session: str
    after_segment: Count | None = None


class Attach(Request[AttachReply], frozen=True, kw_only=True, tag="attach"):
    """Send stored events after `after_seq`, then live ones; `produce` goes on sending audio."""

    Reply: ClassVar = AttachReply

    session: str
    after_seq: Count = 0
    produce: bool = False


class Detach(Request[Reply], frozen=True, kw_only=True, tag="detach"):
    """No more events of this session."""

    session: str


class ListSessions(Request[ListSessionsReply], frozen=True, kw_only=True, tag="list_sessions"):
    """Sessions, newest first; `before` (Unix seconds) pages, `prefix` is how their ids begin."""

    Reply: ClassVar = ListSessionsReply

    state: State | None = None
    kind: Literal["live", "file"] | None = None
    limit: Count = 100
    before: float | None = None
    prefix: str | None = None


class CorrectSegment(Request[Reply], frozen=True, kw_only=True, tag="correct_segment"):
    """Let a segment read otherwise from now on; an empty text hides it, its own text takes a correction back."""

    session: str
    segment: Count
    text: str


class RenameSpeaker(Request[Reply], frozen=True, kw_only=True, tag="rename_speaker"):
    """Calls a speaker by a name, by its number again if that is empty; `remember`: recognise this voice in later
    sessions of its owner.
    """

    session: str
    speaker: Count
    name: str
    remember: bool = False


class MergeSpeakers(Request[Reply], frozen=True, kw_only=True, tag="merge_speakers"):
    """What `speaker` said, and will say, is said by `into`."""

    session: str
    speaker: Count
    into: Count


class SetSpeaker(Request[SetSpeakerReply], frozen=True, kw_only=True, tag="set_speaker"):
    """Says who says a segment; None is somebody new."""

    Reply: ClassVar = SetSpeakerReply

    session: str
    segment: Count
    speaker: Count | None = None


class ListVoices(Request[ListVoicesReply], frozen=True, kw_only=True, tag="list_voices"):
    """The voices that this owner asked to be remembered."""

    Reply: ClassVar = ListVoicesReply


class DeleteVoice(Request[Reply], frozen=True, kw_only=True, tag="delete_voice"):
    """Forget a voice and all that was kept of it."""

    name: str


class Search(Request[SearchReply], frozen=True, kw_only=True, tag="search"):
    """Full-text search over all transcripts, and with `summaries` over these, too."""

    Reply: ClassVar = SearchReply

    query: str
    limit: Count = 50
    summaries: bool = False


class GetAudio(Request[GetAudioReply], frozen=True, kw_only=True, tag="get_audio"):
    """The audio of a session that is over and whose audio was kept, from `offset` bytes on."""

    Reply: ClassVar = GetAudioReply

    session: str
    offset: Count = 0


class Ask(Request[AskReply], frozen=True, kw_only=True, tag="ask"):
    """A question about what was said, in some `sessions` or in all; `answer_progress` events come meanwhile."""

    Reply: ClassVar = AskReply

    query: str
    sessions: list[str] = []
    limit: Count = 12


class CancelAsk(Request[Reply], frozen=True, kw_only=True, tag="cancel_ask"):
    """Stop answering a question of this connection: the `ask` with the id `ask`."""

    ask: Annotated[int, msgspec.Meta(ge=0)]


class Export(Request[ExportReply], frozen=True, kw_only=True, tag="export"):
    """The transcript as txt, srt, vtt, ttml, json, jsonl or md, from `offset` characters on.

    `redact`: what is taken out, names, numbers or emails; `redact_names` are names that are known.
    """

    Reply: ClassVar = ExportReply

    session: str
    format: str
    offset: Count = 0
    redact: list[str] = []
    redact_names: list[str] = []


class Summarize(Request[Reply], frozen=True, kw_only=True, tag="summarize"):
    """Summarise (again); summary events follow."""

    session: str
    provider: str | None = None
    model: str | None = None
    style: str | None = None
    language: str | None = None


class ListSummaries(Request[ListSummariesReply], frozen=True, kw_only=True, tag="list_summaries"):
    """All final summaries of a session, newest first; `before` (the `seq` of one) pages."""

    Reply: ClassVar = ListSummariesReply

    session: str
    limit: Count = 20
    before: Count | None = None


class AddMark(Request[Reply], frozen=True, kw_only=True, tag="add_mark"):
    """Puts a bookmark at `time`, seconds on the session's sample clock; everybody attached gets `mark`."""

    session: str
    time: float
    text: str = ""


class ListModels(Request[ListModelsReply], frozen=True, kw_only=True, tag="list_models"):
    """Which speech models are there?"""

    Reply: ClassVar = ListModelsReply


class PullModel(Request[PullModelReply], frozen=True, kw_only=True, tag="pull_model"):
    """Fetch a model from the hub; `model_progress` events come meanwhile."""

    Reply: ClassVar = PullModelReply

    model: str


class Audio(Message, frozen=True, kw_only=True, tag="audio"):
    """Bytes of a session's audio; `offset` counts from the start of the stream. Has no reply."""

    session: str
    offset: Count
    data: bytes


# --- events -----------------------------------------------------------------------------------------------


class Event(Message, frozen=True, kw_only=True):
    """Something happened in `session`."""

    session: str


class DurableEvent(Event, frozen=True, kw_only=True):
    """An event that is stored: `seq` counts from 1 without gaps within its session."""

    seq: int


class SessionState(DurableEvent, frozen=True, kw_only=True, tag="session_state"):
    """The session is now in `state`; a failed one says why."""

    state: State
    code: str | None = None
    message: str | None = None


class AudioAck(Event, frozen=True, kw_only=True, tag="audio_ack"):
    """`offset` bytes are safely stored; `credit` more may be sent beyond them."""

    offset: int
    credit: int


class SpeechStarted(Event, frozen=True, kw_only=True, tag="speech_started"):
    """Someone began to speak at `time`."""

    time: float


class SpeechEnded(Event, frozen=True, kw_only=True, tag="speech_ended"):
    """Silence began at `time`."""

    time: float


class TranscriptPartial(Event, frozen=True, kw_only=True, tag="transcript_partial"):
    """The utterance so far: `stable` words stay within the segment, `tentative` ones may change."""

    segment: int
    start: float
    end: float
    stable: str
    tentative: str


class TranscriptSegment(DurableEvent, frozen=True, kw_only=True, tag="transcript_segment"):
    """A finished utterance. `lag_ms`: from its last audio being received to this event."""

    segment: int
    start: float
    end: float
    text: str
    language: str
    confidence: float
    lag_ms: float
    words: list[Word] | None = None


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """Seconds of audio done, and in all if known."""

    done_s: float
    total_s: float | None = None


class SummaryDelta(Event, frozen=True, kw_only=True, tag="summary_delta"):
    """A piece of the summary as it is written; with `restart`, its first: pieces from before are void."""

    text: str
    restart: bool = False


class SummaryEvent(DurableEvent, frozen=True, kw_only=True):
    """A summary in an event; the fields are those of `Summary`."""

    provider: str
    model: str
    title: str
    summary: str
    key_points: list[str]
    action_items: list[ActionItem]
    keywords: list[str]
    language: str
    key_point_sources: list[list[int]] | None = None
    sections: list[Section] | None = None
    unverified: list[str] | None = None
    origin: Origin | None = None


class RollingSummary(SummaryEvent, frozen=True, kw_only=True, tag="rolling_summary"):
    """The summary of the talk so far."""


class FinalSummary(SummaryEvent, frozen=True, kw_only=True, tag="final_summary"):
    """The summary of the whole talk."""


class SessionWarning(DurableEvent, frozen=True, kw_only=True, tag="warning"):
    """Something went less well than it should; the session goes on."""

    code: str
    message: str


class SessionRenamed(DurableEvent, frozen=True, kw_only=True, tag="session_renamed"):
    """The session is called `title` now."""

    title: str


class SpeakerLabel(DurableEvent, frozen=True, kw_only=True, tag="speaker_label"):
    """Who says a segment, as far as is known when it comes; `by`: who says so if it was no voice or channel, user."""

    segment: int
    speaker: int
    confidence: float
    by: str | None = None


class SpeakersRevised(DurableEvent, frozen=True, kw_only=True, tag="speakers_revised"):
    """Labels in place of earlier ones, from a look at the whole session; segments that are not named keep theirs."""

    labels: list[Label]


class SpeakerRenamed(DurableEvent, frozen=True, kw_only=True, tag="speaker_renamed"):
    """A speaker is called `name` from now on. `by`: user, or voice if it is one that is remembered."""

    speaker: int
    name: str
    by: str


class SpeakersMerged(DurableEvent, frozen=True, kw_only=True, tag="speakers_merged"):
    """All that `speaker` said so far is said by `into`; labels that come later say so themselves."""

    speaker: int
    into: int


class SegmentCorrected(DurableEvent, frozen=True, kw_only=True, tag="segment_corrected"):
    """A segment reads `text` from now on, hidden if that is empty.

    `by`: who says so: user, vocabulary, or `model:` and the name of a model that heard it again.
    """

    segment: int
    text: str
    by: str


class RefineProgress(Event, frozen=True, kw_only=True, tag="refine_progress"):
    """Seconds of speech that `model` has heard again, and in all."""

    model: str
    done_s: float
    total_s: float


class SessionRefined(DurableEvent, frozen=True, kw_only=True, tag="session_refined"):
    """A session was heard again by `model`: so many seconds of speech, so many segments corrected.

    `code` and `message` say why it ended before all was heard.
    """

    model: str
    heard_s: float
    corrected: int
    code: str | None = None
    message: str | None = None


class Mark(DurableEvent, frozen=True, kw_only=True, tag="mark"):
    """Somebody put a bookmark at `time`, seconds on the session's sample clock."""

    time: float
    text: str = ""


class ModelProgress(Message, frozen=True, kw_only=True, tag="model_progress"):
    """A model is being fetched; goes to the connection that asked."""

    model: str
    done_bytes: int
    total_bytes: int | None = None


class AnswerProgress(Message, frozen=True, kw_only=True, tag="answer_progress"):
    """A question is being answered; goes to the connection that sent the `ask` with this id.

    First come the `passages`, then a `sentence` at a time; with `restart`, sentences from before are void.
    """

    ask: int
    passages: list[Passage] | None = None
    sentence: AnswerSentence | None = None
    restart: bool = False


# --- tables -----------------------------------------------------------------------------------------------


M = TypeVar("M", bound=Message)


def _wire_name(message: type[Message]) -> str:
    tag = message.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def _by_name(*messages: type[Message]) -> dict[str, type[Message]]:
    return {_wire_name(message): message for message in messages}


REQUESTS: dict[str, type[Message]] = _by_name(
    Ping, Status, Metrics, CreateSession, Finalize, EndSession, CancelSession, DeleteSession, GetSession, Attach,
    Detach, ListSessions, Search, Export, Summarize, ListSummaries, ListModels, PullModel, UpdateSession, RetrySession,
    AddMark, CorrectSegment, RenameSpeaker, MergeSpeakers, SetSpeaker, ListVoices, DeleteVoice,
    Retranscribe, Refine, ListQueue, PauseQueue, ResumeQueue,
    Ask, CancelAsk, GetAudio,
)  # fmt: skip
"""Requests by wire name."""

DURABLE: dict[str, type[Message]] = _by_name(
    SessionState, TranscriptSegment, RollingSummary, FinalSummary, SessionWarning, SessionRenamed, Mark,
    SpeakerLabel, SpeakersRevised, SpeakerRenamed, SpeakersMerged, SegmentCorrected, SessionRefined,
)  # fmt: skip
"""Events that are stored, by wire name."""

EVENTS: dict[str, type[Message]] = DURABLE | _by_name(
    AudioAck,
    SpeechStarted,
    SpeechEnded,
    TranscriptPartial,
    Progress,
    SummaryDelta,
    RefineProgress,
    ModelProgress,
    AnswerProgress,
)
"""Events by wire name."""

FROM_CLIENT: dict[str, type[Message]] = _by_name(Hello, Audio) | REQUESTS
FROM_SERVER: dict[str, type[Message]] = _by_name(Welcome, Error) | EVENTS
"""All but the replies, which are read by the request that they answer."""


def from_map(fields: dict[str, Any], message: type[M]) -> M:
    """Read a map as a message of the given class.

    Raises:
        msgspec.ValidationError: a field is missing or has the wrong type; its text names the field.
    """
    return msgspec.convert(fields, message, builtin_types=(bytes,))


def encode(message: Message) -> bytes:
    """The message as one MessagePack map, `type` first, in the shortest form."""
    data = _encoder.encode(message)
    if data[0] == _MAP16 and data[1] == 0 and data[2] < 16:
        # A struct of many fields gets the long form of its header, however few of them are said.
        return bytes((_FIXMAP | data[2],)) + data[3:]
    return data


_encoder = msgspec.msgpack.Encoder()
_MAP16, _FIXMAP = 0xDE, 0x80
