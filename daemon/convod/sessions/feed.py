"""A session's events on their way to its subscribers.

In: events as they happen. Out: for each subscription, what it has not received yet, in order. Stored events are never
queued for a reader: a subscription is a position in the session's sequence, read from memory or from the store when its
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
"""Stored events that are read at once for a reader that catches up."""

TRANSIENT: Final = 64
"""Most events that are not stored and wait for one reader."""

DELTA_CHARACTERS: Final = 65536
"""Most characters of a summary in progress that wait for one reader; the final summary has them all."""


class Subscription:
    """One reader of an event log.

    Args:
        log: what it reads.
        cursor: `seq` of the last stored event that the reader has.
        wake: called when there is more to `take`.
    """

    def __init__(self, log: EventLog, cursor: int, wake: Callable[[], None]) -> None:
        self.log = log
        self.cursor = cursor
        self._wake = wake
        # Each with the `seq` that was the newest when it happened.
        self._transient: deque[tuple[int, Event]] = deque()

    @property
    def ready(self) -> bool:
        """Whether `take` would return something."""
        return self.cursor < self.log.seq or bool(self._transient)

    @property
    def pending(self) -> int:
        """How many events that are not stored wait here."""
        return len(self._transient)

    async def take(self) -> list[Event]:
        """Return the next events in order; an empty list when there are none."""
        stored = await self.log.read_after(self.cursor)
        events: list[Event] = []
        for event in stored:
            self._take_transient(events)
            events.append(event)
            self.cursor = event.seq
        if self.cursor >= self.log.seq:
            self._take_transient(events)
        return events

    def _take_transient(self, events: list[Event]) -> None:
        while self._transient and self._transient[0][0] <= self.cursor:
            events.append(self._transient.popleft()[1])

    def on_transient(self, event: Event) -> None:
        """Note an event that is not stored."""
        if isinstance(event, SummaryDelta):
            self._add_delta(event)
        else:
            if isinstance(event, AudioAck | Progress | TranscriptPartial):
                self._drop(type(event))
            self._transient.append((self.log.seq, event))
        while len(self._transient) > TRANSIENT:
            self._transient.popleft()
        self._wake()

    def _add_delta(self, event: SummaryDelta) -> None:
        if self._transient and isinstance(last := self._transient[-1][1], SummaryDelta):
            seq = self._transient.pop()[0]
            if event.restart:  # the text that was waiting is void
                seq = self.log.seq
            else:
                text = (last.text + event.text)[:DELTA_CHARACTERS]
                event = SummaryDelta(session=event.session, text=text, restart=last.restart)
            self._transient.append((seq, event))
        else:
            self._transient.append((self.log.seq, event))

    def on_stored(self, event: DurableEvent) -> None:
        """Note that there is another stored event."""
        if isinstance(event, TranscriptSegment):
            self._drop(TranscriptPartial)  # the segment replaces it
        self._wake()

    def on_moved(self) -> None:
        """Note that there are more stored events, in the store alone."""
        self._drop(TranscriptPartial)
        self._wake()

    def _drop(self, kind: type[Event]) -> None:
        if any(isinstance(event, kind) for _, event in self._transient):
            self._transient = deque(pair for pair in self._transient if not isinstance(pair[1], kind))


class EventLog:
    """The events of one session. `seq` is that of the newest stored one; `recent` are the last of them, in memory.

    Whoever reads here keeps `keeper` alive: the journal, which must be the same for all.
    """

    def __init__(self, session: str, store: Store, seq: int, keeper: object = None) -> None:
        self.session = session
        self.seq = seq
        self._store = store
        self.recent: deque[DurableEvent] = deque(maxlen=RECENT)
        self._subscriptions: set[Subscription] = set()
        self._keeper = keeper

    @property
    def readers(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    def subscribe(self, after_seq: int, wake: Callable[[], None]) -> Subscription:
        """Add a reader that has the stored events up to `after_seq`."""
        subscription = Subscription(self, min(after_seq, self.seq), wake)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a reader, if it is still there."""
        self._subscriptions.discard(subscription)

    def send(self, event: Event) -> None:
        """Pass on an event that is not stored."""
        for subscription in self._subscriptions:
            subscription.on_transient(event)

    def append(self, event: DurableEvent) -> None:
        """Pass on an event that has just been stored."""
        assert event.seq == self.seq + 1, "stored events have no gaps"
        self.seq = event.seq
        self.recent.append(event)
        for subscription in self._subscriptions:
            subscription.on_stored(event)

    def move(self, seq: int) -> None:
        """Note that events up to `seq` were stored by another convod."""
        if seq <= self.seq:
            return
        self.seq = seq
        self.recent.clear()  # what comes after it is read from the store
        for subscription in self._subscriptions:
            subscription.on_moved()

    async def read_after(self, seq: int) -> list[DurableEvent]:
        """Return some stored events after `seq`, oldest first; an empty list when there are none yet."""
        if seq >= self.seq:
            return []
        if self.recent and self.recent[0].seq <= seq + 1:
            return [event for event in self.recent if event.seq > seq]
        # What is stored beyond that is in doubt here, and sent once it is known.
        return [event for event in await self._store.events(self.session, seq, PAGE) if event.seq <= self.seq]
