"""The words of a window to segments: where the speaker pauses, and where a sentence ends.

In: a window's text, its words with times, and when its utterances end. Out: the text in parts, each with its words.
No audio, no clock, no I/O; it leaves no letter of the text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convod.captions import ends_sentence
from convod.engine.wire import HeardWord

SENTENCE_WORDS: Final = 4
"""A sentence of fewer words stays with the next one, in the same utterance."""


class Cue(msgspec.Struct, frozen=True):
    """A part of a window's text, said in its utterance number `utterance`."""

    utterance: int
    text: str
    words: list[HeardWord]


def cues(text: str, words: Sequence[HeardWord], ends: Sequence[float]) -> list[Cue]:
    """A window's text in parts; `ends` are the seconds of the window at which its utterances end, but for the last."""
    found: list[Cue] = []
    current: list[HeardWord] = []
    utterance = 0
    rest = text

    def close() -> None:
        nonlocal rest
        if current:
            part, rest = _taken(rest, sum(len("".join(word.word.split())) for word in current))
            found.append(Cue(utterance, part, list(current)))
            current.clear()

    for word in words:
        at = (word.start + word.end) / 2
        place = utterance
        while place < len(ends) and at >= ends[place]:
            place += 1
        if place != utterance or (len(current) >= SENTENCE_WORDS and ends_sentence(current[-1].word)):
            close()
            utterance = place
        current.append(word)
    close()
    if found and rest.strip():  # words that alignment did not give
        last = found[-1]
        found[-1] = Cue(last.utterance, f"{last.text} {rest.strip()}", last.words)
    return [cue for cue in found if cue.text]


def _taken(text: str, letters: int) -> tuple[str, str]:
    """Split a text after so many characters, not counting spaces."""
    at = 0
    while at < len(text) and letters > 0:
        letters -= not text[at].isspace()
        at += 1
    return text[:at].strip(), text[at:]
