"""The round trip to a worker, without the decoding: smoothed time and deviation, as TCP computes them (RFC 6298).

In: measured times. Out: whether a window's text would come in time. No clock.
"""

from __future__ import annotations

from typing import Final

from convod.engine.pressure import STRAINED_S
from convod.speech.decoding import DecodeJob, Kind

_MEAN: Final = 1 / 8
_DEVIATION: Final = 1 / 4
"""Weights of the newest time."""


class WayEstimate:
    """The round trip to one worker. `mean_s` is None until it was measured."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._deviation_s = 0.0

    def measured(self, seconds: float) -> None:
        """Take one measured time."""
        seconds = max(0.0, seconds)
        if self.mean_s is None:
            self.mean_s, self._deviation_s = seconds, seconds / 2
            return
        self._deviation_s += _DEVIATION * (abs(seconds - self.mean_s) - self._deviation_s)
        self.mean_s += _MEAN * (seconds - self.mean_s)

    @property
    def likely_s(self) -> float:
        """Seconds that are hardly ever exceeded; infinite until it was measured."""
        return float("inf") if self.mean_s is None else self.mean_s + 4 * self._deviation_s

    def fits(self, job: DecodeJob, now: float) -> bool:
        """Return whether a final that leaves at `now` comes back before it counts as late."""
        return now + self.likely_s <= max(job.since, job.due) + STRAINED_S[Kind.FINAL]
