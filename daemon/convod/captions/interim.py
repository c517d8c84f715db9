"""Hypotheses of a growing utterance to words that stay and words that may change.

In: the text of each new hypothesis. Out: `stable` (never changes within its utterance) and `tentative`. The rule is
local agreement (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial
Hypothesis Selection"): what some hypotheses in a row begin with alike is stable. No audio, no clock, no I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

PASSES: Final = 3
"""Hypotheses in a row that must agree. Two are not enough for a small model: its first guesses at a sentence come from
little audio, and two of them are often the same and wrong."""


@dataclass(frozen=True, slots=True)
class Caption:
    """Words to show: `stable` will stay, `tentative` may change. Joined by one space they are the whole utterance."""

    stable: str
    tentative: str


class Agreement:
    """The hypotheses of one utterance."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._recent: deque[list[str]] = deque(maxlen=PASSES)

    def hear(self, text: str) -> Caption:
        """The newest hypothesis -> the caption now."""
        words = text.split()
        self._recent.append(words)
        if len(self._recent) == PASSES:
            agreed = _agreed(self._recent)
            # The newest word is held back: the audio may have ended inside it, and "work" become "working".
            agreed = min(agreed, len(words) - 1)
            if agreed > len(self._stable) and words[: len(self._stable)] == self._stable:
                self._stable = words[:agreed]
        # A hypothesis that disagrees with what was promised keeps the promise and shows its own rest.
        return Caption(" ".join(self._stable), " ".join(words[len(self._stable) :]))


def _agreed(hypotheses: deque[list[str]]) -> int:
    """How many words all of them begin with alike."""
    count = 0
    for same in zip(*hypotheses, strict=False):
        if len(set(same)) > 1:
            break
        count += 1
    return count
