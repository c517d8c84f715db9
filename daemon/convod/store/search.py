"""The full-text index over what was said and what was summarised.

In: texts on their way into the store, queries. Out: what to ask an index for, and `Hit`s. Everything here runs in the
database's threads. A query's words are looked for as they stand, then anywhere in the same text, then as beginnings of
words; each time the newest come first, and no more are read than are asked for, so a common word costs no more than a
rare one. An index (`sql.Index`) has words for all scripts, and trigrams for those that put no spaces between words,
where a word cannot be told from its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import takewhile
from typing import Final

from convo.messages import FinalSummary, Hit
from convod.store.sql import IS_SAID, Connection, Index, Line, Phrase, Said, Scope

SNIPPET: Final = 160
"""Characters of a snippet."""

BEFORE: Final = 50
"""Characters of a snippet before what was found."""

LOOKED_AT: Final = 8192
"""Characters of a text in which a snippet's place is looked for: a very long one shows its beginning."""

PREFIX: Final = 3
"""Fewer characters than this are not looked up as a prefix: too many words begin with them."""

COMMON: Final = 50_000
"""Beside other words, one of more texts than this is no beginning of longer ones: SQLite's FTS5 would copy the list of
all these texts first, 0.1 ms a thousand, to find the few more.
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


def folded_name(name: str) -> str:
    """A speaker's name as it is compared, without case and accents."""
    return _fold(" ".join(name.split()))


_SPEAKER: Final = re.compile(r'(?:^|(?<=\s))speaker:(?:"([^"]*)"|(\S*))', re.IGNORECASE)


def speaker_in(query: str) -> tuple[str, Said | None]:
    """A query without `speaker:NAME` or `speaker:"A NAME"`, and who that is; the last one counts."""
    found = None
    for found in _SPEAKER.finditer(query):  # noqa: B007
        pass
    if found is None:
        return query, None
    name = folded_name(found[1] if found[1] is not None else found[2])
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else None
    return _SPEAKER.sub(" ", query), Said(number, name)


def find(
    index: Index,
    connection: Connection,
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
    query, said = speaker_in(query.replace("\0", " "))  # SQLite takes a NUL for the end of a text
    words = query.split()
    if said is not None and not said.folded:
        return []
    if said is not None and not words:
        return list(_hits(_said_by(connection, owner, said, limit), [], check))
    # Characters that are neither letters nor digits are in no index; a word of nothing else finds nothing.
    tokens = [spaced(word) for word in words]
    if not tokens or not all(any(char.isalnum() for char in token) for token in tokens):
        return []

    each = list(dict.fromkeys(tokens))  # the same word again would be looked up again
    scope = Scope(owner, summaries and said is None, limit, said)  # nobody said a summary

    def newest(phrases: Sequence[Phrase], among: Sequence[int] = (), oldest: int | None = None) -> dict[int, Line]:
        check()
        return {line.id: line for line in index.newest(connection, phrases, scope, among, oldest)}

    if all(_unspaced().fullmatch(char) for word in words for char in word) and min(map(len, words)) >= 3:
        return list(_hits(index.newest_with(connection, list(dict.fromkeys(words)), scope), words, check))
    found = newest([Phrase(token) for token in each])
    if len(tokens) > 1 and found:
        # All that have them as they stand are among those, or there may be older ones.
        where = {"among": list(found)} if len(found) < limit else {"oldest": min(found)}
        found = newest([Phrase(" ".join(tokens))], **where) | found
    if len(found) < limit:
        long = {token for word, token in zip(words, tokens, strict=True) if len(word) >= PREFIX or unspaced(word)}
        begins = []
        for token in each:
            check()
            may = token in long and (len(each) == 1 or not _is_common(index, connection, token))
            begins.append(Phrase(token, prefix=may))
        if any(phrase.prefix for phrase in begins):
            found = found | newest(begins)
    return list(_hits(list(found.values())[:limit], words, check))


def _said_by(connection: Connection, owner: str | None, said: Said, limit: int) -> list[Line]:
    """The newest that somebody said in an owner's talks."""
    rows = connection.execute(
        'SELECT lines.id, lines.session, source, lines.segment, start, lines."end", lines.text, title '
        "FROM sessions JOIN annotations AS said ON said.session = sessions.id "
        "LEFT JOIN speakers AS named ON named.session = said.session AND named.speaker = said.speaker "
        "JOIN lines ON lines.session = said.session AND source = 'segment' AND lines.segment = said.segment "
        "WHERE (CAST(? AS TEXT) IS NULL OR owner = ?) "
        f"AND {IS_SAID.format(speaker='said.speaker', folded='named.folded')} "
        "AND lines.text <> '' ORDER BY lines.id DESC LIMIT ?",
        (owner, owner, *said.values, limit),
    )
    return [Line(*row) for row in rows]


def _is_common(index: Index, connection: Connection, token: str) -> bool:
    """Whether more than `COMMON` texts have a word, as far as the newest that have it tell."""
    last = last_id(connection)
    # Of all texts, COMMON have it if SAMPLE of this part have it.
    return index.has(connection, Phrase(token), SAMPLE, last - (SAMPLE * last - 1) // COMMON + 1)


def last_id(connection: Connection) -> int:
    """The `id` of the newest text, 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM lines").fetchone()[0])


# --- snippets ---------------------------------------------------------------------------------------------


def _hits(lines: Iterable[Line], words: Sequence[str], check: Callable[[], None]) -> Iterator[Hit]:
    patterns = _patterns(words)
    for line in lines:
        check()
        snippet, marks = _snip(line.text, patterns)
        yield Hit(
            session=line.session,
            segment=line.segment,
            start=line.start,
            end=line.end,
            text=line.text,
            source=line.source,
            title=line.title,
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
