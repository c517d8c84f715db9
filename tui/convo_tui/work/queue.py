"""Looks at the daemon's queue of files now and then, for as long as somebody looks at the screen.

In: a link. Out: `JobsChanged`. Nothing here touches a widget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from textual.message import Message

import convo
from convo.messages import Code, ListQueue, ListSessions

from ..messages import JobsChanged
from ..model.queue import QueueModel

POLL_S = 2.0
"""Seconds between two looks: the contract has no event for the queue."""

_NEWEST = 50  # sessions in which a file that left the queue is looked for


class DaemonQueue:
    """`model` is what the daemon said last. `post` takes messages for the app."""

    def __init__(self, link: convo.Link, post: Callable[[Message], object]) -> None:
        self.model = QueueModel()
        self._link = link
        self._post = post
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled, or until the daemon says that it has no queue."""
        while True:
            try:
                queue = await self._link.request(ListQueue())
                newest = await self._link.request(ListSessions(kind="file", limit=_NEWEST))
            except convo.ConvoError as error:
                # A daemon that does not know the request, a token that may not ask, or no daemon any more.
                if not (isinstance(error, convo.RequestError) and error.code == Code.BUSY):
                    return
            else:
                now = asyncio.get_running_loop().time()
                self.model.update(queue.jobs, newest.sessions, paused=queue.paused, now=now, wall=time.time())
                self._post(JobsChanged())
            self._hurry.clear()
            try:
                async with asyncio.timeout(POLL_S):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    def hurry(self) -> None:
        """Look again now: something was asked of it."""
        self._hurry.set()
