"""Decide where a segment begins and ends: with its words, or where the gate says that the utterance does.

In: times of words, samples of the gate. Out: times. No audio, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convo.messages import Word

NEAR_S: Final = 0.6
"""The gate and the voice detector mean the same voice if they are no further apart. The gate then knows better: it is
0.00 s late at the beginning and the end of 62 utterances (median), the detector 0.03 s, which misses soft consonants.
The gate also takes music and hum for speech, and is further away there."""


def bound(time: float, sample: int, rate: int) -> float:
    """Choose a bound of a segment.

    Args:
        time: Second of its first or last word, by the detector.
        sample: Where the gate found the first or the last speech of its utterance.
        rate: Samples a second.
    """
    gate = round(sample / rate, 3)
    return gate if abs(gate - time) <= NEAR_S else time


def with_bounds(words: Sequence[Word], start: float, end: float) -> list[Word]:
    """Let the first and the last word of a segment begin and end with it, if they nearly do."""
    timed = list(words)
    if timed and timed[0].start - start <= NEAR_S:
        timed[0] = msgspec.structs.replace(timed[0], start=start)
    if timed and end - timed[-1].end <= NEAR_S:
        timed[-1] = msgspec.structs.replace(timed[-1], end=end)
    return timed
