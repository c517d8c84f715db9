"""Polls the daemon's queue of files while the files screen is open.

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
"""Seconds between two polls: the contract has no event for the queue."""

_NEWEST = 50  # sessions searched for files that left the queue


class DaemonQueue:
    """`model` is the daemon's last answer. `post` takes messages for the app."""

    def __init__(self, link: convo.Link, post: Callable[[Message], object]) -> None:
        self.model = QueueModel()
        self._link = link
        self._post = post
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Poll until cancelled, or until the daemon refuses."""
        while True:
            try:
                queue = await self._link.request(ListQueue())
                newest = await self._link.request(ListSessions(kind="file", limit=_NEWEST))
            except convo.ConvoError as error:
                # An older daemon without a queue, a token without the right, or no daemon any more.
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
        """Poll now: the user changed something."""
        self._hurry.set()
