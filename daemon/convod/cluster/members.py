"""Which workers are alive, by their beats, and which of them may get windows. State machines: no I/O, no clock.

In: beats and the time. Out: which workers are new or dead. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from convod.cluster.wire import Beat, Fingerprint

MISSED: Final = 3
"""After so many missing beats in a row a worker is dead, or cut off."""

STUCK_LOOKS: Final = 3
"""A consumer that is idle beside a full queue so many times in a row is stuck."""


@dataclass(slots=True)
class Member:
    """A worker: its last beat, when that came, and why it gets no windows, if so."""

    beat: Beat
    at: float
    why_not: str | None

    @property
    def silent_s(self) -> float:
        """After so long without a beat it is dead."""
        return MISSED * self.beat.every_s


class Members:
    """The workers that a daemon knows."""

    def __init__(self) -> None:
        self._wanted: Fingerprint | None = None
        self._members: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def is_wanting(self) -> bool:
        """Whether `want` was called."""
        return self._wanted is not None

    def want(self, wanted: Fingerprint) -> None:
        """Set which workers may get windows; until then none may."""
        self._wanted = wanted
        for member in self._members.values():
            member.why_not = self._why_not(member.beat)

    def beat(self, beat: Beat, now: float) -> Member:
        """Take a beat that came at `now`; return its worker."""
        member = self._members.setdefault(beat.worker, Member(beat, now, self._why_not(beat)))
        member.beat, member.at = beat, now
        if beat.state == "gone":
            del self._members[beat.worker]
        return member

    def silent(self, now: float) -> list[Member]:
        """Remove and return those that are dead at `now`."""
        dead = [member for member in self._members.values() if now - member.at >= member.silent_s]
        for member in dead:
            del self._members[member.beat.worker]
        return dead

    def clear(self) -> None:
        """Forget all workers."""
        self._members.clear()

    def _why_not(self, beat: Beat) -> str | None:
        if self._wanted is None:
            return "this convod is still loading its model"
        return self._wanted.why_not(beat.fingerprint)


LOST_BEATS: Final = 6
"""A task is lost if so many beats of its worker in a row know of none. A consumer that is stuck is noticed before."""


class StuckWatch:
    """Tells a consumer that takes nothing any more, which can happen after the broker was away, from an idle one."""

    def __init__(self) -> None:
        self._looks = 0

    def look(self, *, queued: int, busy: bool) -> bool:
        """Look at the queue once; return whether the consumer is stuck."""
        self._looks = self._looks + 1 if queued and not busy else 0
        return self._looks >= STUCK_LOOKS


class LostWatch:
    """Tells a task that its worker never got, as its connection broke while Redis handed it over, from one that takes
    its time.
    """

    def __init__(self) -> None:
        self._task = ""
        self._beats = 0

    def beat(self, task: str, *, busy: bool) -> bool:
        """Take a beat of the worker while a task is out ("" for none); return whether the task is lost."""
        self._beats = self._beats + 1 if task and task == self._task and not busy else 0
        self._task = task
        return self._beats >= LOST_BEATS
