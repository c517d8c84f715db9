"""Sessions that are deleted a little later, so that it can be taken back.

In: a session's id. Out: it is gone at the daemon after `UNDO_S`, or when the app is left; not if somebody took it back.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import convo
from convo.messages import DeleteSession

from ..work.start import start

if TYPE_CHECKING:
    from ..app import ConvoApp

UNDO_S = 8.0
"""Seconds in which a deleted session can be taken back."""


class UndoableDelete:
    """Keeps a timer for each session that is about to go."""

    def __init__(self, app: ConvoApp) -> None:
        self._app = app
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return bool(self._timers)

    @property
    def doomed(self) -> set[str]:
        """Sessions that are about to be deleted."""
        return set(self._timers)

    def delete(self, session: str, name: str) -> None:
        """Delete a session unless somebody takes it back."""
        if session in self._timers:
            return
        loop = asyncio.get_running_loop()
        self._timers[session] = loop.call_later(UNDO_S, self._due, session)
        self._app.say(f"Deleted {name or session[:8]}. u takes it back.")
        self._app.refresh_bindings()

    def undo(self) -> None:
        """Take back what was deleted last."""
        if self._timers:
            _, timer = self._timers.popitem()
            timer.cancel()
            self._app.say("It is back.")
            self._app.history_changed()
            self._app.refresh_bindings()

    def _due(self, session: str) -> None:
        start(self._app, partial(self._delete, session), group="delete")

    async def _delete(self, session: str, within_s: float | None = None) -> None:
        timer = self._timers.get(session)
        if timer is None:
            return
        timer.cancel()
        try:
            async with asyncio.timeout(within_s):
                await self._app.link.request(DeleteSession(session=session))
        except convo.RequestError as error:
            if error.code != convo.Code.UNKNOWN_SESSION:
                self._app.say(error.message, "error")
        except convo.ConvoError as error:
            self._app.say(str(error), "error")
        except TimeoutError:
            pass  # left without a daemon: the session stays, which loses nothing
        self._timers.pop(session, None)
        self._app.history_changed(gone=session)
        self._app.refresh_bindings()

    async def close(self, within_s: float) -> None:
        """Delete now what nobody took back."""
        for session in list(self._timers):
            await self._delete(session, within_s)
