"""A client without I/O: requests in flight, sessions attached, audio that may be sent.

In: requests, audio and the daemon's bytes. Out: bytes for the daemon, and events. This module never waits for anything
and never reads a socket or a clock; `convo.client_io` adds the waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .connection import NEED_DATA, Connection, Malformed, Phase, Role
from .credit import SendWindow
from .errors import ConnectionLost, ConvoError, LocalProtocolError, RemoteProtocolError, RequestError
from .feed import Feed
from .framing import Framing
from .messages import (
    PROTOCOL,
    SAMPLE_BYTES,
    AnswerProgress,
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    Error,
    Event,
    Hello,
    Message,
    ModelProgress,
    Reply,
    Request,
    Welcome,
)

R = TypeVar("R", bound=Reply)

RECEIVE_BYTES = 16 << 20
"""Largest message that a client accepts."""

PIECE_BYTES = 1 << 16
"""Most audio in one message."""

_ENVELOPE_BYTES = 1 << 10  # the message around the audio

# A multiple of four bytes from the start of a stream holds whole samples of every encoding there is.
_ALIGNED = 4


@dataclass(frozen=True)
class Opened:
    """The handshake is done."""

    welcome: Welcome


@dataclass(frozen=True)
class Answered:
    """A request was answered: with its reply, or with an error."""

    id: int
    result: Reply | RequestError


@dataclass(frozen=True)
class Changed:
    """A session has new events, new credit, or an error."""

    session: Attachment


@dataclass(frozen=True)
class Fetching:
    """A model that this connection requested is being downloaded."""

    progress: ModelProgress


@dataclass(frozen=True)
class Answering:
    """A question of this connection is being answered."""

    progress: AnswerProgress


@dataclass(frozen=True)
class Lost:
    """The connection has ended; `ClientCore.check` says why."""


CoreEvent = Opened | Answered | Changed | Fetching | Answering | Lost


class Attachment:
    """One session as this connection sees it.

    Args:
        session: its id.
        feed: its events.
        window: the room for its audio; None if this connection sends none.
        sample_bytes: size of a sample, 1 if that is not known.
    """

    def __init__(self, session: str, feed: Feed, window: SendWindow | None, sample_bytes: int) -> None:
        self.session = session
        self.feed = feed
        self.window = window
        self.detached = False
        self.refused: Error | None = None
        self._refusal_told = False
        self._sample_bytes = sample_bytes
        self._carry = b""

    def align(self, data: bytes) -> bytes:
        """Return the whole samples of what was kept and `data`; the rest, three bytes at most, is kept."""
        if self._carry:
            data = self._carry + data
        cut = len(data) - len(data) % _ALIGNED
        self._carry = bytes(data[cut:])
        return data[:cut] if self._carry else data

    def flush(self) -> bytes:
        """Return what was kept, cut to whole samples."""
        cut = len(self._carry) - len(self._carry) % self._sample_bytes
        data, self._carry = self._carry[:cut], self._carry[cut:]
        return data

    def drop_carry(self) -> None:
        """Discard what was kept."""
        self._carry = b""

    def check(self) -> None:
        """Raise the RequestError with which the daemon refused this session's audio, if it did."""
        if self.refused is not None:
            self._refusal_told = True
            raise RequestError(self.refused.code, self.refused.message)

    def check_once(self) -> None:
        """Raise like `check`, but only if that was not raised before."""
        if not self._refusal_told:
            self.check()


class ClientCore:
    """A connection with its requests and sessions.

    Args:
        framing: the transport's.
        client: name and version of the program, for the daemon's log.
        token: authenticates the client, where the daemon requires it.
    """

    def __init__(self, framing: Framing, *, client: str, token: str | None = None) -> None:
        self._connection = Connection(Role.CLIENT, framing)
        self._hello = Hello(protocol=PROTOCOL, client=client, token=token)
        self._next_id = 1
        self._requests: dict[int, Message] = {}
        self._attached: dict[str, Attachment] = {}
        self._failure: Callable[[], ConvoError] | None = None
        self.welcome: Welcome | None = None

    def start(self) -> bytes:
        """Return the first bytes to send."""
        return self._connection.send(self._hello)

    def check(self) -> None:
        """If the connection has ended, raise why: ConnectionLost, or RequestError for a refused hello."""
        if self._failure is not None:
            raise self._failure()

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._failure is not None

    def lose(self, reason: str) -> list[CoreEvent]:
        """Take note that the transport ended; `reason` is one sentence."""
        return self._fail(lambda: ConnectionLost(reason))

    def request(self, request: Request[R]) -> tuple[int, bytes]:
        """Number a request; return its id and the bytes to send.

        Raises:
            ConnectionLost: the connection has ended.
            LocalProtocolError: it is too large, or the handshake is not done.
        """
        self.check()
        number = self._next_id
        data = self._connection.send(msgspec.structs.replace(request, id=number))
        self._next_id += 1
        self._requests[number] = request
        return number, data

    def abandon(self, number: int) -> None:
        """Discard the answer to a request when it comes."""
        self._requests.pop(number, None)

    def attached(self, session: str) -> Attachment | None:
        """Return a session's attachment, as the newest answer to create_session or attach made it."""
        return self._attached.get(session)

    def forget(self, session: str) -> None:
        """Ignore what still comes about a session."""
        attachment = self._attached.pop(session, None)
        if attachment is not None:
            attachment.detached = True

    def audio(self, attachment: Attachment, data: memoryview) -> tuple[int, bytes] | None:
        """Make one message of the beginning of `data`, which starts at a sample.

        Returns:
            How many bytes of `data` it holds, and the bytes to send; None if there is no credit for it now.

        Raises:
            ConnectionLost: the connection has ended.
            RequestError: the daemon refused this session's audio.
            LocalProtocolError: this connection sends no audio to this session.
        """
        self.check()
        attachment.check()
        window = attachment.window
        if window is None or attachment.detached:
            raise LocalProtocolError(f"Attach to session {attachment.session} with produce=True to send audio.")
        size = min(len(data), window.room, self._piece_bytes())
        if size < len(data):
            size -= size % _ALIGNED
        if size <= 0:
            return None
        piece = bytes(data[:size])
        return size, self._connection.send(Audio(session=attachment.session, offset=window.take(size), data=piece))

    def receive(self, data: bytes) -> list[CoreEvent]:
        """Take bytes from the daemon; return what happened, in order."""
        events: list[CoreEvent] = []
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not NEED_DATA:
                if not isinstance(event, Malformed):  # only a server's connection gives these
                    events += self._route(event)
        except RemoteProtocolError as error:
            reason = f"The daemon broke the contract: {error}"
            events += self._fail(lambda: ConnectionLost(reason))
        return events

    # --- routing ------------------------------------------------------------------------------------------

    def _route(self, message: Message) -> list[CoreEvent]:
        match message:
            case Welcome():
                self.welcome = message
                return [Opened(message)]
            case Reply():
                return [*self._done(message), Answered(message.id, message)]
            case Error():
                return self._refused(message)
            case ModelProgress():
                return [Fetching(message)]
            case AnswerProgress():
                return [Answering(message)]
            case Event():
                return self._event(message)
        return []

    def _event(self, event: Event) -> list[CoreEvent]:
        attachment = self._attached.get(event.session)
        if attachment is None:
            return []
        if isinstance(event, AudioAck) and attachment.window is not None:
            attachment.window.granted(event.offset, event.credit)
        attachment.feed.put(event)
        return [Changed(attachment)]

    def _done(self, reply: Reply) -> list[CoreEvent]:
        request = self._requests.pop(reply.id, None)
        match request, reply:
            case CreateSession(), CreateSessionReply(session=session):
                if session not in self._attached:  # the same key again gets the same session
                    self._attached[session] = Attachment(
                        session,
                        Feed(session),
                        SendWindow(0, reply.credit),
                        SAMPLE_BYTES.get(request.audio.encoding, 1) if request.kind == "live" else 1,
                    )
            case Attach(session=session), AttachReply():
                older = self._attached.get(session)
                self.forget(session)
                self._attached[session] = Attachment(
                    session,
                    Feed(session, after_seq=request.after_seq, replay_until=reply.seq, state=reply.state),
                    SendWindow(reply.audio_offset, reply.credit) if request.produce else None,
                    1,
                )
                return [Changed(older)] if older is not None else []
            case ((Detach(session=session) | DeleteSession(session=session)), _):
                gone = self._attached.get(session)
                self.forget(session)
                return [Changed(gone)] if gone is not None else []
        return []

    def _refused(self, error: Error) -> list[CoreEvent]:
        events: list[CoreEvent] = []
        if error.id is not None:
            self._requests.pop(error.id, None)
            events.append(Answered(error.id, RequestError(error.code, error.message)))
        elif error.session is not None:
            attachment = self._attached.get(error.session)
            if attachment is not None:
                attachment.refused = attachment.refused or error
                events.append(Changed(attachment))
        if self._connection.phase is Phase.CLOSED:
            if self.welcome is None:
                events += self._fail(lambda: RequestError(error.code, error.message))
            else:
                reason = f"The daemon closed the connection: {error.message} ({error.code})"
                events += self._fail(lambda: ConnectionLost(reason))
        return events

    def _fail(self, failure: Callable[[], ConvoError]) -> list[CoreEvent]:
        if self._failure is not None:
            return []
        self._failure = failure
        self._connection.close()
        return [Lost()]

    def _piece_bytes(self) -> int:
        limit = self.welcome.limits.message_bytes if self.welcome is not None else 0
        size = min(limit - _ENVELOPE_BYTES, PIECE_BYTES)
        return max(size - size % _ALIGNED, _ALIGNED)
