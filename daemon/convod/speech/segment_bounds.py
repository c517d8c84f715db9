"""Decide where a segment begins and ends: with its words, or where the gate says that the utterance does.

In: times of words, utterances of the gate. Out: times. No audio, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convo.messages import Word
from convod.speech.endpointer import UtteranceEnded

LATE_S: Final = 0.05
"""The voice detector begins up to so late; the gate then knows better. Where the gate is earlier still it took the hiss
of a recording, a breath or music for speech: it was over 0.3 s early for a quarter of 114 utterances of many
recordings. Starts of 62 utterances in three talks are wrong by 0.07 s so, by 0.12 s with 0.15 (95th percentile)."""

CLEAR_LATE_S: Final = 0.45
"""After a long silence the detector may need so long; an onset as loud as a voice is that of one."""

RINGS_S: Final = 0.1
"""A voice may fade so long after the gate's last frame of speech."""

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

    A word without a voice may seem to end long after the gate's last speech.
    """
    return min(time, round(utterance.last_speech / rate + RINGS_S, 3))


def with_bounds(words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Let the first and the last word of a segment begin and end with it, if they nearly do."""
    timed = list(words)
    if timed and timed[0].start - start <= NEAR_S:
        timed[0] = msgspec.structs.replace(timed[0], start=start)
    if timed and end - timed[-1].end <= NEAR_S:
        timed[-1] = msgspec.structs.replace(timed[-1], end=end)
    return timed
