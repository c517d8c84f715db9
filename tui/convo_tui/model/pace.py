"""How often the screen is told, and whether the daemon keeps up. Both from numbers, neither with a clock of its own.

In: times in seconds, events, lags. Out: when to tell, a verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from convo.messages import AudioAck, Event, SummaryDelta, TranscriptPartial

REDRAW_S = 0.05
"""Seconds between two redraws at least: 20 a second."""

_LATE_MS = 2000.0
_BEHIND_S = 3.0


class Batch:
    """Events that wait for the next redraw. Of partials and acks the latest is kept, the level is one number."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._level: float | None = None
        self._taken_at = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._events) or self._level is not None

    def add(self, event: Event) -> None:
        """An event came."""
        last = self._events[-1] if self._events else None
        if isinstance(event, AudioAck | TranscriptPartial):
            # Events that a newer one replaces lie near the end: what is stored is never looked through.
            for place in range(len(self._events) - 1, max(-1, len(self._events) - 8), -1):
                if type(self._events[place]) is type(event):
                    del self._events[place]
                    break
        elif isinstance(event, SummaryDelta) and isinstance(last, SummaryDelta):
            # A text that begins anew takes the place of the piece before it.
            text = event.text if event.restart else last.text + event.text
            self._events[-1] = SummaryDelta(session=event.session, text=text, restart=event.restart or last.restart)
            return
        self._events.append(event)

    def level(self, dbfs: float) -> None:
        """How loud it is."""
        self._level = dbfs

    def due(self, now: float) -> float:
        """Seconds until the next redraw may be; 0 if that is now."""
        return max(0.0, self._taken_at + REDRAW_S - now)

    def take(self, now: float) -> tuple[tuple[Event, ...], float | None]:
        """All that waits, for a redraw now."""
        self._taken_at = now
        taken = tuple(self._events), self._level
        self._events, self._level = [], None
        return taken


def ephemeral(events: Iterable[Event]) -> bool:
    """Whether newer ones make these worthless."""
    return all(isinstance(event, AudioAck | TranscriptPartial) for event in events)


class Pace(StrEnum):
    """Whether the daemon keeps up, in words."""

    GOOD = "keeps up"
    LATE = "is late"
    BEHIND = "falls behind"
    AWAY = "no connection"


@dataclass(frozen=True, slots=True)
class Health:
    """How late captions are: `lag_ms` of the last segment, `backlog_s` of audio that the daemon has not stored."""

    connected: bool
    lag_ms: float | None
    backlog_s: float

    @property
    def pace(self) -> Pace:
        """The verdict."""
        if not self.connected:
            return Pace.AWAY
        if self.backlog_s > _BEHIND_S:
            return Pace.BEHIND
        if self.lag_ms is not None and self.lag_ms > _LATE_MS:
            return Pace.LATE
        return Pace.GOOD
