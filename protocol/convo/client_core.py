"""What a client knows, without a loop: requests in flight, sessions attached, audio that may be sent.

In: requests, audio and the daemon's bytes. Out: bytes for the daemon, and a list of what happened. This module
never waits for anything and never reads a socket or a clock; `convo.client_io` adds the waiting.
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
"""Largest message that a client takes."""

PIECE_BYTES = 1 << 16
"""Audio in one message at most."""

_ENVELOPE_BYTES = 1 << 10  # the message around the audio

# A multiple of four bytes from the start of a stream holds whole samples of every encoding there is.
_ALIGNED = 4
_SAMPLE_BYTES = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}


@dataclass(frozen=True)
class Opened:
    """The handshake is done."""

    welcome: Welcome


@dataclass(frozen=True)
class Answered:
    """A request was done, or refused."""

    id: int
    result: Reply | RequestError


@dataclass(frozen=True)
class Changed:
    """A session has events, room for audio or an error that it did not have before."""

    session: Attachment


@dataclass(frozen=True)
class Fetching:
    """A model that this connection asked for is on its way."""

    progress: ModelProgress


@dataclass(frozen=True)
class Lost:
    """The connection is over; `ClientCore.check` says why."""


Happening = Opened | Answered | Changed | Fetching | Lost


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
        """What can be sent of what was kept and `data`: whole samples. The rest is kept, three bytes at most."""
        if self._carry:
            data = self._carry + data
        cut = len(data) - len(data) % _ALIGNED
        self._carry = bytes(data[cut:])
        return data[:cut] if self._carry else data

    def flush(self) -> bytes:
        """What was kept, cut to whole samples."""
        cut = len(self._carry) - len(self._carry) % self._sample_bytes
        data, self._carry = self._carry[:cut], self._carry[cut:]
        return data

    def drop_carry(self) -> None:
        """Forget what was kept."""
        self._carry = b""

    def check(self) -> None:
        """Raise the RequestError with which the daemon refused this session's audio, if it did."""
        if self.refused is not None:
            self._refusal_told = True
            raise RequestError(self.refused.code, self.refused.message)

    def check_once(self) -> None:
        """Like `check`, unless somebody was told before."""
        if not self._refusal_told:
            self.check()


class ClientCore:
    """A connection with its requests and sessions.

    Args:
        framing: the transport's.
        client: name and version of the program, for the daemon's log.
        token: what proves who this is, where the daemon wants that.
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
        """The first bytes to send."""
        return self._connection.send(self._hello)

    def check(self) -> None:
        """Raise why the connection is over, if it is: ConnectionLost, or RequestError for a refused hello."""
        if self._failure is not None:
            raise self._failure()

    @property
    def lost(self) -> bool:
        """Whether the connection is over."""
        return self._failure is not None

    def lose(self, reason: str) -> list[Happening]:
        """The transport is gone; `reason` is one sentence."""
        return self._fail(lambda: ConnectionLost(reason))

    def request(self, request: Request[R]) -> tuple[int, bytes]:
        """Number a request; returns its id and the bytes to send.

        Raises:
            ConnectionLost: there is no connection any more.
            LocalProtocolError: it is too large, or the handshake is not done.
        """
        self.check()
        number = self._next_id
        data = self._connection.send(msgspec.structs.replace(request, id=number))
        self._next_id += 1
        self._requests[number] = request
        return number, data

    def abandon(self, number: int) -> None:
        """Nobody waits for this answer any more: what it brings is dropped."""
        self._requests.pop(number, None)

    def attached(self, session: str) -> Attachment | None:
        """The session as the newest answer to create_session or attach left it."""
        return self._attached.get(session)

    def forget(self, session: str) -> None:
        """Drop what still comes about a session."""
        attachment = self._attached.pop(session, None)
        if attachment is not None:
            attachment.detached = True

    def audio(self, attachment: Attachment, data: memoryview) -> tuple[int, bytes] | None:
        """One message with the beginning of `data`, which starts at a sample.

        Returns: how many bytes it takes, and the bytes to send; None if there is no room for it now.

        Raises:
            ConnectionLost: there is no connection any more.
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

    def receive(self, data: bytes) -> list[Happening]:
        """Take bytes from the daemon; returns what happened, in order."""
        happened: list[Happening] = []
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not NEED_DATA:
                if not isinstance(event, Malformed):  # a server's word, never a client's
                    happened += self._route(event)
        except RemoteProtocolError as error:
            reason = f"The daemon broke the contract: {error}"
            happened += self._fail(lambda: ConnectionLost(reason))
        return happened

    # --- routing ------------------------------------------------------------------------------------------

    def _route(self, message: Message) -> list[Happening]:
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
            case Event():
                return self._event(message)
        return []

    def _event(self, event: Event) -> list[Happening]:
        attachment = self._attached.get(event.session)
        if attachment is None:
            return []
        if isinstance(event, AudioAck) and attachment.window is not None:
            attachment.window.granted(event.offset, event.credit)
        attachment.feed.put(event)
        return [Changed(attachment)]

    def _done(self, reply: Reply) -> list[Happening]:
        request = self._requests.pop(reply.id, None)
        match request, reply:
            case CreateSession(), CreateSessionReply(session=session):
                if session not in self._attached:  # the same key again gets the same session
                    self._attached[session] = Attachment(
                        session,
                        Feed(session),
                        SendWindow(0, reply.credit),
                        _SAMPLE_BYTES.get(request.audio.encoding, 1) if request.kind == "live" else 1,
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

    def _refused(self, error: Error) -> list[Happening]:
        happened: list[Happening] = []
        if error.id is not None:
            self._requests.pop(error.id, None)
            happened.append(Answered(error.id, RequestError(error.code, error.message)))
        elif error.session is not None:
            attachment = self._attached.get(error.session)
            if attachment is not None:
                attachment.refused = attachment.refused or error
                happened.append(Changed(attachment))
        if self._connection.phase is Phase.CLOSED:
            if self.welcome is None:
                happened += self._fail(lambda: RequestError(error.code, error.message))
            else:
                reason = f"The daemon closed the connection: {error.message} ({error.code})"
                happened += self._fail(lambda: ConnectionLost(reason))
        return happened

    def _fail(self, failure: Callable[[], ConvoError]) -> list[Happening]:
        if self._failure is not None:
            return []
        self._failure = failure
        self._connection.close()
        return [Lost()]

    def _piece_bytes(self) -> int:
        limit = self.welcome.limits.message_bytes if self.welcome is not None else 0
        size = min(limit - _ENVELOPE_BYTES, PIECE_BYTES)
        return max(size - size % _ALIGNED, _ALIGNED)
