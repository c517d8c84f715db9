"""What the SQL of sessions asks of a database, be it SQLite or PostgreSQL: statements that both of them take.

`?` stands for a value in each. Rows are tuples, with the columns in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol, TypeVar

from convod.store.base import LeaseLost, Leases, StoreFailed
from convod.store.readers import Deadline

T = TypeVar("T")


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows that it changed."""

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any:
        """Return the next row, None after the last."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""


class Connection(Protocol):
    """One to a database; within a write a transaction is open."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run a statement."""


class Phrase(NamedTuple):
    """Words that stand side by side; `prefix`: the last of them is the beginning of a word."""

    text: str
    prefix: bool = False


class Said(NamedTuple):
    """Who must have said what is found: a speaker of this number, or one whose folded name begins with these words."""

    number: int | None
    folded: str

    @property
    def values(self) -> tuple[int | None, int, str]:
        """For `SAID_BY`."""
        return self.number, len(self.folded) + 1, f"{self.folded} "


IS_SAID: Final = "({speaker} = CAST(? AS INTEGER) OR substr({folded} || ' ', 1, CAST(? AS INTEGER)) = ?)"
"""SQL with the values of a `Said`: whether a speaker is the one that is meant."""

SAID_BY: Final = (
    "EXISTS (SELECT 1 FROM annotations AS known LEFT JOIN speakers AS named "
    "ON named.session = known.session AND named.speaker = known.speaker "
    "WHERE known.session = lines.session AND known.segment = lines.segment "
    f"AND {IS_SAID.format(speaker='known.speaker', folded='named.folded')})"
)
"""SQL with the values of a `Said`: whether that speaker said a line."""


class Scope(NamedTuple):
    """Whose texts are searched (everybody's if `owner` is None), summaries too or not, how many are wanted, and who
    must have said them.
    """

    owner: str | None
    summaries: bool
    limit: int
    said: Said | None = None

    @property
    def narrowed(self) -> tuple[str, tuple[int | str | None, ...]]:
        """SQL that ends a condition, and its values."""
        return ("", ()) if self.said is None else (f" AND {SAID_BY}", self.said.values)


class Line(NamedTuple):
    """A text that was found, and the title of its session."""

    id: int
    session: str
    source: Literal["segment", "summary"]
    segment: int
    start: float
    end: float
    text: str
    title: str


class Index(Protocol):
    """A full-text index. A phrase is text as `search.spaced` returns it; the newest texts come first."""

    def add(
        self,
        connection: Connection,
        session: str,
        source: str,
        segment: int,
        start: float,
        end: float,
        text: str,
        id: int | None = None,
    ) -> None:
        """Index a text, under a new `id` unless one is given."""

    def correct(self, connection: Connection, session: str, segment: int, text: str) -> None:
        """Index a segment with another text, in its place among the others."""

    def renumber(self, connection: Connection) -> None:
        """Make new ids follow those that were given."""

    def remove(self, connection: Connection, session: str, source: str | None = None) -> None:
        """Take a session's texts out of the index: those of a source if it is given."""

    def newest(
        self,
        connection: Connection,
        phrases: Sequence[Phrase],
        scope: Scope,
        among: Sequence[int] = (),
        oldest: int | None = None,
    ) -> list[Line]:
        """Texts with all phrases, of those with an `id` among these if any are given. `oldest`: as many texts as are
        wanted, from this one on, have all the words, wherever they stand.
        """

    def newest_with(self, connection: Connection, words: Sequence[str], scope: Scope) -> list[Line]:
        """Texts that hold all words, of three characters and more in scripts without spaces, anywhere."""

    def has(self, connection: Connection, phrase: Phrase, number: int, since: int) -> bool:
        """Whether so many texts with an `id` from `since` on have a phrase."""


class SqlLeases(Leases, Protocol):
    """Leases, and what is written about them with a session."""

    def lost(self, connection: Connection, session: str) -> LeaseLost:
        """Return the error for who wrote a session that this convod does not hold."""

    def tell(self, connection: Connection, session: str = "", seq: int = 0) -> None:
        """Tell other convods of a change, if it is committed."""

    def note_removed(self, connection: Connection, session: str) -> None:
        """Note that a session is deleted whose audio is in another folder."""


class SqlDatabase(Protocol):
    """A database of sessions; every call may raise StoreFailed."""

    DIFFERS: ClassVar[str]
    """The operator that is true of values which differ, NULL or not."""

    trouble: str | None

    @property
    def leases(self) -> SqlLeases | None:
        """Who may write which session; None where nobody shares it."""

    @property
    def index(self) -> Index:
        """Its full-text index."""

    async def write(self, work: Callable[[Any], T], *, durable: bool = False) -> T:
        """Run `work` in a transaction and return once it is committed."""

    async def read(self, work: Callable[[Any], T]) -> T:
        """Run `work`, which must be short."""

    async def read_long(
        self, work: Callable[[Any, Deadline], T], *, who: str = "", within_s: float = float("inf")
    ) -> T:
        """Run `work` beside all others."""

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was committed so far."""

    async def size(self) -> int:
        """Bytes that all of it takes."""

    async def scrub(self, most_s: float) -> None:
        """Rid the files of what was deleted, for at most that long; the rest is done by another call."""


def chore(connection: Connection) -> Any:
    """The note that something was deleted and is not scrubbed yet; None if there is none."""
    return connection.execute("SELECT 1 FROM chores WHERE name = 'scrub'").fetchone()


def note_chore(connection: Connection) -> None:
    """Note that something was deleted."""
    connection.execute("INSERT INTO chores VALUES ('scrub') ON CONFLICT DO NOTHING")


MOVING: Final = "moving"
"""The note in a database that is being filled from another one: where that is."""


def check_whole(connection: Connection, name: str) -> None:
    """Raise StoreFailed for half a copy."""
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (MOVING,)).fetchone()
    if row is not None:
        raise StoreFailed(f"{name} is half a copy of {row[0]}; run the same `convod migrate-store` again to finish it")


def migrations(folder: str) -> list[str]:
    """The scripts of a folder here, in order: the first makes version 1, and so on."""
    files = [file for file in Path(__file__).with_name(folder).iterdir() if file.name[0].isdigit()]
    return [file.read_text() for file in sorted(files, key=lambda file: file.name)]


def without_nul(value: Any) -> Any:
    """Return a value as PostgreSQL stores it: no text there has a NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
