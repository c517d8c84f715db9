"""Mix the two sides of a stereo recording so that they never cancel each other. Sans-IO.

In: samples of both sides, cut anywhere. Out: mono samples, which do not depend on the cuts. Where one side is the other
one upside down (a cable with swapped wires), their mean is silence: their difference is taken there. It has at least
as much of both sides as the mean wherever they are alike at all, so that a wrong guess costs nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from operator import add, mul, rshift, sub

BLOCK_S = 0.02
"""How often it is decided."""

STEP = 4
"""Each so many samples are looked at."""

MEMORY = 0.96
"""What a block counts for in the next one: about half a second is remembered."""

FLOOR = 30.0
"""Root mean square of samples, below which nothing can be told: -61 dBFS."""

OPPOSITE = -0.5
"""Correlation of the sides below which they cancel each other: their mean is 5 dB below their difference."""

Span = tuple[int, int, bool]


class StereoMixer:
    """Mixes s16 samples of two sides at `rate` in Hz."""

    def __init__(self, rate: int) -> None:
        self._block = round(rate * BLOCK_S)
        self._filled = 0
        self._sums = [0.0, 0.0, 0.0]
        self._memory = [0.0, 0.0, 0.0]
        self._opposite = False

    def mix(self, left: Sequence[int], right: Sequence[int], spans: Sequence[Span] | None = None) -> array[int]:
        """Mono samples, as many as each side has; `spans` are theirs if they were asked for."""
        spans = self.spans(left, right) if spans is None else spans
        mono = array("h")
        for begin, end, opposite in spans:
            both = map(sub if opposite else add, left[begin:end], right[begin:end])
            mono.extend(map(rshift, both, repeat(1)))
        return mono

    def spans(self, left: Sequence[int], right: Sequence[int]) -> list[Span]:
        """Where to take the mean and where half the difference (True), from each begin to each end."""
        spans: list[Span] = []
        begin = 0
        while begin < len(left):
            end = min(len(left), begin + self._block - self._filled)
            if spans and spans[-1][2] is self._opposite:
                spans[-1] = (spans[-1][0], end, self._opposite)
            else:
                spans.append((begin, end, self._opposite))
            first = begin + -self._filled % STEP
            some, others = left[first:end:STEP], right[first:end:STEP]
            for at, pair in enumerate(((some, some), (others, others), (some, others))):
                self._sums[at] += sum(map(mul, *pair))
            self._filled += end - begin
            if self._filled == self._block:
                self._decide()
            begin = end
        return spans

    def _decide(self) -> None:
        self._filled = 0
        loud = self._sums[0] + self._sums[1] > 2 * FLOOR * FLOOR * self._block / STEP
        if loud:
            self._memory = [MEMORY * old + new for old, new in zip(self._memory, self._sums, strict=True)]
            one, other, both = self._memory
            likeness = both / (one * other) ** 0.5 if one and other else 0.0
            self._opposite = likeness < (0.0 if self._opposite else OPPOSITE)
        self._sums = [0.0, 0.0, 0.0]
