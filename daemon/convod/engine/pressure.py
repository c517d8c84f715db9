"""How many live captions of one owner the machine can afford. A state machine: waits in, a level out.

When there is more to decode than the workers manage, captions give way in a fixed order, one step at a time: interims
come less often, then they are shorter as well, then there are none; finals always come. Interims wait longest, because
everything else goes first, so they show pressure before anything else suffers from it. It knows no clock, no queue and
no session: times are handed in.
"""

from __future__ import annotations

from typing import Final

from convod.speech.decoding import Interims, Kind

STRAINED_S: Final = {Kind.FINAL: 0.15, Kind.INTERIM: 1.0}
"""A window that waits longer than this after it is needed is late. An interim is replaced by a newer one while it
waits, so captions get fewer but not older, and up to a second's wait no fewer than at the next level."""

CALM_S: Final = 0.1
"""Waits below this leave room for more interims."""

STEP_S: Final = 1.0
"""Seconds between two steps down: time for the last one to take effect."""

RELIEF_S: Final = 5.0
"""Seconds between two steps up: captions should not come and go."""

_NEWEST: Final = 0.2
"""Weight of the newest wait in the smoothed one."""


class Pressure:
    """The pressure of one owner; `interims` is the level now."""

    def __init__(self) -> None:
        self.interims = Interims.FULL
        self._waits = {Kind.FINAL: 0.0, Kind.INTERIM: 0.0}
        self._changed = 0.0
        self._pressed_at = 0.0

    def waited(self, kind: Kind, seconds: float, now: float) -> None:
        """Take note that a window waited `seconds`, at time `now` of any one clock."""
        if kind is Kind.FILE:
            return  # these wait for as long as anything else does
        self._waits[kind] += _NEWEST * (seconds - self._waits[kind])
        final, interim = self._waits[Kind.FINAL], self._waits[Kind.INTERIM]
        if max(final, interim) > CALM_S:
            self._pressed_at = now
        # Having no interims at all helps only finals, so finals must be late.
        late = final > STRAINED_S[Kind.FINAL]
        strained = late or (interim > STRAINED_S[Kind.INTERIM] and self.interims < Interims.SHORTER)
        if strained and self.interims < Interims.NONE and now - self._changed >= STEP_S:
            self._step(+1, now)
        else:
            self.look(now)

    @property
    def relief_at(self) -> float:
        """When the level goes down, unless there is pressure before that."""
        return max(self._changed, self._pressed_at) + RELIEF_S if self.interims else float("inf")

    def look(self, now: float) -> Interims:
        """Return the level at time `now`: without news of pressure, it goes down."""
        if now >= self.relief_at:
            self._step(-1, now)
        return self.interims

    def _step(self, by: int, now: float) -> None:
        self.interims = Interims(self.interims + by)
        self._changed = now
        # Waits measured at another level say nothing about this one.
        self._waits = dict.fromkeys(self._waits, 0.0)
