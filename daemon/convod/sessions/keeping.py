"""What is finished is kept for as long as the settings say, and no longer.

In: the store, the spool, a way to delete a session whole. Out: sessions and audio that are gone. It looks at the start
and then every hour, touches nothing that is in no final state, and tells nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from convo.messages import State
from convod.sessions.limits import RetentionSettings
from convod.store import Spool, Store, StoreFailed

log = logging.getLogger("convod.sessions")

EVERY_S: Final = 3600.0
DAY_S: Final = 86400.0
PAGE: Final = 100


class Keeping:
    """`run` it once."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        settings: RetentionSettings,
        delete: Callable[[str], Awaitable[None]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._spool = spool
        self._settings = settings
        self._delete = delete
        self._now = now

    async def run(self) -> None:
        """Look, wait, look again, until cancelled."""
        while True:
            try:
                await self.look()
            except (StoreFailed, OSError) as error:
                log.error("what is too old could not be removed: %s", error)
            await trio.sleep(EVERY_S)

    async def look(self) -> None:
        """Remove what is too old or too much now."""
        settings = self._settings
        if settings.days:
            await self._delete_before(self._now() - settings.days * DAY_S)
        if settings.audio_days or settings.failed_audio_days:
            await self._remove_audio()
        if settings.bytes:
            await self._shrink(settings.bytes)
        await self._store.tidy()

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
            if days and self._spool.written(session) < self._now() - days * DAY_S:
                self._spool.remove(session)
                log.info("kept audio was removed", extra={"session": session})

    async def _shrink(self, most: int) -> None:
        while await self._store.size() + await self._held() > most:
            oldest = await self._store.finished(limit=1)
            if not oldest:
                return
            await self._delete(oldest[0].id)
            log.info("the oldest session was deleted: the history is too large", extra={"session": oldest[0].id})

    async def _held(self) -> int:
        """Bytes of audio that finished sessions hold. No deletion frees what an upload or a talk that goes on holds."""
        unfinished = await self._store.unfinished()
        return self._spool.used - sum(self._spool.size(record.id) or 0 for record in unfinished)
