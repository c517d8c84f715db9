"""The full-text index in PostgreSQL: tsvectors, as `sql.Index` wants them.

What a word is, SQLite's own tokenizer says (in memory, `Tokenizer`), so that both stores find the same: PostgreSQL's
parsers take apart addresses and numbers, and with the locale C neither they nor pg_trgm know a letter beyond ASCII.
Each text has a word for its owner and one for its age, so that the index, not a look at each text, says what is whose,
and which are the newest.
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

BLOCK: Final = 16_384
"""So many texts, stored one after the other, have a word for their place among all (`id` divided by this). With it the
newest are found by the index alone: those with two common words in the last twentieth of 4 million texts in a
fourth of the time. By their ids they would be found in another index, and each in the list of all with these words.
"""

BLOCKS: Final = 64
"""More blocks than this are too many words to look for at once: each takes its time for each text that may fit."""

FEW: Final = 8
"""Among so many of the newest blocks, what is asked for is looked for first, before it is among all texts."""

AGE: Final = "\x02"
"""Begins the word for a text's place; no other word has it."""


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
        words, trigrams = self.vectors(owner, text)
        connection.execute(
            'INSERT INTO lines (id, session, source, segment, start, "end", text, words, trigrams) '
            f"SELECT id, ?, ?, ?, ?, ?, ?, CAST(? AS tsvector) || {_age()}, CAST(? AS tsvector) "
            "FROM (SELECT coalesce(CAST(? AS BIGINT), nextval(pg_get_serial_sequence('lines', 'id')))) AS new (id)",
            (session, source, segment, start, end, text, words, trigrams, id),
        )

    def correct(self, connection: Connection, session: str, segment: int, text: str) -> None:
        """Index a segment with another text."""
        (owner,) = connection.execute("SELECT owner FROM sessions WHERE id = ?", (session,)).fetchone()
        connection.execute(
            f"UPDATE lines SET text = ?, words = CAST(? AS tsvector) || {_age()}, trigrams = CAST(? AS tsvector) "
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
        last = last_id(connection)
        if oldest is None or scope.limit * last > COMMON * (last - oldest + 1):
            plain = len(parts) == 1 and "<->" not in query and not phrases[0].prefix
            blocks = BLOCKS if plain else FEW  # where one word is looked up best, PostgreSQL knows
            while 2 * blocks * BLOCK < last and blocks < BLOCKS:
                some, values = _among(max(0, last // BLOCK - blocks) * BLOCK, last)
                lines = f"(SELECT * FROM lines WHERE {some}) AS lines"
                found = _newest(connection, "words", query, scope, lines=lines, first=values)
                if len(found) == scope.limit:
                    return found
                if blocks > FEW:
                    break
                # So many should have as many as are wanted; if it is too many, there are not many in all.
                blocks = 2 * FEW * scope.limit // max(1, len(found))
            return _newest(connection, "words", query, scope)
        # The index knows no places. It tells which texts have all words, and those must be read: the newest first, for
        # most often these will do. Left to itself, PostgreSQL takes what is rare for common.
        words = query.replace("<->", "&")  # no word has such a sign

        def read(since: int, to: int, limit: int) -> list[Line]:
            some, values = _among(since, to) if since else ("id + 0 <= ?", [to])
            lines = f"(SELECT * FROM lines WHERE words @@ CAST(? AS tsquery) AND {some} ORDER BY id DESC OFFSET 0)"
            most = scope._replace(limit=limit)
            return _newest(connection, "words", query, most, lines=f"{lines} AS lines", first=[words, *values])

        since = last - READ * (last - oldest + 1)
        if since < last * 3 // 4:
            since = 0  # there are not many more
        found = read(since, last, scope.limit)
        if since and (missing := scope.limit - len(found)) > 0:
            found += read(0, since - 1, missing)
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
        among, values = _among(since, last_id(connection))
        sql = f"SELECT id FROM lines WHERE words @@ CAST(? AS tsquery) AND {among} ORDER BY id DESC LIMIT 1 OFFSET ?"
        return connection.execute(sql, (part, *values, number - 1)).fetchone() is not None

    def _part(self, phrase: Phrase) -> str | None:
        """A phrase as a part of a tsquery; None if it has no word."""
        words = [_quoted(word) for word in self._tokenizer.words(phrase.text)]
        return f"({' <-> '.join(words)}{':*' if phrase.prefix else ''})" if words else None


def _age() -> str:
    """SQL: the word for the place of a text, of its column `id`."""
    return f"array_to_tsvector(ARRAY[chr({ord(AGE)}) || (id / {BLOCK})])"


def _among(since: int, to: int) -> tuple[str, list[object]]:
    """SQL and its values: the text's `id` is one of these."""
    first, last = max(0, since) // BLOCK, to // BLOCK
    if last - first >= BLOCKS:
        return "id BETWEEN ? AND ?", [since, to]
    # A condition of its own: then the index goes from one text that fits to the next, and past all others.
    ages = " | ".join(_quoted(f"{AGE}{block}") for block in range(first, last + 1))
    return "words @@ CAST(? AS tsquery) AND id + 0 BETWEEN ? AND ?", [ages, since, to]  # `+ 0`: in no other index


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
