"""Find voice in a window that its text does not cover: compare the times of words with those of voice. Sans-IO.

In: the words of a hypothesis with their times, and the chunks of its window in which a voice detector found a voice.
Out: a place that has a voice but no words. Whisper may stop early or skip a sentence: of a window of ten seconds it may
write seven, and nothing in its figures shows it. This neither decodes nor judges a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convod.speech.decoding import CHUNK_S, TimedWord

SLACK_S: Final = 0.3
"""Alignment may put a word's end this much too early."""

UNCOVERED_S: Final = 0.8
"""Less voice than this after the last word, or before the first, is a breath or the end of a long vowel. Of 121
recorded utterances whose text was whole none had more than 0.2 s."""

STRETCHED_S: Final = 2.5
"""No word lasts this long: one that does stands for others that are missing. The longest in 121 recorded
utterances was 1.9 s (a number read digit by digit)."""

DIVIDED_S: Final = 1.2
PAUSE_S: Final = 0.3
"""Nor does a word last DIVIDED_S with a pause of PAUSE_S in it."""


class Gap(msgspec.Struct, frozen=True):
    """Speech from second `start` to second `end` of a window for which there are only words `first` to `last`
    (exclusive): none, or one.
    """

    start: float
    end: float
    first: int
    last: int


def uncovered(words: Sequence[TimedWord], voiced: bytes) -> Gap | None:
    """Return the last place of a window that has a voice but no words; None if the words cover the voice.

    `voiced` has a byte for each chunk, 1 where there is a voice. The words are in order.
    """
    whole = len(voiced) * CHUNK_S
    end = words[-1].end if words else 0.0
    if _voice_s(voiced, end + SLACK_S if words else 0.0, whole) >= UNCOVERED_S:
        return Gap(end, whole, len(words), len(words))
    for i in reversed(range(len(words))):
        word = words[i]
        voice_s = _voice_s(voiced, word.start, word.end)
        if voice_s >= STRETCHED_S or (voice_s >= DIVIDED_S and _pause_s(voiced, word.start, word.end) >= PAUSE_S):
            return Gap(word.start, word.end, i, i + 1)
    if words and _voice_s(voiced, 0.0, words[0].start - SLACK_S) >= UNCOVERED_S:
        return Gap(0.0, words[0].start, 0, 0)
    return None


def _between(voiced: bytes, start: float, end: float) -> bytes:
    return voiced[max(0, round(start / CHUNK_S)) : max(0, round(end / CHUNK_S))]


def _voice_s(voiced: bytes, start: float, end: float) -> float:
    """Return the seconds of voice between two seconds of the window."""
    return _between(voiced, start, end).count(1) * CHUNK_S


def _pause_s(voiced: bytes, start: float, end: float) -> float:
    """Return the longest pause in the voice between two seconds of the window."""
    return max(map(len, _between(voiced, start, end).strip(b"\0").split(b"\1"))) * CHUNK_S
