"""Decide where a segment begins and ends: with its words, or where the gate says that the utterance does.

In: times of words, utterances of the gate. Out: times. No audio, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convo.messages import Word
from convod.speech.endpointer import UtteranceEnded

LATE_S: Final = 0.15
"""The voice detector begins up to so late, with the vowel behind a soft consonant; the gate then knows better. Where
the gate is earlier still it took the hiss of a recording, a breath or music for speech: it was over 0.3 s early for a
quarter of 114 utterances of many recordings, the detector 0.02 s late (median)."""

CLEAR_LATE_S: Final = 0.45
"""After a long silence the detector may need so long; an onset as loud as a voice is that of one."""

NEAR_S: Final = 0.6
"""A word so near a bound of its segment is moved there."""


def begin_of(time: float, utterance: UtteranceEnded, rate: int) -> float:
    """Choose where the first segment of an utterance begins.

    Args:
        time: Second of its first word, by the detector.
        utterance: The utterance, by the gate.
        rate: Samples a second.
    """
    gate = round(utterance.onset / rate, 3)
    return gate if 0.0 <= time - gate <= (CLEAR_LATE_S if utterance.clear else LATE_S) else time


def end_of(time: float, utterance: UtteranceEnded, rate: int) -> float:
    """Choose where the last one ends, whose last word ends at second `time`.

    The detector lets go of a voice some 50 ms after it ended, and the gate may go on with hiss: the earlier one is
    right.
    """
    return min(time, round(utterance.last_speech / rate, 3))


def with_bounds(words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Let the first and the last word of a segment begin and end with it, if they nearly do."""
    timed = list(words)
    if timed and timed[0].start - start <= NEAR_S:
        timed[0] = msgspec.structs.replace(timed[0], start=start)
    if timed and end - timed[-1].end <= NEAR_S:
        timed[-1] = msgspec.structs.replace(timed[-1], end=end)
    return timed
