"""A bell: any number of rings before someone listens count as one. Wakes the one task that owns it."""

from __future__ import annotations

from typing import Any

import trio
from trio.lowlevel import Abort, Task


class Bell:
    """`ring` from any task of the loop, `wait` in the owner's, one task at a time.

    Bells ring for every piece of audio that comes, so there is nothing between them and the loop.
    """

    def __init__(self) -> None:
        self._rung = False
        self._waiting: Task | None = None

    def ring(self) -> None:
        """Wake the owner, now or when it next waits."""
        self._rung = True
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    async def wait(self) -> None:
        """Until it rings; at once if it rang since the last wait."""
        if self._rung:
            await trio.lowlevel.checkpoint()
        else:
            assert self._waiting is None, "a bell has one owner"
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        self._rung = False

    def _give_up(self, _raise_cancel: Any) -> Abort:
        self._waiting = None
        return Abort.SUCCEEDED
