"""Hypotheses of a growing utterance to words that stay and words that may change.

In: the text of each new hypothesis. Out: `stable` (never changes within its utterance) and `tentative`. The rule is
local agreement (Liu et al. 2020, "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial
Hypothesis Selection"): what two hypotheses in a row begin with alike is stable. No audio, no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caption:
    """Words to show: `stable` will stay, `tentative` may change. Joined by one space they are the whole utterance."""

    stable: str
    tentative: str


class Agreement:
    """The hypotheses of one utterance."""

    def __init__(self) -> None:
        self._stable: list[str] = []
        self._last: list[str] = []

    def hear(self, text: str) -> Caption:
        """The newest hypothesis -> the caption now."""
        words = text.split()
        agreed = 0
        for one, other in zip(words, self._last, strict=False):
            if one != other:
                break
            agreed += 1
        # The last agreed word is held back: the audio may have ended inside it, and "work" become "working".
        if agreed == len(words):
            agreed -= 1
        if agreed > len(self._stable) and words[: len(self._stable)] == self._stable:
            self._stable = words[:agreed]
        self._last = words
        # A hypothesis that disagrees with what was promised keeps the promise and shows its own rest.
        return Caption(" ".join(self._stable), " ".join(words[len(self._stable) :]))
