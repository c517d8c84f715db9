"""What the rest of the daemon knows of the store: a session's record, and the calls it can make.

The implementation is `sessions.SessionStore`, over SQLite or PostgreSQL; any other that keeps these promises will do.
Each call that changes something is one transaction, and has been committed when it returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from convo.messages import (
    Bookmark,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Hit,
    Label,
    Segment,
    SessionInfo,
    State,
    StoredSummary,
    Summary,
    SummaryEvent,
    SummaryOptions,
)


class StoreFailed(Exception):
    """The store refused a write, or cannot be opened; the text says why and what to do."""


class StoreAway(StoreFailed):
    """The store cannot be reached now; it may be back in a moment, and what it holds is safe."""


class TookTooLong(Exception):
    """A search took longer than the `seconds` it may take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it was not found within {seconds:g} s")
        self.seconds = seconds


class TooMany(Exception):
    """The owner has reached the limit of stored sessions."""


class Record(msgspec.Struct, kw_only=True):
    """A session as it is stored.

    `audio_bytes`: bytes of audio that were received; `kept_bytes`: those on disk when the session was last saved.
    `checkpoint_sample` and `checkpoint_utterance`: transcription goes on from there after a restart. `heard_language`:
    the detected language, once it is certain. `digest`: SHA-256 of a file's bytes in hexadecimal, once it is uploaded.
    `asked`: summaries that were requested beside the session's own and are not written yet.
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
        )


class Store(Protocol):
    """Sessions, their events, and the search over them. Every call may raise StoreFailed."""

    async def create(self, record: Record, *, durable: bool = False, most: int = 0) -> Record:
        """Store a new session; if its owner has one with the same key, that one is returned instead. If `durable`, this
        survives a power cut.

        Raises:
            TooMany: the owner has `most` sessions (0: any number).
        """

    async def save(self, record: Record, events: Sequence[DurableEvent] = (), *, durable: bool = False) -> None:
        """Store a session's changed fields together with new events; their `seq` are the next ones. If `durable`, this
        and all that was stored before survives a power cut.
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

    async def unfinished(self) -> list[Record]:
        """Sessions that are in no final state, oldest first."""

    async def asked(self) -> list[Record]:
        """Return sessions with requested summaries that are not written yet, oldest first."""

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

    async def events(self, session: str, after: int, limit: int) -> list[DurableEvent]:
        """Stored events with `seq` above `after`, oldest first."""

    async def segments(self, session: str, after: int = -1, limit: int = 1 << 30) -> list[Segment]:
        """Transcript segments numbered above `after`, in order."""

    async def summary(self, session: str) -> Summary | None:
        """The newest final summary, None before there is one."""

    async def summaries(
        self, session: str, kind: type[SummaryEvent] = FinalSummary, *, before: int | None = None, limit: int = 1
    ) -> list[StoredSummary]:
        """Summaries of one kind, newest first, those with `seq` below `before`."""

    async def marks(self, session: str) -> list[Bookmark]:
        """What was marked in a session, in the order of the times."""

    async def labels(self, session: str) -> dict[int, Label]:
        """The newest label of each segment that has one, by its number."""

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

    async def paused(self) -> set[str]:
        """Owners whose files are not worked on."""

    async def pause(self, owner: str, paused: bool) -> None:
        """Remember whether an owner's files are worked on."""

    async def note(self, name: str) -> str | None:
        """What was noted under a name, None if nothing was."""

    async def set_note(self, name: str, value: str) -> None:
        """Note something, in place of what was noted under that name before."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written; None as long as no write has failed."""

    async def probe(self) -> None:
        """Check whether writes succeed again, and note it in `trouble`."""

    async def size(self) -> int:
        """Bytes that all of it takes, without what could be used again."""

    async def tidy(self) -> None:
        """Finish what `delete` left for later; may be cancelled, and called again."""
