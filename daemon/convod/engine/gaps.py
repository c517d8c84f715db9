"""Fill the gaps of a text where there is voice. In: hypotheses. Out: a hypothesis. It never decodes."""

from __future__ import annotations

from typing import Final

import msgspec

from convod.engine.coverage import Gap, uncovered
from convod.speech.agreement import joined, pieces
from convod.speech.decoding import Hypothesis

GAP_PREROLL_S: Final = 0.2
"""A gap is decoded from this long before it,"""

MOST_GAPS: Final = 3
"""and at most this many gaps of a window are."""


def with_gap_filled(hypothesis: Hypothesis, gap: Gap, more: Hypothesis, begin: float, voiced: bytes) -> Hypothesis:
    """Replace the words of a gap with those of `more`, which was decoded from second `begin` on."""
    words = list(hypothesis.words or ())
    new = [
        msgspec.structs.replace(word, start=round(word.start + begin, 3), end=round(word.end + begin, 3))
        for word in more.words or ()
    ]
    words[gap.first : gap.last] = new
    text = joined(piece for word in words for piece in pieces(word.word))
    left = uncovered(words, voiced)
    return msgspec.structs.replace(
        hypothesis, text=text, words=words, uncovered=None if left is None else (left.start, left.end)
    )
