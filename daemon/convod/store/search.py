"""The full-text index over what was said and what was summarised.

In: texts on their way into the store, queries. Out: rows of the index and `Hit`s. Everything here runs in the
database's threads. Two indexes without text of their own serve it: words for all scripts, and trigrams for those that
put no spaces between words, where a word cannot be told from its neighbours. A query's words are looked for as they
stand, then anywhere in the same text, then as beginnings of words; each time the newest come first, and no more are
read than are asked for, so a common word costs no more than a rare one.

What is read for a query grows with the store in one place only, where all words are common and seldom side by side: to
know that, both their lists are read to the end, 6 ms for a million segments. Looking at the newest alone would be
faster for ten million and more, and would put what stands as it was asked for behind what does not.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any, Final

import msgspec

from convo.messages import ActionItem, FinalSummary, Hit

SNIPPET: Final = 160
"""Characters of a snippet."""

BEFORE: Final = 50
"""Characters of a snippet before what was found."""

LOOKED_AT: Final = 8192
"""Characters of a text in which a snippet's place is looked for: a very long one shows its beginning."""

PREFIX: Final = 3
"""Fewer characters than this are not looked up as a prefix: too many words begin with them."""

COMMON: Final = 50_000
"""Beside other words, one of more texts than this is no beginning of longer ones: FTS5 would copy the list of all these
texts first, 0.1 ms a thousand, to find the few more.
"""

SAMPLE: Final = 1000
"""So many of the newest texts with a word tell how common it is."""

# Kana, Han, Thai, Lao, Burmese, Khmer, and what may stand above or below their letters.
_UNSPACED: Final = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


@cache  # compiled with the first text: such wide ranges take a while, which the start can do without
def _unspaced() -> re.Pattern[str]:
    return re.compile(_UNSPACED)


def spaced(text: str) -> str:
    """Text as the index of words takes it: a space around each character of a script that has none.

    What is deleted from the index must be what was inserted: a change here needs a migration that builds it anew.
    """
    pattern = _unspaced()
    if pattern.search(text) is None:
        return text
    pieces = []
    for char in text:
        if unicodedata.category(char).startswith("M"):
            pieces.append(char)
        elif pattern.match(char):
            pieces += (" ", char)
        else:
            pieces += (" ", char) if pieces and pattern.match(pieces[-1]) else (char,)
    return "".join(pieces)


def unspaced(text: str) -> bool:
    """Whether text has characters of a script without spaces."""
    return _unspaced().search(text) is not None


def summary_text(summary: FinalSummary) -> str:
    """All that a summary says, a line each."""
    items = [" ".join(filter(None, (item.text, item.owner, item.due))) for item in summary.action_items]
    parts = [summary.title, summary.summary, *summary.key_points, *items, ", ".join(summary.keywords)]
    return "\n".join(part for part in parts if part)


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


def folded_name(name: str) -> str:
    """A speaker's name as it is compared, without case and accents."""
    return _fold(" ".join(name.split()))


_SPEAKER: Final = re.compile(r'(?:^|(?<=\s))speaker:(?:"([^"]*)"|(\S*))', re.IGNORECASE)

_SAID_BY: Final = (
    "EXISTS (SELECT 1 FROM annotations AS known LEFT JOIN speakers AS named "
    "ON named.session = known.session AND named.speaker = known.speaker "
    "WHERE known.session = lines.session AND known.segment = lines.segment "
    "AND (known.speaker = ? OR substr(named.folded || ' ', 1, ?) = ?))"
)
"""SQL: a line's speaker has that number, or a name that begins with these words."""


class _Speaker(msgspec.Struct, frozen=True):
    """Who must have said what is found."""

    number: int | None
    folded: str

    @property
    def values(self) -> tuple[int | None, int, str]:
        """For `_SAID_BY`."""
        return self.number, len(self.folded) + 1, f"{self.folded} "


def speaker_in(query: str) -> tuple[str, _Speaker | None]:
    """A query without `speaker:NAME` or `speaker:"A NAME"`, and who that is; the last one counts."""
    found = None
    for found in _SPEAKER.finditer(query):  # noqa: B007
        pass
    if found is None:
        return query, None
    name = folded_name(found[1] if found[1] is not None else found[2])
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else None
    return _SPEAKER.sub(" ", query), _Speaker(number, name)


def add(
    connection: sqlite3.Connection, session: str, source: str, segment: int, start: float, end: float, text: str
) -> None:
    """Index a text."""
    row = connection.execute(
        'INSERT INTO lines (session, source, segment, start, "end", text) VALUES (?, ?, ?, ?, ?, ?)',
        (session, source, segment, start, end, text),
    ).lastrowid
    _insert(connection, row, text)


def correct(connection: sqlite3.Connection, session: str, segment: int, text: str) -> None:
    """Index a segment with another text, in its place among the others."""
    row = connection.execute(
        "SELECT id, text FROM lines WHERE session = ? AND source = 'segment' AND segment = ?", (session, segment)
    ).fetchone()
    if row is not None:
        _delete(connection, *row)
        connection.execute("UPDATE lines SET text = ? WHERE id = ?", (text, row[0]))
        _insert(connection, row[0], text)


def _insert(connection: sqlite3.Connection, row: int | None, text: str) -> None:
    connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (row, spaced(text)))
    if unspaced(text):
        connection.execute("INSERT INTO trigrams (rowid, text) VALUES (?, ?)", (row, text))


def _delete(connection: sqlite3.Connection, row: int, text: str) -> None:
    connection.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (row, spaced(text)))
    if unspaced(text):
        connection.execute("INSERT INTO trigrams (trigrams, rowid, text) VALUES ('delete', ?, ?)", (row, text))


def remove(connection: sqlite3.Connection, session: str, source: str | None = None) -> None:
    """Take a session's texts out of the index; `scrub` must follow before they are gone from the file."""
    where, values = ("session = ?", (session,)) if source is None else ("session = ? AND source = ?", (session, source))
    rows = connection.execute(f"SELECT id, text FROM lines WHERE {where}", values).fetchall()
    for row, text in rows:
        _delete(connection, row, text)
    connection.execute(f"DELETE FROM lines WHERE {where}", values)
    if rows:
        connection.execute("INSERT OR IGNORE INTO chores VALUES ('scrub')")


def scrub(connection: sqlite3.Connection, *, begin: bool) -> bool:
    """A piece of work on what removed texts left in the index; True when nothing of them is left.

    FTS5 only notes that a text is gone, until the parts of its index are merged. `begin`: merge all of them, not what
    is left of an earlier merge.
    """
    before = connection.total_changes
    for table in ("words", "trigrams"):
        connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', {-PAGES if begin else PAGES})")
    # Two changes are those of the two commands: nothing was merged (FTS5, "The 'merge' command").
    done = not begin and connection.total_changes - before <= 4
    if done:
        connection.execute("DELETE FROM chores WHERE name = 'scrub'")
    return done


PAGES: Final = 200
"""Pages of the index that are merged at a time: some milliseconds, while others wait to write."""


def find(
    connection: sqlite3.Connection,
    owner: str | None,
    query: str,
    limit: int,
    *,
    summaries: bool,
    check: Callable[[], None] = lambda: None,
) -> list[Hit]:
    """What an owner's talks said (everybody's if None), and their summaries if wanted, with all words of a query.

    Best first: the words as they stand, then the words anywhere, then beginnings of words; each time the newest first.
    `speaker:NAME` in a query asks for what somebody said whose number this is, or whose name begins so. `check` is
    called between steps, and may raise to end it.
    """
    query, speaker = speaker_in(query.replace("\0", " "))  # SQLite takes a NUL for the end of a text
    words = query.split()
    if speaker is not None and not speaker.folded:
        return []
    if speaker is not None and not words:
        return list(_hits(_said_by(connection, owner, speaker, limit), [], check))
    # Characters that are neither letters nor digits are in no index; a word of nothing else finds nothing.
    tokens = [spaced(word) for word in words]
    if not tokens or not all(any(char.isalnum() for char in token) for token in tokens):
        return []

    summaries = summaries and speaker is None  # which nobody said
    narrowed = "" if speaker is None else f"AND {_SAID_BY} "
    each = list(dict.fromkeys(tokens))  # the same word again would be looked up again

    def newest(match: str, table: str = "words", since: int = 0) -> dict[int, sqlite3.Row]:
        rows = connection.execute(
            'SELECT lines.id, lines.session, source, segment, start, lines."end", lines.text, title '
            f"FROM {table} JOIN lines ON lines.id = {table}.rowid JOIN sessions ON sessions.id = lines.session "
            f"WHERE {table} MATCH ? AND {table}.rowid >= ? AND (? IS NULL OR owner = ?) AND (? OR source = 'segment') "
            f"{narrowed}ORDER BY {table}.rowid DESC LIMIT ?",
            (match, since, owner, owner, summaries, *(() if speaker is None else speaker.values), limit),
        )
        return {row["id"]: row for row in rows}

    if all(_unspaced().fullmatch(char) for word in words for char in word) and min(map(len, words)) >= 3:
        rows = newest(" AND ".join(map(_quoted, dict.fromkeys(words))), "trigrams").values()
        return list(_hits(rows, words, check))
    found = newest(" AND ".join(map(_quoted, each)))
    if len(tokens) > 1 and found:
        # All that have them as they stand are among those, or there may be older ones.
        found = newest(_quoted(" ".join(tokens)), since=min(found) if len(found) < limit else 0) | found
    if len(found) < limit:
        long = {token for word, token in zip(words, tokens, strict=True) if len(word) >= PREFIX or unspaced(word)}
        begins = []
        for token in each:
            check()
            may = token in long and (len(each) == 1 or not _is_common(connection, token))
            begins.append(_quoted(token) + ("*" if may else ""))
        if any(part.endswith("*") for part in begins):
            found = found | newest(" AND ".join(begins))
    return list(_hits(list(found.values())[:limit], words, check))


def _said_by(connection: sqlite3.Connection, owner: str | None, speaker: _Speaker, limit: int) -> Iterable[sqlite3.Row]:
    """The newest that somebody said in an owner's talks."""
    return connection.execute(
        'SELECT lines.id, lines.session, source, lines.segment, start, lines."end", lines.text, title '
        "FROM sessions JOIN annotations AS said ON said.session = sessions.id "
        "LEFT JOIN speakers AS named ON named.session = said.session AND named.speaker = said.speaker "
        "JOIN lines ON lines.session = said.session AND source = 'segment' AND lines.segment = said.segment "
        "WHERE (? IS NULL OR owner = ?) AND (said.speaker = ? OR substr(named.folded || ' ', 1, ?) = ?) "
        "AND lines.text <> '' ORDER BY lines.id DESC LIMIT ?",
        (owner, owner, *speaker.values, limit),
    )


def _is_common(connection: sqlite3.Connection, token: str) -> bool:
    """Whether more than `COMMON` texts have a word, as far as the newest that have it tell."""
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM lines").fetchone()
    row = connection.execute(
        "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET ?", (_quoted(token), SAMPLE - 1)
    ).fetchone()
    return row is not None and SAMPLE * last > COMMON * (last - row[0] + 1)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


# --- snippets ---------------------------------------------------------------------------------------------


def _hits(rows: Iterable[sqlite3.Row], words: Sequence[str], check: Callable[[], None]) -> Iterator[Hit]:
    patterns = _patterns(words)
    for row in rows:
        check()
        snippet, marks = _snip(row["text"], patterns)
        yield Hit(
            session=row["session"],
            segment=row["segment"],
            start=row["start"],
            end=row["end"],
            text=row["text"],
            source=row["source"],
            title=row["title"],
            snippet=snippet,
            marks=marks,
        )


def snip(text: str, words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The part of a text around the first of some words, and where they are in it, as [from, to)."""
    return _snip(text, _patterns(words))


def _snip(text: str, patterns: Sequence[re.Pattern[str]]) -> tuple[str, list[tuple[int, int]]]:
    folded = _fold(text[:LOOKED_AT])
    # Only the first place of each word, and those in the snippet: a text may have thousands.
    firsts = [found.start() for pattern in patterns if (found := pattern.search(folded)) is not None]
    begin = 0
    if firsts and len(text) > SNIPPET:
        first = min(firsts)
        begin = max(0, min(first - BEFORE, len(text) - SNIPPET))
        if begin:  # at a word, if one begins soon
            space = text.find(" ", begin, first)
            begin = space + 1 if space >= 0 else begin
    end = min(len(text), begin + SNIPPET)
    head, tail = "…" if begin else "", "…" if end < len(text) else ""
    places = sorted(
        (found.start(), min(found.end(), end))
        for pattern in patterns
        for found in takewhile(lambda found: found.start() < end, pattern.finditer(folded, begin))
    )
    marks = [(first - begin + len(head), last - begin + len(head)) for first, last in places]
    return head + text[begin:end] + tail, _joined(marks)


def _patterns(words: Sequence[str]) -> list[re.Pattern[str]]:
    """For each word, where it begins in a folded text; one of a script without spaces may stand anywhere."""
    patterns = []
    for word in dict.fromkeys(map(_fold, words)):
        start = "" if unspaced(word[:1]) else r"(?<!\w)" if word[:1].isalnum() else ""
        patterns.append(re.compile(start + re.escape(word)))
    return patterns


def _fold(text: str) -> str:
    """A text without case and accents: always as many characters, so that places stay what they are."""
    return text.lower() if text.isascii() else "".join(map(_fold_one, text))


@lru_cache(1024)
def _fold_one(char: str) -> str:
    return unicodedata.normalize("NFD", char)[:1].casefold()[:1]


def _joined(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in marks:
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
