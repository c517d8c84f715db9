"""Put the times of words where the voice is: alignment gives silence and music to the words beside them. Sans-IO.

In: the words of a window with their times, and the chunks of it in which the voice detector found a voice. Out: the
same words with other times. Whisper tells where a word ends by the attention of its decoder (as in openai/whisper's
timing.py), which nothing holds where nobody speaks: after twelve seconds of music the first word is said to last
thirteen. It never changes a word, and leaves a window alone whose voice is too faint for the detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from convod.engine.coverage import SLACK_S, STRETCHED_S, UNCOVERED_S
from convod.speech.decoding import CHUNK_S, TimedWord
from convod.speech.hallucination import FAINT_VOICE_S, FAINT_WORD_S
from convod.speech.sentences import ends_sentence

PAUSE_S: Final = 0.25
"""A shorter silence is inside a word or between two: a pause parts phrases."""

BLIP_S: Final = 0.1
"""Less voice than this between two pauses is a sound that the detector took for one."""

HOLD_S: Final = 0.1
"""A word that ends a sentence stays with the phrase before a pause if it has this much of its voice, however much it
has of the next one."""

REACH_S: Final = SLACK_S + UNCOVERED_S
"""The first and the last word of a phrase get the rest of its voice if that is no longer: more of it means that words
are missing."""

BRIEF_S: Final = 0.25
"""A word longer than STRETCHED_S with no more of a voice than this lies where it ends, as the attention tells that: in
music or noise before it the detector took a sound for a voice."""

WHISPERED: Final = 3
WHISPERED_S: Final = 0.8
"""So many words in a row without a voice, and no longer than that each on average, are whispered: their times stay."""


class _Phrase(msgspec.Struct, frozen=True):
    start: float
    end: float

    def overlap(self, word: TimedWord) -> float:
        return min(self.end, word.end) - max(self.start, word.start)


def whole_words(words: Sequence[TimedWord], *, spaced: bool) -> list[TimedWord]:
    """Join the parts of a word and leave out the spaces: the tokenizer parts `qu'on` and `well-known` in two.

    Args:
        words: The words, each with the space before it.
        spaced: Whether every word has one.
    """
    whole: list[TimedWord] = []
    for word in words:
        text = word.word.strip()
        if not text:
            continue
        if spaced and whole and not word.word[0].isspace():
            before = whole.pop()
            probability = min(before.probability, word.probability)
            word = msgspec.structs.replace(
                before, word=before.word + text, end=max(before.end, word.end), probability=probability
            )
        else:
            word = msgspec.structs.replace(word, word=text)
        whole.append(word)
    return whole


def within_voice(words: Sequence[TimedWord], voiced: bytes, seconds: float) -> list[TimedWord]:
    """Move the times of words to where the voice is.

    Args:
        words: The words of a window, in order.
        voiced: A byte for each chunk of CHUNK_S, 1 where there is a voice.
        seconds: Length of the window.

    Returns:
        The words, each within a phrase: voice between two pauses. The first one of a phrase begins with it, and the
        last one ends with it.
    """
    voices = [_Phrase(start, min(end, seconds)) for start, end in phrases(voiced) if start < seconds]
    if not voices or voiced.count(1) * CHUNK_S < max(FAINT_VOICE_S, FAINT_WORD_S * len(words)):
        return list(words)
    places = _places(words, voices)
    moved: list[TimedWord] = []
    for place, group in groupby(range(len(words)), key=lambda i: places[i]):
        some = [words[i] for i in group]
        moved += some if place is None else _fitted(some, voices[place])
    return _in_order(moved)


def phrases(voiced: bytes) -> Iterator[tuple[float, float]]:
    """Find the voice between pauses, by a byte for each chunk: from which to which second it is."""
    begin: int | None = None
    last = 0
    for i, chunk in enumerate(voiced):
        if not chunk:
            continue
        if begin is not None and (i - last) * CHUNK_S > PAUSE_S:
            yield from _unless_blip(begin, last)
            begin = None
        begin = i if begin is None else begin
        last = i + 1
    if begin is not None:
        yield from _unless_blip(begin, last)


def _unless_blip(begin: int, end: int) -> Iterator[tuple[float, float]]:
    if (end - begin) * CHUNK_S >= BLIP_S:
        yield begin * CHUNK_S, end * CHUNK_S


def _places(words: Sequence[TimedWord], phrases: Sequence[_Phrase]) -> list[int | None]:
    """Choose the phrase of each word; None for a word that is whispered. No word goes back to an earlier phrase."""
    choices = [_heard_in(word, phrases) for word in words]
    whispered = _whispered(words, choices)
    places: list[int | None] = []
    least = 0
    for i, choice in enumerate(choices):
        if i in whispered:
            places.append(None)
            continue
        if choice is None:  # not behind the next word that has a voice, which it would take along
            following = next((one for one in choices[i:] if one is not None), len(phrases))
            choice = min(_nearest(words, i, phrases), following)
        least = max(least, choice)
        places.append(least)
    return places


def _heard_in(word: TimedWord, phrases: Sequence[_Phrase]) -> int | None:
    """The phrase of which a word has most, or in which one without length lies; None if it lies in silence."""
    overlaps = [phrase.overlap(word) for phrase in phrases]
    if ends_sentence(word.word):
        for i, overlap in enumerate(overlaps):
            if overlap >= HOLD_S:
                return i
    most = max(overlaps)
    if most <= BRIEF_S and word.end - word.start > STRETCHED_S:
        distances = [max(phrase.start - word.end, word.end - phrase.end) for phrase in phrases]
        return distances.index(min(distances))
    return overlaps.index(most) if most >= 0.0 else None


def _whispered(words: Sequence[TimedWord], choices: Sequence[int | None]) -> set[int]:
    found: set[int] = set()
    for silent, group in groupby(range(len(words)), key=lambda i: choices[i] is None):
        run = list(group)
        lasts = sum(words[i].end - words[i].start for i in run)
        if silent and len(run) >= WHISPERED and CHUNK_S * len(run) <= lasts <= WHISPERED_S * len(run):
            found.update(run)
    return found


def _nearest(words: Sequence[TimedWord], i: int, phrases: Sequence[_Phrase]) -> int:
    """The phrase for a word in silence.

    The end of a sentence goes with what was said before it, the beginning of one with what comes after it, any other
    word with what is nearer.
    """
    word = words[i]
    after = next((k for k, phrase in enumerate(phrases) if phrase.start >= word.start), len(phrases))
    if after == 0:
        return 0
    if after == len(phrases) or ends_sentence(word.word):
        return after - 1
    if i > 0 and ends_sentence(words[i - 1].word):
        return after
    return after if phrases[after].start - word.end < word.start - phrases[after - 1].end else after - 1


def _fitted(words: list[TimedWord], phrase: _Phrase) -> list[TimedWord]:
    """Put words within their phrase; what lay outside of it shares its nearer end."""
    starts = [min(max(word.start, phrase.start), phrase.end) for word in words]
    ends = [min(max(word.end, phrase.start), phrase.end) for word in words]
    if starts[0] - phrase.start <= REACH_S:
        starts[0] = phrase.start
    if phrase.end - ends[-1] <= REACH_S:
        ends[-1] = phrase.end
    _share(words, starts, ends)
    return [
        msgspec.structs.replace(word, start=round(start, 3), end=round(max(start, end), 3))
        for word, start, end in zip(words, starts, ends, strict=True)
    ]


def _share(words: list[TimedWord], starts: list[float], ends: list[float]) -> None:
    """Divide, by letters, the time of words that were moved to one moment with that of the word beside them."""
    for first, last in _moments(starts, ends):
        begin, length = starts[first], ends[last] - starts[first]
        letters = [len(word.word) for word in words[first : last + 1]]
        at = 0
        for i, count in enumerate(letters, first):
            starts[i] = begin + length * at / sum(letters)
            at += count
            ends[i] = begin + length * at / sum(letters)


def _moments(starts: list[float], ends: list[float]) -> Iterator[tuple[int, int]]:
    """Runs of words of no length, each with the word before it, or after it if there is none before."""
    i = 0
    while i < len(starts):
        if ends[i] - starts[i] >= CHUNK_S:
            i += 1
            continue
        last = i
        while last + 1 < len(starts) and ends[last + 1] - starts[last + 1] < CHUNK_S:
            last += 1
        first = i - 1 if i > 0 else i
        yield first, last if i > 0 or last + 1 == len(starts) else last + 1
        i = last + 1


def _in_order(words: list[TimedWord]) -> list[TimedWord]:
    """No word begins before the one before it."""
    latest = 0.0
    ordered = []
    for word in words:
        start = max(latest, word.start)
        ordered.append(
            word if start == word.start else msgspec.structs.replace(word, start=start, end=max(start, word.end))
        )
        latest = start
    return ordered
