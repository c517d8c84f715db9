"""The end of a child process, whatever state it is in.

In: a process. Out: nothing: it is gone, or it is one that not even SIGKILL ends, and is left to the system.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

import trio

log = logging.getLogger("convod.engine")

KILLED_S: Final = 5.0
"""How long the system may take to end a process that was killed. One that waits for a device (a disk that does not
answer, a driver) is not ended before that does, and nobody who stops the daemon should have to wait for it."""


class Process(Protocol):
    """What is needed of a `trio.Process`."""

    pid: int

    def kill(self) -> None:
        """Send SIGKILL."""

    async def wait(self) -> int:
        """Until it has ended."""


async def reap(process: Process) -> None:
    """Kill it and wait until it is gone, KILLED_S at most. Is not cancelled."""
    process.kill()
    with trio.move_on_after(KILLED_S, shield=True) as waiting:
        await process.wait()
    if waiting.cancelled_caught:
        log.error("process %d does not end though it was killed; it is left to the system", process.pid)
