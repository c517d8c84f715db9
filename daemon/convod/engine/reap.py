"""End a child process, whatever state it is in.

In: a process. Out: nothing; the process is gone, or not even SIGKILL ends it and it is left to the system.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

import trio

log = logging.getLogger("convod.engine")

KILLED_S: Final = 5.0
"""Seconds the system may take to end a killed process. One that waits for a device (a disk that does not answer, a
driver) lives until the device answers, and stopping the daemon should not wait for that."""


class Process(Protocol):
    """The part of `trio.Process` that is used here."""

    pid: int

    def kill(self) -> None:
        """Send SIGKILL."""

    async def wait(self) -> int:
        """Wait until it has ended."""


async def reap(process: Process) -> None:
    """Kill the process and wait until it is gone, KILLED_S at most, shielded from cancellation."""
    process.kill()
    with trio.move_on_after(KILLED_S, shield=True) as waiting:
        await process.wait()
    if waiting.cancelled_caught:
        log.error("process %d does not end though it was killed; it is left to the system", process.pid)
