"""Split a text into segments: where the speaker pauses, another one goes on, the language changes, a sentence ends.

In: a window's text, its words with times, and when its utterances end. An utterance may hold a long pause, where noise
or music goes on. Out: the text in parts, each with its words; no
letter is lost. No audio, no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from convod.speech.decoding import TimedWord
from convod.speech.sentences import ends_sentence

SENTENCE_WORDS: Final = 4
"""A sentence of fewer words is joined with the next one of its utterance."""


PAUSE_S: Final = 1.0
"""A segment is split where nobody speaks for this long."""


class Cue(msgspec.Struct, frozen=True):
    """A part of a window's text; `utterance` counts the window's utterances from 0."""

    utterance: int
    text: str
    words: list[TimedWord]


def changes(current: Sequence[TimedWord], following: TimedWord) -> bool:
    """Whether the `following` word is in another language than the `current` ones, or another speaker's."""
    last = current[-1]
    return (following.language, following.turn) != (last.language, last.turn)


def ends_cue(current: Sequence[TimedWord], following: TimedWord) -> bool:
    """Whether a segment with the `current` words ends before the `following` one."""
    last = current[-1]
    if following.start - last.end >= PAUSE_S or changes(current, following):
        return True
    return len(current) >= SENTENCE_WORDS and ends_sentence(last.word)


def cues(
    text: str,
    words: Sequence[TimedWord],
    ends: Sequence[float] = (),
    is_end: Callable[[Sequence[TimedWord], TimedWord], bool] = ends_cue,
) -> list[Cue]:
    """Split a window's text.

    Args:
        text: The text.
        words: Its words.
        ends: Seconds of the window at which its utterances end, except the last.
        is_end: Tells whether a part that has some words ends before the word that follows.
    """
    found: list[Cue] = []
    current: list[TimedWord] = []
    utterance = 0
    rest = text

    def close() -> None:
        nonlocal rest
        if current:
            part, rest = taken(rest, sum(len("".join(word.word.split())) for word in current))
            found.append(Cue(utterance, part, list(current)))
            current.clear()

    for word in words:
        at = (word.start + word.end) / 2
        place = utterance
        while place < len(ends) and at >= ends[place]:
            place += 1
        if place != utterance or (current and is_end(current, word)):
            close()
            utterance = place
        current.append(word)
    close()
    if found and rest.strip():  # words that alignment left out
        last = found[-1]
        found[-1] = Cue(last.utterance, f"{last.text} {rest.strip()}", last.words)
    return [cue for cue in found if cue.text]


def taken(text: str, letters: int) -> tuple[str, str]:
    """Split a text after so many characters, spaces not counted."""
    at = 0
    while at < len(text) and letters > 0:
        letters -= not text[at].isspace()
        at += 1
    return text[:at].strip(), text[at:]
