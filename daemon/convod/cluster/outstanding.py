"""What was handed out and not answered, so that each answer counts once. A state machine: no I/O, no clock.

Ids carry the run of the daemon that made them: what another run asked for, and what is answered a second time or too
late, is nobody's.
"""

from __future__ import annotations

from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Outstanding(Generic[T]):
    """Who waits for which task. `unexpected` counts answers that nobody waited for."""

    def __init__(self, run: str) -> None:
        self.unexpected = 0
        self._run = run
        self._numbers = count(1)
        self._waiting: dict[str, T] = {}

    def new(self, who: T) -> str:
        """Make an id; its answer is for `who`."""
        task = f"{self._run}-{next(self._numbers)}"
        self._waiting[task] = who
        return task

    def answered(self, task: str) -> T | None:
        """An answer came: who waited for it, if anybody does still."""
        who = self._waiting.pop(task, None)
        self.unexpected += who is None
        return who

    def give_up(self, task: str) -> bool:
        """Wait no more for a task; whether it was not answered yet."""
        return self._waiting.pop(task, None) is not None
