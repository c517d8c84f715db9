"""Limits of texts that clients send and the daemon keeps, in characters; SPEC.md has the same table."""

from __future__ import annotations

from typing import Final

from convo.messages import Code, CreateSession, SummaryOptions
from convo.transcript import one_line
from convo.vocabulary import LONGEST_TEXT
from convod.sessions.session import Refused

TITLE: Final = 200
"""Longer titles are cut."""

LONGEST: Final = {
    "key": 200,
    "language": 100,
    "model": 1000,
    "audio.name": 1000,
    "audio.encoding": 100,
    "audio.container": 100,
    "summary.provider": 100,
    "summary.model": 200,
    "summary.style": 100,
    "summary.language": 100,
    "prompt": 10_000,
    "hotwords": 10_000,
    "query": 1000,
    "text": LONGEST_TEXT,
}
"""By the field's name; longer ones are refused. A model may be named by its directory."""

CORRECTIONS: Final = 20_000
"""Most corrections of one session."""

QUERY_WORDS: Final = 32
"""Most words of a query: each is looked up, and looked for in all that is found."""


def cut_line(text: str, most: int = TITLE) -> str:
    """Return the text as one line that a terminal can show, of at most `most` characters.

    Cut first, and generously: cleaning megabytes would hold up every connection.
    """
    return one_line(text[: 8 * most])[:most].rstrip()


def check_text(name: str, text: str | None) -> None:
    """Raise Refused for a text that is too long for its field."""
    if text is not None and len(text) > (most := LONGEST[name]):
        raise Refused(Code.BAD_REQUEST, f"{name} has {len(text)} characters; send at most {most}")


def check_lengths(request: CreateSession) -> None:
    """Raise Refused for a request with a text that is too long."""
    for name in ("key", "language", "model", "prompt", "hotwords"):
        check_text(name, getattr(request, name))
    for code in request.languages or ():
        check_text("language", code)
    for name in ("name", "encoding", "container"):
        check_text(f"audio.{name}", getattr(request.audio, name))
    check_summary_lengths(request.summary)


def check_summary_lengths(options: SummaryOptions) -> None:
    """Raise Refused for options with a text that is too long."""
    for name in ("provider", "model", "style", "language"):
        check_text(f"summary.{name}", getattr(options, name))


def check_query(query: str) -> None:
    """Raise Refused for a query that has no words, too many, or is too long."""
    check_text("query", query)
    words = len(query.split())
    if not words:
        raise Refused(Code.BAD_REQUEST, "query must hold at least one word")
    if words > QUERY_WORDS:
        raise Refused(Code.BAD_REQUEST, f"query has {words} words; send at most {QUERY_WORDS}")
