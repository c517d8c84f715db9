"""Merge a final text with the words its captions committed to.

In: the stable words shown for an utterance, and the final hypothesis for all of it. Out: the final text if it begins
with the committed words; otherwise the committed words, then what the final text says after them. Where the two part is
found by letters: what sounds alike is spelled alike, however many words it is taken for. No audio, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from convod.speech.agreement import joined, pieces
from convod.speech.decoding import TimedWord

LETTERS: Final = 160
"""Most letters to compare, each with each. A longer text that differs early is compared by its number of words."""


def merge_committed(
    committed: str, text: str, words: Sequence[TimedWord] | None
) -> tuple[str, Sequence[TimedWord] | None]:
    """Merge the committed words of an utterance with its final text.

    Args:
        committed: The stable words, as they were shown.
        text: The final text.
        words: Its words with times, or None.

    Returns:
        The segment's text, beginning with the committed words as shown, and its timed words if there were any.
    """
    before, after = pieces(committed), pieces(text)
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
    beside = next(iter([*gone, *head[-1:], *tail]), None)
    return whole, [*head, *_spread(before[same:], start, end, gone, beside), *tail]


def _covered(committed: Sequence[str], final: Sequence[str]) -> int:
    """Count the leading final words that correspond to the committed ones: those that need the fewest edits."""
    letters = "".join(committed)
    if len(letters) > LETTERS:
        return min(len(committed), len(final))
    # Edit distance (Levenshtein 1966) to every prefix of the final words, letter by letter.
    distance = list(range(len(letters) + 1))
    best, least = 0, distance[-1]
    for count, word in enumerate(final, 1):
        for letter in word:
            row = [distance[0] + 1]
            for i, other in enumerate(letters):
                row.append(min(row[i] + 1, distance[i + 1] + 1, distance[i] + (letter != other)))
            distance = row
        if distance[-1] < least:  # of equals the one that leaves more of the final text
            best, least = count, distance[-1]
        if distance[0] > 2 * len(letters):
            break  # longer prefixes can only be further away
    return best


def _letters(words: Sequence[str]) -> int:
    return sum(map(len, words))


def _split(words: Sequence[TimedWord], letters: int) -> tuple[list[TimedWord], list[TimedWord]]:
    """Split the words after the first `letters` letters, at a word boundary."""
    count = 0
    while count < len(words) and letters > 0:
        letters -= len("".join(words[count].word.split()))
        count += 1
    return list(words[:count]), list(words[count:])


def _spread(
    words: Sequence[str], start: float, end: float, like: Sequence[TimedWord], beside: TimedWord | None
) -> list[TimedWord]:
    """Spread words evenly over a time span.

    Args:
        words: The words to time; each gets a share by its number of letters.
        start: Where the span begins, in seconds.
        end: Where it ends.
        like: The words they replace, whose mean probability they get.
        beside: One whose passage they are in.
    """
    sure = sum(word.probability for word in like) / len(like) if like else 0.0
    language, turn = (None, 0) if beside is None else (beside.language, beside.turn)
    letter = (end - start) / max(1, _letters(words))
    out, at = [], start
    for word in words:
        begin, at = at, at + letter * len(word)
        out.append(
            TimedWord(
                start=round(begin, 3),
                end=round(at, 3),
                word=word,
                probability=round(sure, 3),
                language=language,
                turn=turn,
            )
        )
    return out
