"""Acknowledgements, gathered: a session that is sent fifty pieces a second does not answer each one.

In: sessions that have something to acknowledge. Out: one call for each, at most GATHER_S later. One task serves all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from convod.auto_reset_event import AutoResetEvent

GATHER_S: Final = 0.06
"""How long an acknowledgement may wait for the next one."""


class Acks:
    """`run` it once; call `soon` from any task of the loop."""

    def __init__(self) -> None:
        self._due: dict[object, Callable[[], None]] = {}
        self._wakeup = AutoResetEvent()

    def soon(self, session: object, acknowledge: Callable[[], None]) -> None:
        """Call `acknowledge` for this session within GATHER_S, once for however many calls."""
        if not self._due:
            self._wakeup.set()
        self._due[session] = acknowledge

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._wakeup.wait()
            await trio.sleep(GATHER_S)
            due, self._due = self._due, {}
            for acknowledge in due.values():
                acknowledge()
