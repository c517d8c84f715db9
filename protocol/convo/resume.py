"""How a stream survives its connections: what to open, what to send, what was seen, when to try again.

In: audio of the application, events and answers of the daemon, the time. Out: the next step, as a value. This module
connects to nothing, sends nothing and reads no clock; `convo.link` and `convo.streaming` do that around it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from .errors import ConvoError, RemoteProtocolError, RequestError, SessionCutShort
from .messages import Code, DurableEvent, Event

FIRST_PAUSE_S = 0.1
"""Before the next try to connect; doubles with each up to the next."""

LONGEST_PAUSE_S = 2.0


class LinkPhase(Enum):
    """The state of a connection that reconnects."""

    CONNECTING = auto()
    UP = auto()
    LOST = auto()
    ABSENT = auto()  # there has never been one: no daemon answers
    REFUSED = auto()  # given up


@dataclass(frozen=True, slots=True)
class LinkState:
    """`error` is why there is no connection, None while there is; `server` is the daemon's name and version."""

    phase: LinkPhase
    error: Exception | None = field(default=None, compare=False)
    server: str = ""

    @property
    def up(self) -> bool:
        """Whether requests are answered now."""
        return self.phase is LinkPhase.UP


class UnackedBuffer:
    """The end of a stream that the daemon may not have stored yet, by its place in the stream.

    Holds as much as the daemon's credit allows, and what was added since.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._start = 0
        self._end = 0

    @property
    def end(self) -> int:
        """Bytes of the stream so far."""
        return self._end

    def skip(self, size: int) -> None:
        """Shift the stream behind its first `size` bytes, which someone else sent; there was no acknowledgement yet."""
        self._start += size
        self._end += size

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return self._end - self._start

    def add(self, data: bytes) -> None:
        """Append audio."""
        self._pieces.append(data)
        self._end += len(data)

    def acknowledge(self, offset: int) -> None:
        """Drop whole pieces of the first `offset` bytes, which the daemon has stored."""
        while self._pieces and self._start + len(self._pieces[0]) <= offset:
            self._start += len(self._pieces.popleft())

    def after(self, offset: int) -> bytes:
        """Return everything from byte `offset` of the stream on.

        Raises:
            RemoteProtocolError: it was dropped, because the daemon had said that it was stored.
        """
        if offset < self._start:
            raise RemoteProtocolError(Code.BAD_AUDIO, "The daemon lost audio that it had stored: look into its log.")
        wanted: deque[bytes] = deque()
        start = self._end
        for piece in reversed(self._pieces):
            if start <= offset:
                break
            wanted.appendleft(piece)
            start -= len(piece)
        return b"".join(wanted)[max(0, offset - start) :]


@dataclass(frozen=True)
class Create:
    """Create the session."""


@dataclass(frozen=True)
class Reattach:
    """Attach to the session, behind the last event that was seen."""

    session: str
    after_seq: int
    produce: bool


@dataclass(frozen=True)
class Send:
    """Send audio."""

    data: bytes


@dataclass(frozen=True)
class End:
    """Tell the daemon that no more audio comes."""


class ResumableSession:
    """A session whose audio we send, over any number of connections.

    On each connection: do what `opening` says and call `opened`; then do what `next_step` says and call `sent` or
    `end_answered`, until it returns None, and again after each change.

    Args:
        session: an existing one, whose audio continues where the daemon has it; without it, one is created.
        after_seq: number of its last stored event that is known.
    """

    def __init__(self, session: str = "", after_seq: int = 0) -> None:
        self.session = session
        self.buffer = UnackedBuffer()
        self._joining = bool(session)
        self.seq = after_seq
        """Number of the last stored event that was seen."""
        self.ended = False
        """Whether the daemon knows that no more audio comes."""
        self.failure: ConvoError | None = None
        """Why the daemon does not have all of the audio."""
        self._at = 0  # the byte of the stream that is sent next
        self._finished = False
        self._stopped = False

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return 0 if self._stopped or self.ended else self.buffer.end - self._at

    def add(self, data: bytes) -> None:
        """Take audio of the application."""
        self.buffer.add(data)

    def finish(self) -> None:
        """Take note that no more audio comes."""
        self._finished = True

    # --- the connection -----------------------------------------------------------------------------------

    def opening(self) -> Create | Reattach:
        """Return how to get to the session on a new connection."""
        if not self.session:
            return Create()
        return Reattach(self.session, self.seq, produce=not self.ended)

    def opened(self, session: str, audio_offset: int = 0, *, ended: bool = False) -> None:
        """Take the daemon's answer.

        Args:
            session: its id.
            audio_offset: bytes of the stream that the daemon has.
            ended: it takes no more.

        Raises:
            RemoteProtocolError: the daemon lost audio that it had acknowledged.
        """
        self.session = session
        self._at = audio_offset
        joined, self._joining = self._joining, False
        if joined:
            self.buffer.skip(audio_offset)
        if ended and not self.ended:
            # The end may have arrived just before the connection broke; or the daemon stopped waiting.
            self.ended = True
            if audio_offset < self.buffer.end or not (self._finished or joined):
                self.failure = self.failure or SessionCutShort(
                    "The connection was broken for too long: the daemon ended the session without the rest."
                )
        if not self.ended:
            self.buffer.after(audio_offset)

    def next_step(self) -> Send | End | None:
        """Return what to send now; None while there is nothing."""
        if self.ended:
            return None
        if self.unsent:
            return Send(self.buffer.after(self._at))
        return End() if self._finished or self._stopped else None

    def sent(self, size: int, stored: int) -> None:
        """Take note that `size` bytes were sent, and that the daemon has stored the first `stored` of the stream."""
        self._at += size
        self.buffer.acknowledge(stored)

    def refused(self, error: RequestError) -> None:
        """Take note that the daemon takes no more audio: only the end is still sent."""
        self.failure = self.failure or error
        self._stopped = True

    def end_answered(self) -> None:
        """Take note that the daemon knows that no more audio comes."""
        self.ended = True

    def take(self, event: Event) -> bool:
        """Return whether an event is new: stored ones may come twice after attaching again."""
        if not isinstance(event, DurableEvent):
            return True
        new = event.seq > self.seq
        self.seq = max(self.seq, event.seq)
        return new


class Backoff:
    """When to try to connect again.

    Args:
        patience_s: seconds that a daemon may be away before it is given up; the first connection must succeed at once.
            None tries for ever.
    """

    def __init__(self, patience_s: float | None) -> None:
        self.patience_s = patience_s
        self._was_up = False
        self._until: float | None = None
        self._pause = FIRST_PAUSE_S

    def connected(self) -> None:
        """Take note that there is a connection."""
        self._was_up = True
        self._until = None
        self._pause = FIRST_PAUSE_S

    def hurry(self) -> None:
        """Start with short pauses again."""
        self._pause = FIRST_PAUSE_S

    def pause(self, now: float, error: Exception | None) -> float | None:
        """Return the seconds to wait before the next try; None to give up.

        Args:
            now: seconds on any monotonic clock.
            error: why there is no connection; None if an established one broke.
        """
        refused = isinstance(error, ValueError) or (isinstance(error, RequestError) and error.code != Code.BUSY)
        if error is not None and (refused or self._out_of_patience(now)):
            return None
        if self._until is None and self.patience_s is not None:
            self._until = now + self.patience_s
        pause = self._pause
        self._pause = min(LONGEST_PAUSE_S, pause * 2)
        return pause

    def _out_of_patience(self, now: float) -> bool:
        if self.patience_s is None:
            return False
        return not self._was_up or (self._until is not None and now > self._until)
