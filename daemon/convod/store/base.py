"""What the rest of the daemon knows of the store: a session's record, and the calls it can make.

The implementation is `sessions.SessionStore`, over SQLite or PostgreSQL; any other that keeps these promises will do.
Each call that changes something is one transaction, and has been committed when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from convo.messages import (
    Bookmark,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Hit,
    Segment,
    SessionInfo,
    State,
    StoredSummary,
    Summary,
    SummaryEvent,
    SummaryOptions,
)
from convod.auto_reset_event import AutoResetEvent

E = TypeVar("E", bound=DurableEvent)

Failure = tuple[str | None, str | None]
"""Why a session failed: code and sentence, each None if it did not, or nothing is known of it."""

BY_USER: Final = "user"
"""In events: it was not the daemon that said so."""


class StoreFailed(Exception):
    """The store refused a write, or cannot be opened; the text says why and what to do."""


class StoreAway(StoreFailed):
    """The store cannot be reached now; it may be back in a moment, and what it holds is safe."""


class InDoubt(StoreAway):
    """The store was lost as it committed: what was written may be stored, or not."""


class AlreadyStored(Exception):
    """What an earlier write was in doubt about is stored; nothing else was written."""


class LeaseLost(StoreFailed):
    """Another convod works on the session: nothing was written, and nothing of it may be written here."""


class TookTooLong(Exception):
    """A search took longer than the `seconds` it may take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it was not found within {seconds:g} s")
        self.seconds = seconds


class TooMany(Exception):
    """The owner has reached the limit of stored sessions."""


class Refining(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session is heard again by `model`, where its confidence is lower than `below`.

    `done`: windows that were heard; `heard_s`: seconds of speech in them; `corrected`: segments that read otherwise for
    it. `idle`: nobody asked for it, and it waits until the machine has nothing else to do.
    """

    model: str
    below: float
    idle: bool = False
    done: int = 0
    heard_s: float = 0.0
    corrected: int = 0


class Record(msgspec.Struct, kw_only=True):
    """A session as it is stored.

    `audio_bytes`: bytes of audio that were received; `kept_bytes`: those on disk when the session was last saved.
    `checkpoint_sample` and `checkpoint_utterance`: transcription goes on from there after a restart. `heard_language`:
    the language that was asked for, or else the detected one, once it is certain. `digest`: SHA-256 of a file's bytes
    in hexadecimal, once it is uploaded. `asked`: summaries that were requested beside the session's own and are not
    written yet. `refining`: how far the session is heard again, while it is.
    """

    id: str
    owner: str
    kind: Literal["live", "file"]
    title: str
    state: State
    created: float
    config: CreateSession
    key: str | None = None
    duration_s: float = 0.0
    ended: bool = False
    audio_bytes: int = 0
    kept_bytes: int = 0
    seq: int = 0
    segments: int = 0
    checkpoint_sample: int = 0
    checkpoint_utterance: int = 0
    heard_language: str | None = None
    digest: str | None = None
    asked: list[SummaryOptions] = msgspec.field(default_factory=list)
    refining: Refining | None = None

    @property
    def info(self) -> SessionInfo:
        """The session as a list shows it."""
        return SessionInfo(
            session=self.id,
            kind=self.kind,
            title=self.title,
            state=self.state,
            created=self.created,
            duration_s=round(self.duration_s, 3),
            language=self.heard_language,
        )


class Member(NamedTuple):
    """A convod among others: ids of its state directory and of its folder of audio, for how long a lease holds, and
    what errors call it.
    """

    home: str
    spool: str
    lease_s: float = 30.0
    name: str = ""


class Holder(NamedTuple):
    """Another convod, which works on a session; or, with `has_audio`, has the audio of one that nobody works on."""

    epoch: int
    name: str
    alive: bool
    has_audio: bool = False

    def __str__(self) -> str:
        return f"the convod on {self.name}" if self.name else "another convod"

    @property
    def sentence(self) -> str:
        """What to do where this one is needed."""
        if self.has_audio:
            todo = "; ask that one" if self.alive else ", but has stopped; start it"
            return f"{self} has the audio of this session{todo}"
        if self.alive:
            return f"{self} works on this session; send its audio there, or try again in a moment"
        return f"{self} works on this session, but has stopped; try again in a moment, when another one continues it"


class Held(NamedTuple):
    """A session that is not over, or has requested summaries, and who holds it. `epoch` 0: nobody."""

    session: str
    epoch: int
    spool: str
    home: str
    alive: bool
    final: bool
    transcribed: bool


class Note(NamedTuple):
    """What another convod changed: a session, up to an event (-1: it was deleted); or "" for whose queue is paused."""

    session: str
    seq: int


class Delivery(NamedTuple):
    """An end of a session that hooks must tell of: its event, since when (Unix seconds), and by which convod.

    `ours`: that was an earlier start of this one.
    """

    session: str
    seq: int
    since: float
    epoch: int = 0
    ours: bool = True


class Asked(NamedTuple):
    """A request that a client of another convod makes of this one."""

    id: int
    session: str
    body: bytes


class Asking(NamedTuple):
    """What became of a request to another convod so far.

    `taken`: that one has begun, or may have. `answer`: what it said; empty if it does not work on the session any more,
    and has done nothing. `alive`: whether that convod is.
    """

    taken: bool
    answer: bytes | None
    alive: bool


class Requests(Protocol):
    """Requests between convods that share a store. Every call may raise StoreFailed."""

    async def holder(self, session: str, owner: str | None, *, audio: bool = False) -> Holder | None:
        """Return the other convod that works on a session of the owner (anybody's if None); with `audio`, if none does,
        one that has its audio, which is not here. None: this convod may do what is asked.
        """

    async def ask(self, session: str, epoch: int, body: bytes) -> int | None:
        """Make a request of a convod; None if the session was deleted."""

    def answered(self, id: int) -> AbstractContextManager[AutoResetEvent]:
        """An event that is set when there may be an answer."""

    async def look(self, id: int) -> Asking | None:
        """Return what became of a request; None if it is gone."""

    async def withdraw(self, id: int) -> Asking | None:
        """Take a request back, and return what had become of it; None if it is gone."""

    async def wait_asked(self) -> None:
        """Wait until this convod may have been asked for something."""

    async def take(self, most: int) -> list[Asked]:
        """Take some requests made of this convod, oldest first; each is taken once."""

    async def answer(self, id: int, answer: bytes) -> None:
        """Answer a request; empty: it was not done, and belongs elsewhere."""


class Leases(Protocol):
    """Who may write which session, where several convods share a store. Every call may raise StoreFailed."""

    member: Member

    @property
    def requests(self) -> Requests:
        """What it asks others, and they it."""

    @property
    def epoch(self) -> int:
        """This convod's: a new one at each start."""

    @property
    def joins(self) -> int:
        """How often this convod has connected."""

    @property
    def valid(self) -> bool:
        """Whether no other convod can have taken this one for dead."""

    async def beat(self) -> Callable[[], None]:
        """Show that this convod is alive.

        Call what is returned once the sessions that were lost meanwhile are stopped: the leases of the others hold.
        """

    async def lease(self, session: str) -> Record | None:
        """Let this convod write a session; return it as it is stored, None if there is no such session.

        One that is over, and of which no summary is being written, may be written by any convod in turn.

        Raises:
            LeaseLost: another convod works on it.
        """

    async def take_over(self, held: Held) -> Record | None:
        """Lease a session from a convod that is dead; None if it came back, or another one was first."""

    async def of_others(self) -> list[Held]:
        """Return sessions that others hold, or nobody, and on which there is something to do."""

    async def left_deliveries(self) -> list[Delivery]:
        """Return what hooks of convods that are dead have not told."""

    async def take_delivery(self, delivery: Delivery) -> bool:
        """Have hooks of this convod tell it; False if its convod came back, or another one was first."""

    async def positions(self, sessions: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return the newest event of each session that is stored, and the epoch that it is leased to."""

    async def kept(self) -> dict[str, int]:
        """Sessions whose audio is noted in this convod's folder, or in none, and its bytes; none that others hold."""

    async def removed(self) -> list[str]:
        """Return sessions that were deleted and whose audio is in this convod's folder."""

    async def forget_removed(self, session: str) -> None:
        """Note that the audio of a deleted session is gone."""

    async def listen(self, began: Callable[[], None], heard: Callable[[Note], None]) -> None:
        """Call `heard` with what other convods change, and `began` whenever that may be incomplete; until cancelled."""


class SpeakerNames(msgspec.Struct, frozen=True, kw_only=True):
    """The speakers of a session.

    `speaking`: those who say something now, in order. `names`: what some are called. `merged`: who some were found to
    be. `fixed`: segments whose speaker a user set.
    """

    speaking: list[int]
    names: dict[int, str]
    merged: dict[int, int]
    fixed: set[int]


class StoredVoice(msgspec.Struct, frozen=True, kw_only=True):
    """A voice that its owner asked to be remembered: a sum of embeddings by `model`, as little-endian 32-bit floats."""

    name: str
    model: str
    created: float
    seconds: float
    vector: bytes


class Store(Protocol):
    """Sessions, their events, and the search over them. Every call may raise StoreFailed."""

    @property
    def leases(self) -> Leases | None:
        """Who may write which session; None where this convod is the only one."""

    async def create(self, record: Record, *, durable: bool = False, most: int = 0) -> Record:
        """Store a new session; if its owner has one with the same key, that one is returned instead. If `durable`, this
        survives a power cut.

        Raises:
            TooMany: the owner has `most` sessions (0: any number).
        """

    async def save(
        self,
        record: Record,
        events: Sequence[DurableEvent] = (),
        *,
        durable: bool = False,
        in_doubt: Sequence[DurableEvent] = (),
        deliver: int = 0,
    ) -> None:
        """Store a session's changed fields together with new events; their `seq` are the next ones. If `durable`, this
        and all that was stored before survives a power cut. `in_doubt`: events that may be stored by an earlier write.
        `deliver`: the `seq` of the one that hooks must tell of, if any.

        Raises:
            AlreadyStored: they are.
            InDoubt: nobody knows whether these are.
            LeaseLost: it is not leased to this convod.
        """

    async def delete(self, session: str) -> None:
        """Forget a session, its events and its words: nothing of them is found, or left in a file, afterwards. A power
        cut does not bring them back.
        """

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was stored so far, by this process or an earlier one."""

    async def get(self, session: str) -> Record | None:
        """Return a session, None if there is none with that id."""

    async def owner(self, session: str) -> str | None:
        """Return the owner of a session, even of a damaged one; None if there is no such session."""

    async def keyed(self, owner: str, key: str) -> Record | None:
        """The owner's session with that key, None if there is none."""

    async def unfinished(self, owner: str | None = None) -> list[Record]:
        """Sessions that are in no final state, of an owner or of all, oldest first."""

    async def asked(self) -> list[Record]:
        """Return sessions of which something was requested that is not done, oldest first."""

    async def finished(
        self, *, owner: str | None = None, before: float | None = None, limit: int = 100
    ) -> list[Record]:
        """Sessions in a final state, of an owner or of all, created before that time, oldest first."""

    async def kept(self) -> dict[str, int]:
        """Sessions that have audio, as of when each was last saved, and the bytes of it."""

    async def set_kept(self, sizes: Mapping[str, int]) -> None:
        """Correct the bytes of audio that sessions have."""

    async def used(self, owner: str | None = None, *, final: bool = False) -> dict[str, int]:
        """Bytes of text and of kept audio that the sessions of an owner, or of each, take; `final`: those in a final
        state alone.
        """

    async def newest(
        self,
        owner: str | None,
        *,
        state: State | None = None,
        kind: str | None = None,
        before: float | None = None,
        prefix: str | None = None,
        limit: int = 100,
    ) -> list[SessionInfo]:
        """An owner's sessions, newest first; everybody's if that is None."""

    async def failure(self, session: str) -> Failure:
        """Why a session failed."""

    async def events(self, session: str, after: int, limit: int) -> list[DurableEvent]:
        """Stored events with `seq` above `after`, oldest first."""

    async def segments(self, session: str, after: int = -1, limit: int = 1 << 30) -> list[Segment]:
        """Transcript segments numbered above `after`, in order, as they read now and by whom."""

    async def summary(self, session: str) -> Summary | None:
        """The newest final summary, None before there is one."""

    async def summaries(
        self, session: str, kind: type[SummaryEvent] = FinalSummary, *, before: int | None = None, limit: int = 1
    ) -> list[StoredSummary]:
        """Summaries of one kind, newest first, those with `seq` below `before`."""

    async def marks(self, session: str) -> list[Bookmark]:
        """What was marked in a session, in the order of the times."""

    async def speakers(self, session: str) -> SpeakerNames:
        """The speakers of a session, and what was said of them."""

    async def said_by(self, session: str, speaker: int) -> set[int]:
        """The segments that a speaker says, by their newest labels."""

    async def of_kind(self, session: str, kind: type[E]) -> list[E]:
        """All events of one kind, other than segments, oldest first."""

    async def count(self, session: str, kind: type[DurableEvent]) -> int:
        """How many events of one kind there are, other than segments."""

    async def search(
        self,
        owner: str | None,
        query: str,
        limit: int,
        *,
        summaries: bool = False,
        within_s: float = float("inf"),
        who: str | None = None,
    ) -> list[Hit]:
        """What the owner's sessions (everybody's if None) and, if wanted, their summaries say with these words.

        Best first. No other call waits for it, but another search of `who` (the owner if None).

        Raises:
            TookTooLong: not all that must be read for it could be read within `within_s` seconds.
        """

    async def voices(self, owner: str) -> list[StoredVoice]:
        """The voices that an owner asked to be remembered, by name."""

    async def put_voice(self, owner: str, voice: StoredVoice, most: int) -> None:
        """Remember a voice, in place of the one of that name.

        Raises:
            TooMany: the owner has `most` others.
        """

    async def delete_voice(self, owner: str, name: str) -> bool:
        """Forget a voice, as `delete` does a session; return whether there was one."""

    async def paused(self) -> set[str]:
        """Owners whose files are not worked on."""

    async def pause(self, owner: str, paused: bool) -> None:
        """Remember whether an owner's files are worked on."""

    async def note(self, name: str) -> str | None:
        """What was noted under a name, None if nothing was."""

    async def set_note(self, name: str, value: str) -> None:
        """Note something, in place of what was noted under that name before."""

    async def deliveries(self) -> list[Delivery]:
        """What hooks of this convod must still tell, oldest first."""

    async def must_deliver(self, session: str, seq: int) -> bool:
        """Whether hooks of this convod must still tell of that event."""

    async def delivered(self, session: str, seq: int) -> None:
        """Note that hooks need not tell of that event any more."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written; None as long as no write has failed."""

    async def probe(self) -> None:
        """Check whether writes succeed again, and note it in `trouble`."""

    async def size(self) -> int:
        """Bytes that all of it takes, without what could be used again."""

    async def tidy(self) -> None:
        """Finish what `delete` left for later; may be cancelled, and called again."""
