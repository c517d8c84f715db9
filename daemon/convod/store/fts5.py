"""The full-text index in SQLite: FTS5, as `sql.Index` wants it.

Both of its tables hold no text of their own: words for all scripts, of those without spaces each character is one, and
trigrams of texts in such scripts alone, where three characters in a row are much rarer than each of them.

What is read for a query grows with the store in one place only, where all words are common and seldom side by side: to
know that, both their lists are read to the end, 6 ms for a million segments. Looking at the newest alone would be
faster for ten million and more, and would put what stands as it was asked for behind what does not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from convo.messages import ActionItem, FinalSummary
from convod.store.search import spaced, summary_text, unspaced
from convod.store.sql import Connection, Line, Phrase, Scope, note_chore

PAGES: Final = 200
"""Pages of the index that are merged at a time: some milliseconds, while others wait to write."""


def _summary_text_of(body: bytes) -> str:
    fields = msgspec.msgpack.decode(body)
    names = ("title", "summary", "key_points", "keywords")
    fields = {name: fields.get(name, [] if name != "title" else "") for name in names} | {
        "action_items": msgspec.convert(fields.get("action_items", []), list[ActionItem])
    }
    return summary_text(FinalSummary(session="", seq=0, provider="", model="", language="", **fields))


def _labels_of(body: bytes) -> str:
    fields = msgspec.msgpack.decode(body)
    labels = fields.get("labels", [fields])
    return msgspec.json.encode([(label["segment"], label["speaker"]) for label in labels]).decode()


FUNCTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "spaced": spaced,
    "unspaced": unspaced,
    "summary_text": _summary_text_of,
    "labels": _labels_of,
}
"""SQL functions that migrations use, each of one argument."""


class Fts5:
    """The index; it keeps nothing itself."""

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
        (row,) = connection.execute(
            'INSERT INTO lines (id, session, source, segment, start, "end", text) VALUES (?, ?, ?, ?, ?, ?, ?) '
            "RETURNING id",
            (id, session, source, segment, start, end, text),
        ).fetchone()
        _insert(connection, row, text)

    def correct(self, connection: Connection, session: str, segment: int, text: str) -> None:
        """Index a segment with another text."""
        row = connection.execute(
            "SELECT id, text FROM lines WHERE session = ? AND source = 'segment' AND segment = ?", (session, segment)
        ).fetchone()
        if row is not None:
            _delete(connection, *row)
            connection.execute("UPDATE lines SET text = ? WHERE id = ?", (text, row[0]))
            _insert(connection, row[0], text)
            note_chore(connection)

    def renumber(self, connection: Connection) -> None:
        """A new id is one more than the highest, by itself."""

    def remove(self, connection: Connection, session: str, source: str | None = None) -> None:
        """Take texts out of the index; `scrub` must follow before they are gone from the file."""
        values: list[Any]
        where, values = "session = ?", [session]
        if source is not None:
            where, values = f"{where} AND source = ?", [*values, source]
        rows = connection.execute(f"SELECT id, text FROM lines WHERE {where}", values).fetchall()
        for row, text in rows:
            _delete(connection, row, text)
        connection.execute(f"DELETE FROM lines WHERE {where}", values)
        if rows:
            note_chore(connection)

    def scrub(self, connection: sqlite3.Connection, *, begin: bool) -> bool:
        """A piece of work on what removed texts left in the index; True when nothing of them is left.

        FTS5 only notes that a text is gone, until the parts of its index are merged. `begin`: merge all of them, not
        what is left of an earlier merge.
        """
        before = connection.total_changes
        for table in ("words", "trigrams"):
            connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', {-PAGES if begin else PAGES})")
        # Two changes are those of the two commands: nothing was merged (FTS5, "The 'merge' command").
        done = not begin and connection.total_changes - before <= 4
        if done:
            connection.execute("DELETE FROM chores WHERE name = 'scrub'")
        return done

    def newest(
        self,
        connection: Connection,
        phrases: Sequence[Phrase],
        scope: Scope,
        among: Sequence[int] = (),
        oldest: int | None = None,
    ) -> list[Line]:
        """Texts with all phrases, of those with an `id` among these if any are given; `oldest` does not matter here."""
        match = " AND ".join(_quoted(phrase.text) + ("*" if phrase.prefix else "") for phrase in phrases)
        # No others have all the words.
        return _newest(connection, "words", match, scope, min(among, default=0))

    def newest_with(self, connection: Connection, words: Sequence[str], scope: Scope) -> list[Line]:
        """Texts that hold all words anywhere."""
        return _newest(connection, "trigrams", " AND ".join(map(_quoted, words)), scope)

    def has(self, connection: Connection, phrase: Phrase, number: int, since: int) -> bool:
        """Whether so many texts with an `id` from `since` on have a phrase."""
        sql = "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? ORDER BY rowid DESC LIMIT 1 OFFSET ?"
        return connection.execute(sql, (_quoted(phrase.text), since, number - 1)).fetchone() is not None


def _insert(connection: Connection, row: int, text: str) -> None:
    connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, spaced(text)))
    if unspaced(text):
        connection.execute("INSERT INTO trigrams (rowid, text) VALUES (?, ?)", (row, text))


def _delete(connection: Connection, row: int, text: str) -> None:
    connection.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (row, spaced(text)))
    if unspaced(text):
        connection.execute("INSERT INTO trigrams (trigrams, rowid, text) VALUES ('delete', ?, ?)", (row, text))


def _newest(connection: Connection, table: str, match: str, scope: Scope, since: int = 0) -> list[Line]:
    narrowed, said = scope.narrowed
    rows = connection.execute(
        'SELECT lines.id, lines.session, source, segment, start, lines."end", lines.text, title '
        f"FROM {table} JOIN lines ON lines.id = {table}.rowid JOIN sessions ON sessions.id = lines.session "
        f"WHERE {table} MATCH ? AND {table}.rowid >= ? AND (? IS NULL OR owner = ?) AND (? OR source = 'segment')"
        f"{narrowed} ORDER BY {table}.rowid DESC LIMIT ?",
        (match, since, scope.owner, scope.owner, scope.summaries, *said, scope.limit),
    )
    return [Line(*row) for row in rows]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
