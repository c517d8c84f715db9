"""A bell: any number of rings before someone listens count as one. Wakes the one task that owns it."""

from __future__ import annotations

import trio


class Bell:
    """`ring` from any task of the loop, `wait` in the owner's."""

    def __init__(self) -> None:
        self._rung = False
        self._lot = trio.lowlevel.ParkingLot()

    def ring(self) -> None:
        """Wake the owner, now or when it next waits."""
        self._rung = True
        self._lot.unpark_all()

    async def wait(self) -> None:
        """Until it rings; at once if it rang since the last wait."""
        if not self._rung:
            await self._lot.park()
        else:
            await trio.lowlevel.checkpoint()
        self._rung = False
