"""What a program does with a daemon: requests, sessions, audio, events. The same under trio and asyncio.

In: calls of the application. Out: typed replies and events. `convo.transport` connects, moves the bytes, and hands
over a `Client`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict, TypeVar, Unpack

import msgspec

from .client_core import Attachment
from .client_io import ClientIO
from .errors import ConvoError, RemoteProtocolError
from .messages import (
    AnswerProgress,
    Ask,
    AskReply,
    Attach,
    AttachReply,
    AudioFormat,
    Bookmark,
    CancelSession,
    Code,
    CreateSession,
    CreateSessionReply,
    Detach,
    EndSession,
    Event,
    Export,
    Finalize,
    GetAudio,
    GetAudioReply,
    GetSession,
    GetSessionReply,
    ModelProgress,
    Priority,
    PullModel,
    PullModelReply,
    Refine,
    RefineProgress,
    Reply,
    Request,
    Rule,
    Segment,
    SessionRefined,
    Speaker,
    SummaryOptions,
    Welcome,
)

R = TypeVar("R", bound=Reply)


class SessionOptions(TypedDict, total=False):
    """What a session is to be like: the fields of `CreateSession`, as SPEC.md explains them. Each may be left out.

    Args:
        audio: what the bytes are: encoding, rate and channels, or the name and size of a file.
        title: for people, one line.
        language: such as "en"; None detects it.
        task: "translate" translates to English.
        model: a speech model; None leaves it to the daemon, as do all other Nones.
        prompt: text before the first word, to set names and style.
        hotwords: words to expect.
        interim: send `TranscriptPartial`.
        words: send the times of words.
        endpoint_ms: least silence that ends an utterance, milliseconds.
        vad_mode: how much is taken for speech, 0 (most) to 3 (least).
        frame_ms: audio that is judged at a time, 10, 20 or 30 milliseconds.
        key: a retry with the same key gets the same session.
        summary: whether there is one, and who writes it how.
        priority: of a file in the queue.
        keep_audio: keep the audio when the session is completed.
        speakers: tell voices apart: "off", "auto", or how many there are, such as "2".
        channels: "split" transcribes each channel by itself, as a speaker.
        channel_names: what the speakers of a session with split channels are called.
        vocabulary: words that are misheard and what they should be, for all segments.
        languages: those that are spoken, where `language` is detected; None allows any.
    """

    audio: AudioFormat
    title: str | None
    language: str | None
    task: Literal["transcribe", "translate"]
    model: str | None
    prompt: str | None
    hotwords: str | None
    interim: bool
    words: bool
    endpoint_ms: int | None
    vad_mode: int | None
    frame_ms: int | None
    key: str | None
    summary: SummaryOptions
    priority: Priority
    keep_audio: bool | None
    speakers: str
    channels: Literal["mix", "split"]
    channel_names: list[str]
    vocabulary: list[Rule]
    languages: list[str] | None


class EventStream:
    """Events of one session, for `async for`.

    Ends after an event for which `until` is true; without `until`, after the final state (completed, failed or
    cancelled). It also ends when the session is detached.

    Raises:
        EventsLost: the application was too slow; the text says how to continue.
        RequestError: the daemon refused this session's audio (told once).
        ConnectionLost: the connection ended.
    """

    def __init__(self, io: ClientIO, attachment: Attachment, until: Callable[[Event], bool] | None) -> None:
        self._io = io
        self._attachment = attachment
        self._until = until
        self._done = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        attachment = self._attachment
        while not self._done:
            event = attachment.feed.take()
            if event is not None:
                self._done = self._until is not None and self._until(event)
                return event
            if attachment.detached or (self._until is None and attachment.feed.finished):
                break
            attachment.check_once()
            self._io.core.check()
            await self._io.wait_changed(attachment)
        raise StopAsyncIteration


class ClientSession:
    """A session that this connection is attached to."""

    def __init__(
        self,
        io: ClientIO,
        attachment: Attachment,
        reply: CreateSessionReply | AttachReply,
    ) -> None:
        self._io = io
        self._attachment = attachment
        self._reply = reply

    @property
    def id(self) -> str:
        """The session's id, for `attach` from anywhere."""
        return self._attachment.session

    @property
    def reply(self) -> CreateSessionReply | AttachReply:
        """What the daemon answered to create_session or attach."""
        return self._reply

    @property
    def attached(self) -> bool:
        """Whether this attachment still holds: it was neither detached nor replaced on this connection."""
        return not self._attachment.detached

    @property
    def sent(self) -> int:
        """Bytes of audio handed to the connection, from the start of the stream."""
        window = self._attachment.window
        return 0 if window is None else window.sent

    @property
    def acknowledged(self) -> int:
        """Bytes of audio that the daemon has stored safely."""
        window = self._attachment.window
        return 0 if window is None else window.acknowledged

    def events(self, until: Callable[[Event], bool] | None = None) -> EventStream:
        """The session's events as they come. Streams of one session share them: use one at a time."""
        return EventStream(self._io, self._attachment, until)

    async def send_audio(self, data: bytes) -> None:
        """Send audio of any length; waits while the daemon has no room for it.

        Bytes that are not a whole sample yet (three at most) are kept for the next call, `finalize` or `end`.
        Cancelled, it has sent the audio up to `sent` and drops the rest.

        Raises:
            RequestError: the daemon refused this session's audio.
            ConnectionLost: the connection ended; attach with `produce=True` and continue from `audio_offset`.
        """
        try:
            await self._io.send_audio(self._attachment, self._attachment.align(data))
        except BaseException:
            self._attachment.drop_carry()
            raise

    async def finalize(self) -> int:
        """Wait until all audio sent is transcribed and its segments have arrived; return how many bytes it was."""
        await self._flush()
        self._attachment.check()
        reply = await self._io.request(Finalize(session=self.id))
        return reply.offset

    async def end(self) -> None:
        """Tell the daemon that no more audio comes; the last events follow."""
        if self._attachment.refused is None:
            await self._flush()
        await self._io.request(EndSession(session=self.id))

    async def cancel(self) -> None:
        """Stop the session; what was transcribed stays."""
        await self._io.request(CancelSession(session=self.id))

    async def detach(self) -> None:
        """Stop receiving the session's events; it continues without this connection."""
        await self._io.request(Detach(session=self.id))

    async def _flush(self) -> None:
        rest = self._attachment.flush()
        if rest:
            await self._io.send_audio(self._attachment, rest)


class Client:
    """A connection to a daemon, open until its `async with` block ends."""

    def __init__(self, io: ClientIO, welcome: Welcome) -> None:
        self._io = io
        self._welcome = welcome

    @property
    def welcome(self) -> Welcome:
        """What the daemon said about itself: its version, limits and features."""
        return self._welcome

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._io.core.lost

    @property
    def loss(self) -> ConvoError | None:
        """Why the connection has ended; None while it is open."""
        try:
            self._io.core.check()
        except ConvoError as error:
            return error
        return None

    async def wait_lost(self) -> None:
        """Return once the connection has ended."""
        await self._io.wait_lost()

    async def request(self, request: Request[R]) -> R:
        """Send a request, wait for its answer.

        Raises:
            RequestError: the daemon refused it; `code` says why.
            ConnectionLost: the connection ended; whether it was done is not known.
            LocalProtocolError: it is above the daemon's limit.
        """
        return await self._io.request(request)

    async def create_session(
        self, kind: Literal["live", "file"] = "live", **options: Unpack[SessionOptions]
    ) -> ClientSession:
        """Open a session, and attach to it. Raises like `request`."""
        reply = await self.request(CreateSession(kind=kind, **options))
        return self._session(reply.session, reply)

    async def attach(self, session: str, *, after_seq: int = 0, produce: bool = False) -> ClientSession:
        """Get a session's events after `after_seq`, and with `produce` send its audio.

        Continue the audio from byte `audio_offset` of the reply. An older attachment of this connection to the
        session ends. Raises like `request`.
        """
        reply = await self.request(Attach(session=session, after_seq=after_seq, produce=produce))
        return self._session(session, reply)

    async def export(
        self, session: str, format: str, *, redact: Sequence[str] = (), redact_names: Sequence[str] = ()
    ) -> str:
        """A transcript whole, in a format such as "srt", without what `redact` names. Raises like `request`."""
        request = Export(session=session, format=format, redact=list(redact), redact_names=list(redact_names))
        pieces: list[str] = []
        offset: int | None = 0
        while offset is not None:
            reply = await self.request(msgspec.structs.replace(request, offset=offset))
            pieces.append(reply.content)
            if reply.next is not None and reply.next <= offset:
                raise RemoteProtocolError(Code.BAD_MESSAGE, "The daemon's export does not move on.")
            offset = reply.next
        return "".join(pieces)

    async def get_audio(self, session: str, write: Callable[[bytes], object]) -> GetAudioReply:
        """The kept audio of a session, as it was sent: `write` gets it, a piece at a time. Raises like `request`.

        Returns: the last reply, which says what the bytes are.
        """
        offset = 0
        while True:
            reply = await self.request(GetAudio(session=session, offset=offset))
            write(reply.data)
            if reply.next is None:
                return reply
            if reply.next <= offset:
                raise RemoteProtocolError(Code.BAD_MESSAGE, "The daemon's audio does not move on.")
            offset = reply.next

    async def get_session(self, session: str) -> GetSessionReply:
        """A session whole, with all its segments. Raises like `request`."""
        segments: list[Segment] = []
        marks: list[Bookmark] = []
        speakers: list[Speaker] = []
        after: int | None = None
        while True:
            reply = await self.request(GetSession(session=session, after_segment=after))
            segments += reply.segments
            marks += reply.marks
            speakers += reply.speakers
            if not reply.more:
                return msgspec.structs.replace(reply, segments=segments, marks=marks, speakers=speakers)
            if not reply.segments or (after is not None and reply.segments[-1].segment <= after):
                raise RemoteProtocolError(Code.BAD_MESSAGE, "The daemon's transcript does not move on.")
            after = reply.segments[-1].segment

    async def ask(
        self,
        query: str,
        sessions: Sequence[str] = (),
        *,
        limit: int = 12,
        progress: Callable[[AnswerProgress], None] | None = None,
    ) -> AskReply:
        """Answer a question about what was said. Cancelling ends the daemon's work on it. Raises like `request`.

        Args:
            query: the question.
            sessions: whole ids of those that it is about; none: all of this owner.
            limit: how many passages with words of the question it may be answered from.
            progress: called with the passages, then with each sentence as it is written.
        """
        request = Ask(query=query, sessions=list(sessions), limit=limit)
        return await self._io.ask(request, progress or (lambda message: None))

    async def refine(
        self,
        session: str,
        model: str | None = None,
        *,
        below: float = 0.75,
        progress: Callable[[RefineProgress], None] | None = None,
    ) -> SessionRefined:
        """Have a session's doubtful segments heard again by a larger model, and wait until that is done.

        It attaches to the session. If it is cancelled, the daemon goes on: `Refine` with `cancel` stops that. Raises
        like `request`.

        Args:
            session: its id.
            model: which model; None leaves it to the daemon.
            below: segments of a lower confidence are heard, 0 to 1.
            progress: called after each stretch of speech.
        """
        past = await self.request(Attach(session=session))
        attached = await self.attach(session, after_seq=past.seq)
        await self.request(Refine(session=session, model=model, below=below))
        async for event in attached.events(until=lambda event: isinstance(event, SessionRefined)):
            if isinstance(event, RefineProgress) and progress is not None:
                progress(event)
            elif isinstance(event, SessionRefined):
                return event
        raise RemoteProtocolError(Code.BAD_MESSAGE, f"Session {session} was detached at once.")

    async def pull_model(self, model: str, progress: Callable[[ModelProgress], None] | None = None) -> PullModelReply:
        """Fetch a model, and call `progress` with each message about it meanwhile. Raises like `request`."""

        def watch(message: ModelProgress) -> None:
            if progress is not None and message.model == model:
                progress(message)

        unwatch = self._io.watch_models(watch)
        try:
            return await self.request(PullModel(model=model))
        finally:
            unwatch()

    def _session(self, session: str, reply: CreateSessionReply | AttachReply) -> ClientSession:
        attachment = self._io.core.attached(session)
        if attachment is None:
            # It is gone before this task ran: the connection was lost, or another task detached.
            self._io.core.check()
            raise RemoteProtocolError(Code.BAD_MESSAGE, f"Session {session} was detached at once.")
        return ClientSession(self._io, attachment, reply)
