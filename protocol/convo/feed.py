"""The events of one session that wait for the application.

In: events as the daemon sends them. Out: the same events in the same order, without those that a newer one replaces.
This module never blocks and never grows without bound: stored events are counted, and one of each ephemeral type is
kept.
"""

from __future__ import annotations

import msgspec

from .errors import EventsLost
from .messages import (
    DurableEvent,
    Event,
    FinalSummary,
    RollingSummary,
    SessionState,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)

QUEUE_EVENTS = 1 << 16
"""Stored events that may wait for one session's reader; beyond, it has to attach again."""

_LONGEST_DELTA = 1 << 20  # characters; the summary itself follows as a stored event


class Feed:
    """A queue between the reader of the socket, which never waits, and the application, which may.

    Args:
        session: whose events these are.
        after_seq: number of the last event that the application has; None if the first one may have any.
        replay_until: the newest stored event when the feed began; up to there, events are replayed.
        state: the session's state at that event.
        bound: stored events that may wait.
    """

    def __init__(
        self,
        session: str,
        *,
        after_seq: int | None = None,
        replay_until: int = 0,
        state: State = State.PENDING,
        bound: int = QUEUE_EVENTS,
    ) -> None:
        self._session = session
        self._bound = bound
        # In order of arrival. Stored events are found by their number, ephemeral ones by their class.
        self._waiting: dict[int | type[Event], Event] = {}
        self._stored_waiting = 0
        self._received = after_seq
        self._lost = False
        self._finished_segment = -1
        self._delivered = after_seq or 0
        self._replay_until = replay_until
        self._state = state

    @property
    def finished(self) -> bool:
        """Whether the application has taken the event after which nothing follows by itself."""
        return self._state.final and self._delivered >= self._replay_until

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Add an event from the daemon."""
        if self._lost:
            return
        if isinstance(event, DurableEvent):
            self._put_stored(event)
        else:
            self._put_ephemeral(event)

    def take(self) -> Event | None:
        """Return the next event, None if none waits.

        Raises:
            EventsLost: the next one was not kept.
        """
        if not self._waiting:
            if self._lost:
                raise EventsLost(self._session, self._delivered)
            return None
        key = next(iter(self._waiting))
        event = self._waiting.pop(key)
        if isinstance(event, DurableEvent):
            self._stored_waiting -= 1
            self._delivered = event.seq
            if isinstance(event, SessionState) and event.seq >= self._replay_until:
                self._state = event.state
        return event

    def _put_stored(self, event: DurableEvent) -> None:
        if self._received is not None and event.seq <= self._received:
            return  # told twice
        gap = self._received is not None and event.seq != self._received + 1
        if gap or self._stored_waiting >= self._bound:
            self._lost = True
            return
        match event:
            case TranscriptSegment():
                self._finished_segment = max(self._finished_segment, event.segment)
                partial = self._waiting.get(TranscriptPartial)
                if isinstance(partial, TranscriptPartial) and partial.segment <= self._finished_segment:
                    del self._waiting[TranscriptPartial]
            case RollingSummary() | FinalSummary():
                self._waiting.pop(SummaryDelta, None)
        self._received = event.seq
        self._waiting[event.seq] = event
        self._stored_waiting += 1

    def _put_ephemeral(self, event: Event) -> None:
        """Put the newest of its type last: it may come after stored events, and never moves before one."""
        if isinstance(event, TranscriptPartial) and event.segment <= self._finished_segment:
            return
        older = self._waiting.pop(type(event), None)
        if isinstance(event, SummaryDelta) and isinstance(older, SummaryDelta) and not event.restart:
            event = msgspec.structs.replace(older, text=(older.text + event.text)[:_LONGEST_DELTA])
        self._waiting[type(event)] = event
