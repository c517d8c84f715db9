"""Collect what one connection has to send, in order, without a queue of events.

In: replies and attachments. Out: the next messages. Replies wait in a short queue, events in their session's log. A
reply may wait until an attachment has sent a certain stored event, so that `finalize` is answered after its segments.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import trio

from convo.messages import Message
from convod.auto_reset_event import AutoResetEvent
from convod.sessions import Subscription
from convod.sessions.feed import EventLog
from convod.store import StoreAway

REPLIES: Final = 256
"""Most replies that may wait; beyond, no request is read until the client takes some."""

AGAIN_S: Final = 0.5
"""Until events are read again from a store that was away."""

TOGETHER: Final = 64
"""Messages after which no more are collected: encoding thousands at once would delay every connection."""


class Outbox:
    """The messages of one connection; its writer task calls `next`."""

    def __init__(self) -> None:
        self._replies: deque[tuple[Message, Subscription | None, int]] = deque()
        self._attachments: dict[str, Subscription] = {}
        self._wakeup = AutoResetEvent()
        self._room = trio.lowlevel.ParkingLot()
        self._closing = False

    def put(self, message: Message, *, after: Subscription | None = None, seq: int = 0) -> None:
        """Send a message; if `after` is given, once it has taken the stored event `seq`."""
        self._replies.append((message, after, seq))
        self._wakeup.set()

    async def wait_room(self) -> None:
        """Wait until fewer than REPLIES wait."""
        while len(self._replies) >= REPLIES:
            await self._room.park()

    def attach(self, feed: EventLog, after_seq: int) -> Subscription:
        """Send the events of a session from now on, instead of an earlier attachment to it."""
        self.detach(feed.session)
        attachment = feed.subscribe(after_seq, self._wakeup.set)
        self._attachments[feed.session] = attachment
        self._wakeup.set()
        return attachment

    def detach(self, session: str) -> bool:
        """Send no more events of a session; return whether it was attached."""
        attachment = self._attachments.pop(session, None)
        if attachment is not None:
            attachment.log.unsubscribe(attachment)
        return attachment is not None

    def attachment(self, session: str) -> Subscription | None:
        """Return the attachment to a session, if there is one."""
        return self._attachments.get(session)

    @property
    def attached(self) -> bool:
        """Whether any session is attached."""
        return bool(self._attachments)

    def finish(self) -> None:
        """Have `next` return what waits, then None."""
        self._closing = True
        self._wakeup.set()

    def close(self) -> None:
        """Detach all sessions, and finish."""
        for session in list(self._attachments):
            self.detach(session)
        self.finish()

    async def next(self) -> list[Message] | None:
        """Wait for the next messages and return them; None when finished and empty."""
        while True:
            messages = self._take_replies()
            away = False
            for session, attachment in list(self._attachments.items()):
                if attachment.ready:
                    try:
                        messages += await attachment.take()
                    except StoreAway:
                        away = True
                        continue
                    if self._attachments.get(session) is attachment:  # the others are first the next time
                        self._attachments[session] = self._attachments.pop(session)
                if len(messages) >= TOGETHER:
                    break
            if messages:
                return messages
            if self._closing:
                return None
            if away:
                with trio.move_on_after(AGAIN_S):
                    await self._wakeup.wait()
            else:
                await self._wakeup.wait()

    def _take_replies(self) -> list[Message]:
        ready: list[Message] = []
        if not self._replies:
            return ready
        later: deque[tuple[Message, Subscription | None, int]] = deque()
        for message, after, seq in self._replies:
            waits = (
                after is not None
                and not self._closing
                and after.cursor < seq
                and self._attachments.get(after.log.session) is after
            )
            if waits:
                later.append((message, after, seq))
            else:
                ready.append(message)
        self._replies = later
        self._room.unpark_all()
        return ready
