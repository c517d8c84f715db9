"""Tasks without an answer yet, so that each answer counts once. A state machine: no I/O, no clock.

Ids carry the daemon's run: answers to another run, second answers and late ones are dropped.
"""

from __future__ import annotations

from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Outstanding(Generic[T]):
    """Who waits for which task. `unexpected` counts answers that nothing waited for."""

    def __init__(self, run: str) -> None:
        self.unexpected = 0
        self._run = run
        self._numbers = count(1)
        self._waiting: dict[str, T] = {}

    def new(self, who: T) -> str:
        """Create an id; its answer is for `who`."""
        task = f"{self._run}-{next(self._numbers)}"
        self._waiting[task] = who
        return task

    def answered(self, task: str) -> T | None:
        """Take an answer; return who waited for it, if anyone still does."""
        who = self._waiting.pop(task, None)
        self.unexpected += who is None
        return who

    def give_up(self, task: str) -> bool:
        """Stop waiting for a task; return whether it was unanswered."""
        return self._waiting.pop(task, None) is not None
