"""When which delivery is tried. A state machine without I/O: the time is told.

In: deliveries, and whether a try succeeded. Out: what to try now, and when to look again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0


@dataclass
class _Waiting:
    since: float
    due: float
    pause: float = field(default_factory=lambda: FIRST_PAUSE_S)
    running: bool = False


class Schedule:
    """Deliveries by their key, oldest first. A target that fails is tried again after 5 s, 10 s, … an hour."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._waiting: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def add(self, key: str, now: float, since: float | None = None) -> None:
        """Have a delivery tried now; `since` is when it was due first. One that waits, waits no longer."""
        known = self._waiting.get(key)
        if known is not None:
            known.due = now
        else:
            self._waiting[key] = _Waiting(since=now if since is None else since, due=now)

    def take(self, now: float) -> str | None:
        """Return a delivery to try now; `done` or `failed` must follow."""
        ready = [(one.since, key) for key, one in self._waiting.items() if not one.running and one.due <= now]
        if not ready:
            return None
        _, key = min(ready)
        self._waiting[key].running = True
        return key

    def done(self, key: str) -> None:
        """A delivery was made, or is not wanted any more."""
        self._waiting.pop(key, None)

    def failed(self, key: str, now: float) -> bool:
        """A try failed. Returns whether it is tried again; if not, it is forgotten."""
        one = self._waiting[key]
        if now - one.since + one.pause > self._give_up_s:
            del self._waiting[key]
            return False
        one.running = False
        one.due, one.pause = now + one.pause, min(2 * one.pause, LONGEST_PAUSE_S)
        return True

    def next_due(self) -> float:
        """When to look again; infinite if nothing waits."""
        return min((one.due for one in self._waiting.values() if not one.running), default=float("inf"))
