"""Deletes sessions after a delay, so that it can be undone.

In: a session's id. Out: the daemon deletes it after `UNDO_S`, or when the app quits, unless the user undoes it;
`DeletesChanged` at each step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

from textual.dom import DOMNode

import convo
from convo.messages import DeleteSession

from ..messages import DeletesChanged, Notice
from .link import DaemonLink
from .start import start

UNDO_S = 8.0
"""Seconds in which a delete can be undone."""


class UndoableDelete:
    """One timer per session about to be deleted; iterates over their ids."""

    def __init__(self, owner: DOMNode, daemon: DaemonLink) -> None:
        self._owner = owner
        self._daemon = daemon
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._timers)

    def delete(self, session: str, name: str) -> None:
        """Delete a session, unless `undo` comes first."""
        if session not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[session] = loop.call_later(UNDO_S, self._due, session)
            self._owner.post_message(Notice(f"Deleted {name or session[:8]}. Press u to undo."))
            self._owner.post_message(DeletesChanged())

    def undo(self) -> None:
        """Undo the last delete."""
        if self._timers:
            _, timer = self._timers.popitem()
            timer.cancel()
            self._owner.post_message(Notice("Restored."))
            self._owner.post_message(DeletesChanged())

    def _due(self, session: str) -> None:
        start(self._owner, partial(self._delete, session), group="delete")

    async def _delete(self, session: str, within_s: float | None = None) -> None:
        timer = self._timers.get(session)
        if timer is None:
            return
        timer.cancel()
        try:
            async with asyncio.timeout(within_s):
                await self._daemon.link.request(DeleteSession(session=session))
        except convo.RequestError as error:
            if error.code != convo.Code.UNKNOWN_SESSION:
                self._owner.post_message(Notice(error.message, "error"))
        except convo.ConvoError as error:
            self._owner.post_message(Notice(str(error), "error"))
        except TimeoutError:
            pass  # no daemon on quitting: the session stays, so nothing is lost
        self._timers.pop(session, None)
        self._owner.post_message(DeletesChanged(session))

    async def close(self, within_s: float) -> None:
        """Delete everything that is still due, now."""
        for session in list(self._timers):
            await self._delete(session, within_s)
