"""Events of one job for all who follow it: one connection to the daemon, however many readers there are.

In: tokens, jobs and the last event that a reader has. Out: the stored events behind it, each once, and the newest
progress. A feed keeps the latest events; a reader that lacks older ones, or fell behind, catches up on a connection of
its own. This module knows no dialect.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import trio
from anyio.abc import TaskGroup

import convo
from convo.messages import AttachReply, Code, DurableEvent, Event, Progress
from convo.transport import background_tasks

from .daemon_client import Daemon
from .errors import Refused, translated

log = logging.getLogger("convo_gateway")

KEPT: Final = 256
"""Events that a feed keeps for its readers."""

Tell = Callable[[Event], Awaitable[None]]


class Fanout:
    """All feeds; they run as long as `running` does."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        # By token, too: another client's feed must not show a job to one that the daemon would refuse.
        self._feeds: dict[tuple[str | None, str], _Feed] = {}
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Own the tasks of all feeds for the length of a block."""
        async with background_tasks() as self._tasks:
            yield

    @asynccontextmanager
    async def reader(self, token: str | None, job: str, after_seq: int) -> AsyncIterator[Reader]:
        """Follow a job behind event `after_seq` for the length of a block.

        Raises:
            Refused: the daemon does not show it, or is not there.
        """
        key = token, job
        feed = self._feeds.get(key)
        if feed is None:
            assert self._tasks is not None
            feed = self._feeds[key] = _Feed(after_seq)
            self._tasks.start_soon(self._run, key, feed)
        feed.readers += 1
        try:
            reply = await feed.opened()
            yield Reader(self._daemon, token, job, after_seq, feed, reply)
        finally:
            feed.readers -= 1
            if not feed.readers:
                self._forget(key, feed)
                feed.scope.cancel()

    @asynccontextmanager
    async def alone(self, token: str | None, job: str, after_seq: int) -> AsyncIterator[LoneReader]:
        """Follow a job as `reader` does, over a connection of its own, and be told every event. Raises like it."""
        async with self._daemon.follow(token, job, after_seq) as events:
            yield LoneReader(events, await events.opened(), after_seq)

    async def _run(self, key: tuple[str | None, str], feed: _Feed) -> None:
        try:
            with feed.scope:
                if not await self._feed(key, feed):
                    feed.start = 0  # its first reader has the number of another job's event
                    await self._feed(key, feed)
        except Refused as error:
            feed.failure = error
        except Exception:
            log.exception("a job's events cannot be followed")
            feed.failure = Refused(Code.INTERNAL, "Internal error in the gateway; see its log.")
        finally:
            self._forget(key, feed)
            feed.end()

    async def _feed(self, key: tuple[str | None, str], feed: _Feed) -> bool:
        """Pass events on to the end; returns False at once if there is none with the number that it starts behind."""
        token, job = key
        async with self._daemon.follow(token, job, feed.start) as events:
            reply = await events.opened()
            if reply.seq < feed.start:
                return False
            feed.attached(reply)
            async for event in events:
                feed.put(event)
        return True

    def _forget(self, key: tuple[str | None, str], feed: _Feed) -> None:
        """Have the next reader ask the daemon anew: a job that is over may go on, with another summary."""
        if self._feeds.get(key) is feed:
            del self._feeds[key]


class _Feed:
    """The latest stored events of a job, whose numbers have no gaps."""

    def __init__(self, after_seq: int) -> None:
        self.readers = 0
        self.scope = trio.CancelScope()
        self.failure: Refused | None = None
        self.over = False
        self.progress: Progress | None = None
        self._reply: AttachReply | None = None
        self.start = after_seq  # number of the event before the first that is kept
        self._events: deque[DurableEvent] = deque()
        self._changed = trio.lowlevel.ParkingLot()

    async def opened(self) -> AttachReply:
        """Wait for the daemon's answer.

        Raises:
            Refused: it said no.
        """
        while self._reply is None:
            if self.over:
                raise self.failure or Refused(Code.BUSY, "The gateway is stopping; try again.")
            await self.wait_changed()
        return self._reply

    def attached(self, reply: AttachReply) -> None:
        """Take the daemon's answer."""
        self._reply = reply
        self._changed.unpark_all()

    def put(self, event: Event) -> None:
        """Take an event; of progress the newest counts, and the others are for those who speak."""
        if isinstance(event, DurableEvent):
            self._events.append(event)
            if len(self._events) > KEPT:
                self._events.popleft()
                self.start += 1
        elif isinstance(event, Progress):
            self.progress = event
        else:
            return
        self._changed.unpark_all()

    def after(self, seq: int) -> list[DurableEvent] | None:
        """Return the events behind one; None if some of them are not kept any more."""
        return None if seq < self.start else list(islice(self._events, seq - self.start, None))

    def end(self) -> None:
        """Tell the readers that nothing more comes."""
        self.over = True
        self._changed.unpark_all()

    async def wait_changed(self) -> None:
        """Wait for an event, or the end."""
        await self._changed.park()


class LoneReader:
    """One who follows a job over a connection of its own. `done` says that there is nothing to follow any more."""

    def __init__(self, events: convo.Follower, reply: AttachReply, after_seq: int) -> None:
        self._events = events
        self.done = reply.state.final and after_seq >= reply.seq

    async def run(self, tell: Tell) -> None:
        """Tell every event until the job is over. Raises like `Reader.run`."""
        with translated():
            async for event in self._events:
                await tell(event)


class Reader:
    """One who follows a job. `done` says that there is nothing to follow any more."""

    def __init__(
        self, daemon: Daemon, token: str | None, job: str, after_seq: int, feed: _Feed, reply: AttachReply
    ) -> None:
        self._daemon = daemon
        self._token = token
        self._job = job
        self._seq = after_seq
        self._feed = feed
        self.done = reply.state.final and after_seq >= reply.seq

    async def run(self, tell: Tell) -> None:
        """Tell every event until the job is over.

        Raises:
            Refused: the daemon does not show it any more, or went away for too long.
        """
        while not await self._from_feed(tell):
            await self._catch_up(tell)

    async def _from_feed(self, tell: Tell) -> bool:
        """Return whether the job is over; else events are missing here."""
        feed, progress = self._feed, self._feed.progress
        while (events := feed.after(self._seq)) is not None:
            for event in events:
                await self._tell(event, tell)
            if events:
                continue
            if feed.progress is not progress:
                progress = feed.progress
                assert progress is not None
                await tell(progress)
            elif feed.over:
                if feed.failure is not None:
                    raise feed.failure
                return True
            else:
                await feed.wait_changed()
        return False

    async def _catch_up(self, tell: Tell) -> None:
        async with self._daemon.follow(self._token, self._job, self._seq) as events:
            async for event in events:
                if isinstance(event, DurableEvent):
                    await self._tell(event, tell)
                if self._feed.after(self._seq) is not None:
                    return

    async def _tell(self, event: DurableEvent, tell: Tell) -> None:
        await tell(event)
        self._seq = event.seq
