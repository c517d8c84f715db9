"""Which workers live, by their beats, and which of them may have windows. State machines: no I/O, times are handed in.

In: beats and the time. Out: who is new, who is gone and why. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from convod.cluster.wire import Beat, Fingerprint

BEAT_S: Final = 2.0
"""Seconds between two beats of a worker."""

MISSED: Final = 3
"""So many beats in a row that do not come mean that the worker is dead, or cut off."""

STUCK_LOOKS: Final = 3
"""So often in a row a worker must find itself idle beside a full queue to know that its consumer is stuck."""


@dataclass(slots=True)
class Member:
    """A worker: its last beat, when that came, and why it gets no windows, if so."""

    beat: Beat
    at: float
    why_not: str | None


class Members:
    """The workers that a daemon hears of."""

    def __init__(self) -> None:
        self._wanted: Fingerprint | None = None
        self._members: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def is_wanting(self) -> bool:
        """Whether it is known who may have windows."""
        return self._wanted is not None

    def want(self, wanted: Fingerprint) -> None:
        """Say which workers may have windows; until then none may."""
        self._wanted = wanted
        for member in self._members.values():
            member.why_not = self._why_not(member.beat)

    def beat(self, beat: Beat, now: float) -> Member:
        """A beat came at `now`; the worker that it is of."""
        member = self._members.setdefault(beat.worker, Member(beat, now, self._why_not(beat)))
        member.beat, member.at = beat, now
        if beat.state == "gone":
            del self._members[beat.worker]
        return member

    def silent(self, now: float) -> list[Member]:
        """Take out those that are dead at `now`."""
        dead = [member for member in self._members.values() if now - member.at >= MISSED * BEAT_S]
        for member in dead:
            del self._members[member.beat.worker]
        return dead

    def clear(self) -> None:
        """Nothing is known of anybody any more."""
        self._members.clear()

    def _why_not(self, beat: Beat) -> str | None:
        if self._wanted is None:
            return "this convod has not loaded its model yet"
        return self._wanted.why_not(beat.fingerprint)


class StuckWatch:
    """Tells a worker whose consumer takes nothing any more, as may happen once a broker was away, from an idle one."""

    def __init__(self) -> None:
        self._looks = 0

    def look(self, *, queued: int, busy: bool) -> bool:
        """Look at the queue once; whether the consumer is stuck."""
        self._looks = self._looks + 1 if queued and not busy else 0
        return self._looks >= STUCK_LOOKS
