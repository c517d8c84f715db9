"""A segment's text that keeps what its captions have promised.

In: the stable words that were shown of an utterance, and what the final decoding heard of all of it. Out: the same text
if it keeps the promise; else the promised words, and what the final text says after them. Where the two part is found
by their letters: what sounds alike is spelled alike, however many words it is taken for. No audio, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from convod.speech.agreement import joined, pieces
from convod.speech.decoding import HeardWord

LETTERS: Final = 160
"""Most letters that are compared, each with each: a promise that long was broken early is counted in words instead."""


def kept(promised: str, text: str, words: Sequence[HeardWord] | None) -> tuple[str, Sequence[HeardWord] | None]:
    """The text of a segment and its words with times, beginning with the promised words as they were shown."""
    before, after = pieces(promised), pieces(text)
    if after[: len(before)] == before:
        return text, words
    same = next((i for i, (one, other) in enumerate(zip(before, after, strict=False)) if one != other), len(after))
    same = min(same, len(before))
    until = same + _covered(before[same:], after[same:])
    whole = joined([*before, *after[until:]])
    if words is None:
        return whole, None
    head, rest = _split(words, _letters(after[:same]))
    gone, tail = _split(rest, _letters(after[same:until]))
    start = gone[0].start if gone else head[-1].end if head else tail[0].start if tail else 0.0
    end = gone[-1].end if gone else tail[0].start if tail else start
    return whole, [*head, *_spread(before[same:], start, end, gone), *tail]


def _covered(promised: Sequence[str], heard: Sequence[str]) -> int:
    """How many of the words that were heard are what was promised: those that can be made of it with fewest changes."""
    letters = "".join(promised)
    if len(letters) > LETTERS:
        return min(len(promised), len(heard))
    # Edit distance (Levenshtein 1966) to every beginning of what was heard, letter by letter.
    distance = list(range(len(letters) + 1))
    best, least = 0, distance[-1]
    for count, word in enumerate(heard, 1):
        for letter in word:
            row = [distance[0] + 1]
            for i, other in enumerate(letters):
                row.append(min(row[i] + 1, distance[i + 1] + 1, distance[i] + (letter != other)))
            distance = row
        if distance[-1] < least:  # of equals the one that leaves more of what was heard
            best, least = count, distance[-1]
        if distance[0] > 2 * len(letters):
            break  # what follows can only be further away
    return best


def _letters(words: Sequence[str]) -> int:
    return sum(map(len, words))


def _split(words: Sequence[HeardWord], letters: int) -> tuple[list[HeardWord], list[HeardWord]]:
    """The first words, as many as hold so many letters, and the others."""
    count = 0
    while count < len(words) and letters > 0:
        letters -= len("".join(words[count].word.split()))
        count += 1
    return list(words[:count]), list(words[count:])


def _spread(words: Sequence[str], start: float, end: float, like: Sequence[HeardWord]) -> list[HeardWord]:
    """Words with times between two times, each as long as its letters; as sure as those they stand for."""
    sure = sum(word.probability for word in like) / len(like) if like else 0.0
    letter = (end - start) / max(1, _letters(words))
    out, at = [], start
    for word in words:
        begin, at = at, at + letter * len(word)
        out.append(HeardWord(start=round(begin, 3), end=round(at, 3), word=word, probability=round(sure, 3)))
    return out
