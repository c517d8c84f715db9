"""An event that resets itself: sets before a wait count as one, and each wait consumes them."""

from __future__ import annotations

from typing import Any

import trio
from trio.lowlevel import Abort, Task


class AutoResetEvent:
    """`set` from any task of the loop, `wait` in one task at a time.

    It is set for every piece of audio that arrives, so it uses trio's lowest layer directly.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: Task | None = None

    def set(self) -> None:
        """Wake the waiting task now, or let its next wait return at once."""
        self._is_set = True
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    async def wait(self) -> None:
        """Wait until it is set, then reset it; return at once if it was set since the last wait."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
        else:
            assert self._waiter is None, "only one task may wait"
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._is_set = False

    def _abort(self, _raise_cancel: Any) -> Abort:
        self._waiter = None
        return Abort.SUCCEEDED
