"""Waits for what the loop's other tasks bring about, without a poll and without a sleep.

In: a condition. Out: the moment at which it holds. It is looked at after each step of a task, for nothing else changes
what a test can see; what happens in another process is seen when a task of this one is told of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

PATIENCE_S: Final = 60.0
"""For what comes at once, on a busy machine; on a virtual clock, for what never comes."""


class _Watch(trio.abc.Instrument):
    def __init__(self, condition: Callable[[], object]) -> None:
        self.met = trio.Event()
        self.fault: Exception | None = None
        self._condition = condition

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.met.is_set():
            return
        try:
            met = self._condition()
        except Exception as fault:  # raised here, it would be logged and forgotten
            self.fault, met = fault, True
        if met:
            self.met.set()


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` is true; what it raises is raised."""
    await trio.lowlevel.checkpoint()
    if condition():
        return
    watch = _Watch(condition)
    trio.lowlevel.add_instrument(watch)
    try:
        with trio.fail_after(PATIENCE_S):
            await watch.met.wait()
    finally:
        trio.lowlevel.remove_instrument(watch)
    if watch.fault is not None:
        raise watch.fault
