"""The full-text index in PostgreSQL: tsvectors, as `sql.Index` wants them.

What a word is, SQLite's own tokenizer says (in memory, `Tokenizer`), so that both stores find the same: PostgreSQL's
parsers take apart addresses and numbers, and with the locale C neither they nor pg_trgm know a letter beyond ASCII.
Each text has a word for its owner, so that the index, not a look at each text, says what is whose.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from convod.store.search import COMMON, last_id, spaced, unspaced
from convod.store.sql import Connection, Line, Phrase, Scope, note_chore

LONGEST: Final = 1000
"""Bytes of a word that count; PostgreSQL takes 2046."""

LAST: Final = 16_383
"""The last position that PostgreSQL tells from others; words behind it stand at this one."""

MOST: Final = 800_000
"""Bytes of words that are kept of a text; PostgreSQL takes 1 MiB with all that it adds."""

EACH: Final = 255
"""Most positions of a word that PostgreSQL keeps."""

READ: Final = 30
"""So many times as many texts as are wanted are read for words side by side, before all others are: words that are
drawn at random stand side by side in one of 23 texts that have both.
"""

OWNER: Final = "\x01"
"""Begins the word for a text's owner; no other word has it."""


class Tokenizer:
    """SQLite's tokenizer `unicode61 remove_diacritics 2`, from any thread."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    def words(self, text: str) -> list[str]:
        """Return the words of a text, folded, in order."""
        with self._turn:
            if self._memory is None:
                self._memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
                self._memory.execute(
                    "CREATE VIRTUAL TABLE texts USING fts5 (text, content = '', "
                    "tokenize = 'unicode61 remove_diacritics 2')"
                )
                self._memory.execute("CREATE VIRTUAL TABLE words USING fts5vocab (texts, instance)")
            self._memory.execute("INSERT INTO texts (rowid, text) VALUES (1, ?)", (text,))
            try:
                return [term for (term,) in self._memory.execute("SELECT term FROM words ORDER BY offset")]
            finally:
                self._memory.execute("INSERT INTO texts (texts) VALUES ('delete-all')")


class TsVectors:
    """The index; it keeps nothing itself."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer()

    def vectors(self, owner: str, text: str) -> tuple[str, str | None]:
        """The columns `words` and `trigrams` of a text."""
        words = [OWNER + owner, *self._tokenizer.words(spaced(text))]
        return _vector(words), _vector(trigrams(text)) if unspaced(text) else None

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
        """Index a text."""
        (owner,) = connection.execute("SELECT owner FROM sessions WHERE id = ?", (session,)).fetchone()
        values = (session, source, segment, start, end, text, *self.vectors(owner, text))
        names = 'session, source, segment, start, "end", text, words, trigrams'
        places = "?, ?, ?, ?, ?, ?, CAST(? AS tsvector), CAST(? AS tsvector)"
        if id is None:
            connection.execute(f"INSERT INTO lines ({names}) VALUES ({places})", values)
        else:
            connection.execute(f"INSERT INTO lines (id, {names}) VALUES (?, {places})", (id, *values))

    def correct(self, connection: Connection, session: str, segment: int, text: str) -> None:
        """Index a segment with another text."""
        (owner,) = connection.execute("SELECT owner FROM sessions WHERE id = ?", (session,)).fetchone()
        connection.execute(
            "UPDATE lines SET text = ?, words = CAST(? AS tsvector), trigrams = CAST(? AS tsvector) "
            "WHERE session = ? AND source = 'segment' AND segment = ?",
            (text, *self.vectors(owner, text), session, segment),
        )
        note_chore(connection)

    def renumber(self, connection: Connection) -> None:
        """Make new ids follow those that were given."""
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('lines', 'id'), coalesce(max(id), 0) + 1, false) FROM lines"
        )

    def remove(self, connection: Connection, session: str, source: str | None = None) -> None:
        """Take texts out of the index; VACUUM must follow before they are gone from its pages."""
        gone = connection.execute(
            "DELETE FROM lines WHERE session = ? AND (CAST(? AS TEXT) IS NULL OR source = ?)",
            (session, source, source),
        ).rowcount
        if gone:
            note_chore(connection)

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
        parts = [part for phrase in phrases if (part := self._part(phrase)) is not None]
        if not parts:
            return []
        whose = [] if scope.owner is None or _owns_most(connection, scope.owner) else [_quoted(OWNER + scope.owner)]
        query = " & ".join([*parts, *whose])
        if among:
            return _newest(connection, "words", query, scope, "lines.id = ANY(?)", [list(among)])
        last = 0 if oldest is None else last_id(connection)
        if oldest is None or scope.limit * last > COMMON * (last - oldest + 1):
            return _newest(connection, "words", query, scope)
        # The index knows no places. It tells which texts have all words, and those must be read: the newest first, for
        # most often these will do. Left to itself, PostgreSQL takes what is rare for common.
        words = query.replace("<->", "&")  # no word has such a sign
        lines = (
            "(SELECT * FROM lines WHERE words @@ CAST(? AS tsquery) AND id BETWEEN ? AND ? ORDER BY id DESC OFFSET 0) "
            "AS lines"
        )
        since = max(0, last - READ * (last - oldest + 1))
        found = _newest(connection, "words", query, scope, lines=lines, first=[words, since, last])
        if since and (missing := scope.limit - len(found)) > 0:
            rest = scope._replace(limit=missing)
            found += _newest(connection, "words", query, rest, lines=lines, first=[words, 0, since - 1])
        return found

    def newest_with(self, connection: Connection, words: Sequence[str], scope: Scope) -> list[Line]:
        """Texts that hold all words anywhere."""
        wanted = dict.fromkeys(piece for word in words for piece in trigrams(word))
        # Those that have all pieces of a word need not have them side by side.
        there = " AND ".join(["position(? IN text) > 0"] * len(words))
        return _newest(connection, "trigrams", " & ".join(map(_quoted, wanted)), scope, there, words)

    def has(self, connection: Connection, phrase: Phrase, number: int, since: int) -> bool:
        """Whether so many texts with an `id` from `since` on have a phrase."""
        part = self._part(phrase)
        if part is None:
            return False
        sql = "SELECT id FROM lines WHERE words @@ CAST(? AS tsquery) AND id >= ? ORDER BY id DESC LIMIT 1 OFFSET ?"
        return connection.execute(sql, (part, since, number - 1)).fetchone() is not None

    def _part(self, phrase: Phrase) -> str | None:
        """A phrase as a part of a tsquery; None if it has no word."""
        words = [_quoted(word) for word in self._tokenizer.words(phrase.text)]
        return f"({' <-> '.join(words)}{':*' if phrase.prefix else ''})" if words else None


def _owns_most(connection: Connection, owner: str) -> bool:
    """Whether most sessions are an owner's, as far as the statistics tell. The word for that owner is no help then: the
    index would be read through for it.
    """
    return bool(
        connection.execute(
            "SELECT 1 FROM pg_stats, unnest(CAST(CAST(most_common_vals AS TEXT) AS TEXT[]), most_common_freqs) "
            "AS common (value, share) WHERE schemaname = current_schema() AND tablename = 'sessions' "
            "AND attname = 'owner' AND value = ? AND share > 0.5",
            (owner,),
        ).fetchone()
    )


def trigrams(text: str) -> Iterator[str]:
    """Each three characters in a row."""
    return (text[at : at + 3] for at in range(len(text) - 2))


def _newest(
    connection: Connection,
    column: str,
    query: str,
    scope: Scope,
    more: str = "TRUE",
    values: Sequence[object] = (),
    lines: str = "lines",
    first: Sequence[object] = (),
) -> list[Line]:
    """The newest of some `lines` (SQL with the values `first`) that fit a query and `more` (with `values`)."""
    narrowed, said = scope.narrowed
    rows = connection.execute(
        'SELECT lines.id, lines.session, source, segment, start, lines."end", lines.text, title '
        f"FROM {lines} JOIN sessions ON sessions.id = lines.session "
        f"WHERE {column} @@ CAST(? AS tsquery) AND (CAST(? AS TEXT) IS NULL OR owner = ?) "
        f"AND (CAST(? AS BOOLEAN) OR source = 'segment') AND {more}{narrowed} ORDER BY lines.id DESC LIMIT ?",
        (*first, query, scope.owner, scope.owner, scope.summaries, *values, *said, scope.limit),
    )
    return [Line(*row) for row in rows]


def _vector(words: Iterable[str]) -> str:
    """Words in order as a tsvector's text."""
    places: dict[str, list[int]] = {}
    room = MOST
    for place, word in enumerate(words, 1):
        if word not in places and (room := room - 4 * len(word)) < 0:
            break
        at = places.setdefault(word, [])
        if len(at) < EACH:
            at.append(min(place, LAST))
    return " ".join(f"{_quoted(word)}:{','.join(map(str, at))}" for word, at in places.items())


def _quoted(word: str) -> str:
    clean = word.encode()[:LONGEST].decode(errors="ignore")
    return "'" + clean.replace("\\", "\\\\").replace("'", "''") + "'"
