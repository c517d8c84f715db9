"""Put the sound of a recording where the recording's own time stamps put it.

In: the time stamp of each piece of sound. Out: how much silence goes before it. This module decodes nothing.
"""

from __future__ import annotations

JITTER_S = 0.1
"""Time stamps that are off by less are rounded ones, not gaps (FFmpeg's `min_hard_comp`)."""

FIRST_S = 0.02
"""Silence before the first sound is worth this much: no word can be torn apart there."""

LONGEST_GAP_S = 3600.0
"""Sound that comes later than this after what is before it is of another clock."""

LONGEST_OVERLAP_S = 10.0
"""And so is sound that should have come so much earlier."""

SLACK_S = 1.0
"""How far a gap may reach beyond the end that the file announces."""


class Timeline:
    """The clock of one track.

    Args:
        zero: the time stamp, in seconds, of what the file's players show as 0.
        end: the file's announced end on that clock, in seconds; None if it announces none.
        restarts: whether time stamps may start again anywhere, as where streams were joined.
    """

    def __init__(self, zero: float, end: float | None, *, restarts: bool) -> None:
        self._zero = zero
        self._end = end
        self._restarts = restarts
        self._silence = 0.0
        self.now = 0.0
        """Seconds of sound and silence given out: the caller adds what it gives out, and nothing else does."""
        self.overlap = 0.0
        """Seconds of sound more than there is time for: as much may be left out where nothing is said."""

    def silence_before(self, at: float | None) -> float:
        """Seconds of silence before sound with this time stamp; None for one without."""
        if at is None:
            return 0.0
        late = at - self._zero - self.now
        self.overlap = 0.0
        if late > (JITTER_S if self.now else FIRST_S):
            if self._is_gap(late):
                self._silence += late
                return late
            self._zero += late
        elif late < -JITTER_S:
            if self._restarts or late < -LONGEST_OVERLAP_S:
                self._zero += late
            else:
                self.overlap = -late
        return 0.0

    def _is_gap(self, late: float) -> bool:
        """Whether that is silence of this recording, and not another clock."""
        if self._end is None:
            return self._silence + late <= LONGEST_GAP_S
        return late <= LONGEST_GAP_S and self.now + late <= self._end + SLACK_S
