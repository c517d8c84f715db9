"""Delete finished sessions and their audio once they exceed the age or size that the settings allow.

In: the store, the spool, functions that delete a whole session and its audio alone. Out: sessions and audio that are
gone. It runs at the start and then every hour, and touches no session that is not in a final state. After a jump of the
clock it deletes nothing for its age for a while (`clock`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from convo.messages import State
from convod.sessions.clock import DAY_S, ClockNote, judge
from convod.sessions.limits import RetentionSettings
from convod.store import Spool, Store, StoreFailed

log = logging.getLogger("convod.sessions")

EVERY_S: Final = 3600.0
PAGE: Final = 100

CLOCK: Final = "clock"
"""The stored note about the clock."""


def running_s() -> float:
    """Return seconds by a clock that is never set, and that counts sleep too where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


Clocks = tuple[Callable[[], float], Callable[[], float]]
"""The wall clock, Unix seconds, and one that is never set."""


class Retention:
    """Deletes sessions and audio that are too old, while `run` runs."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        settings: RetentionSettings,
        delete: Callable[[str], Awaitable[None]],
        remove_audio: Callable[[str], Awaitable[None]],
        clocks: Clocks = (time.time, running_s),
    ) -> None:
        self._store = store
        self._spool = spool
        self._settings = settings
        self._delete = delete
        self._remove = remove_audio
        self._now, self._running = clocks
        self._looked: float | None = None  # by `running`: when this process last looked at the clock
        self.message: str | None = None
        """Why nothing is deleted for its age now."""

    async def run(self) -> None:
        """Delete what is due now and then, until cancelled."""
        while True:
            try:
                await self.look()
            except (StoreFailed, OSError) as error:
                log.error("what is too old could not be removed: %s", error)
            await trio.sleep(EVERY_S)

    async def look(self) -> None:
        """Delete what is too old or too large now."""
        settings = self._settings
        if (settings.days or settings.audio_days or settings.failed_audio_days) and await self._may_trust_clock():
            if settings.days:
                await self._delete_before(self._now() - settings.days * DAY_S)
            if settings.audio_days or settings.failed_audio_days:
                await self._remove_audio()
        if settings.bytes:
            await self._shrink(settings.bytes)
        await self._store.tidy()

    async def _may_trust_clock(self) -> bool:
        now, running = self._now(), self._running()
        before = await self._clock_note(now)
        note = judge(before, now, 0.0 if self._looked is None else running - self._looked)
        self._looked = running
        await self._store.set_note(CLOCK, msgspec.json.encode(note).decode())
        if not note.holds(now):
            self.message = None
            return True
        until = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(note.hold_until))
        self.message = (
            f"the clock jumped ahead: nothing is deleted for its age before {until}; set the clock if it is wrong"
        )
        if note.hold_until != before.hold_until:
            log.warning("%s", self.message, extra={"days": round((now - before.seen) / DAY_S, 1)})
        return False

    async def _clock_note(self, now: float) -> ClockNote:
        if (text := await self._store.note(CLOCK)) is not None:
            return msgspec.json.decode(text, type=ClockNote)
        newest = await self._store.newest(None, limit=1)
        return ClockNote(newest[0].created if newest else now)

    async def _delete_before(self, moment: float) -> None:
        while old := await self._store.finished(before=moment, limit=PAGE):
            for record in old:
                await self._delete(record.id)
            log.info("sessions older than %.0f days were deleted", self._settings.days, extra={"sessions": len(old)})

    async def _remove_audio(self) -> None:
        settings = self._settings
        for session in list(self._spool.sessions()):
            record = await self._store.get(session)
            if record is None or not record.state.final:
                continue
            days = settings.failed_audio_days if record.state is State.FAILED else settings.audio_days
            try:
                if days and self._spool.written(session) < self._now() - days * DAY_S:
                    await self._remove(session)
                    log.info("kept audio was removed", extra={"session": session})
            except OSError as error:  # one failure must not hold up the others
                log.error("audio that is too old could not be removed: %s", error, extra={"session": session})

    async def _shrink(self, most: int) -> None:
        """Delete the oldest sessions of each owner who has more than that."""
        for owner, taken in (await self._store.used(final=True)).items():
            while taken > most and (oldest := await self._store.finished(owner=owner, limit=1)):
                await self._delete(oldest[0].id)
                log.info("a user's oldest session was deleted: theirs are too large", extra={"session": oldest[0].id})
                taken = (await self._store.used(owner, final=True)).get(owner, 0)
