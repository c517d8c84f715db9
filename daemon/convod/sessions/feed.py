"""A session's events on their way to those who are attached.

In: events as they happen. Out: for each attachment, what it has not had yet, in order. Stored events are never queued
for a reader: an attachment is a place in the session's sequence, read from memory or from the store when its
connection can send. Other events wait in a few slots where the newest wins. So a slow reader costs nothing, and one
that comes back misses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from convo.messages import (
    AudioAck,
    DurableEvent,
    Event,
    Progress,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convod.store import Store

RECENT: Final = 64
"""Stored events that a session keeps in memory for those who follow it live."""

PAGE: Final = 64
"""Stored events that are read at once for one that catches up."""

LOOSE: Final = 64
"""Most events that are not stored and wait for one reader."""

DELTA_CHARACTERS: Final = 65536
"""Most characters of a summary being written that wait for one reader; the final summary has them all."""


class Attachment:
    """One reader of a feed. `cursor` is the last stored event it was given; `wake` is called when there is more."""

    def __init__(self, feed: Feed, cursor: int, wake: Callable[[], None]) -> None:
        self.feed = feed
        self.cursor = cursor
        self._wake = wake
        # Events that are not stored, each with the `seq` that was the newest when it happened.
        self._loose: deque[tuple[int, Event]] = deque()

    @property
    def ready(self) -> bool:
        """Whether `take` would give something."""
        return self.cursor < self.feed.seq or bool(self._loose)

    async def take(self) -> list[Event]:
        """The next events in order; an empty list when there are none."""
        stored = await self.feed.after(self.cursor)
        events: list[Event] = []
        for event in stored:
            self._take_loose(events)
            events.append(event)
            self.cursor = event.seq
        if self.cursor >= self.feed.seq:
            self._take_loose(events)
        return events

    def _take_loose(self, events: list[Event]) -> None:
        while self._loose and self._loose[0][0] <= self.cursor:
            events.append(self._loose.popleft()[1])

    def _say(self, event: Event) -> None:
        if isinstance(event, SummaryDelta):
            self._say_delta(event)
        else:
            if isinstance(event, AudioAck | Progress | TranscriptPartial):
                self._drop(type(event))
            self._loose.append((self.feed.seq, event))
        while len(self._loose) > LOOSE:
            self._loose.popleft()
        self._wake()

    def _say_delta(self, event: SummaryDelta) -> None:
        if self._loose and isinstance(last := self._loose[-1][1], SummaryDelta):
            seq = self._loose.pop()[0]
            if event.restart:  # what was waiting is void
                seq = self.feed.seq
            else:
                text = (last.text + event.text)[:DELTA_CHARACTERS]
                event = SummaryDelta(session=event.session, text=text, restart=last.restart)
            self._loose.append((seq, event))
        else:
            self._loose.append((self.feed.seq, event))

    def _stored(self, event: DurableEvent) -> None:
        if isinstance(event, TranscriptSegment):
            self._drop(TranscriptPartial)  # the segment says it all
        self._wake()

    def _drop(self, kind: type[Event]) -> None:
        if any(isinstance(event, kind) for _, event in self._loose):
            self._loose = deque(pair for pair in self._loose if not isinstance(pair[1], kind))


class Feed:
    """The events of one session. `seq` is the newest stored one."""

    def __init__(self, session: str, store: Store, seq: int) -> None:
        self.session = session
        self.seq = seq
        self._store = store
        self._recent: deque[DurableEvent] = deque(maxlen=RECENT)
        self._attachments: set[Attachment] = set()
        self.keeper: object = None  # what must live as long as anybody reads here

    def attach(self, after_seq: int, wake: Callable[[], None]) -> Attachment:
        """A new reader, which has had the stored events up to `after_seq`."""
        attachment = Attachment(self, min(after_seq, self.seq), wake)
        self._attachments.add(attachment)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Forget a reader."""
        self._attachments.discard(attachment)

    def say(self, event: Event) -> None:
        """An event that is not stored."""
        for attachment in self._attachments:
            attachment._say(event)

    def stored(self, event: DurableEvent) -> None:
        """An event that is in the store by now."""
        assert event.seq == self.seq + 1, "stored events have no gaps"
        self.seq = event.seq
        self._recent.append(event)
        for attachment in self._attachments:
            attachment._stored(event)

    async def after(self, seq: int) -> list[DurableEvent]:
        """Some stored events after `seq`, oldest first; none if there are none yet."""
        if seq >= self.seq:
            return []
        if self._recent and self._recent[0].seq <= seq + 1:
            return [event for event in self._recent if event.seq > seq]
        return await self._store.events(self.session, seq, PAGE)
