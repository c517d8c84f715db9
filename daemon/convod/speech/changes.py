"""Find where an utterance changes its language or its speaker. In: its words so far. Out: the first change. Sans-IO."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import attrgetter

import msgspec

from convod.speech.decoding import TimedWord


class LanguageChange(msgspec.Struct, frozen=True):
    """From second `at` of a window on, `seconds` of `language` are spoken."""

    at: float
    seconds: float
    language: str


def language_change(words: Sequence[TimedWord]) -> LanguageChange | None:
    """Return the first change of language in a window, or None."""
    passages = [list(some) for _, some in groupby(words, key=attrgetter("language"))]
    if len(passages) < 2 or (language := passages[1][0].language) is None:
        return None
    at = (passages[0][-1].end + passages[1][0].start) / 2  # the middle of the pause between the two
    return LanguageChange(at, passages[1][-1].end - passages[1][0].start, language)


def turn_change(words: Sequence[TimedWord]) -> tuple[float, int] | None:
    """Return from which second of a window on another one speaks, and how many words come before; None if none does."""
    for count, (before, word) in enumerate(pairwise(words), 1):
        if word.turn != before.turn:
            return (before.end + word.start) / 2, count
    return None
