"""How often the screen is redrawn, and whether the daemon keeps up.

In: times in seconds, events, lags. Out: when to redraw, a verdict. Neither has a clock of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from convo.messages import AudioAck, Event, SummaryDelta, TranscriptPartial

REDRAW_S = 0.05
"""Least seconds between two redraws: 20 a second."""

_LATE_MS = 2000.0
_BEHIND_S = 3.0


class Batch:
    """Events waiting for the next redraw. Only the latest partial, ack and level are kept."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._level: float | None = None
        self._taken_at = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._events) or self._level is not None

    def add(self, event: Event) -> None:
        """Add an event."""
        last = self._events[-1] if self._events else None
        if isinstance(event, AudioAck | TranscriptPartial):
            # A replaceable event lies near the end; no need to scan the whole batch.
            for place in range(len(self._events) - 1, max(-1, len(self._events) - 8), -1):
                if type(self._events[place]) is type(event):
                    del self._events[place]
                    break
        elif isinstance(event, SummaryDelta) and isinstance(last, SummaryDelta):
            # A text that restarts replaces the piece before it.
            text = event.text if event.restart else last.text + event.text
            self._events[-1] = SummaryDelta(session=event.session, text=text, restart=event.restart or last.restart)
            return
        self._events.append(event)

    def level(self, dbfs: float) -> None:
        """Set the loudness."""
        self._level = dbfs

    def due(self, now: float) -> float:
        """Seconds until the next redraw is due; 0 if it is due now."""
        return max(0.0, self._taken_at + REDRAW_S - now)

    def take(self, now: float) -> tuple[tuple[Event, ...], float | None]:
        """Take everything that waits, for a redraw now."""
        self._taken_at = now
        taken = tuple(self._events), self._level
        self._events, self._level = [], None
        return taken


def ephemeral(events: Iterable[Event]) -> bool:
    """Whether newer events supersede all of these."""
    return all(isinstance(event, AudioAck | TranscriptPartial) for event in events)


class Pace(StrEnum):
    """Whether the daemon keeps up, as the user reads it."""

    GOOD = "keeps up"
    LATE = "is late"
    BEHIND = "falls behind"
    AWAY = "no connection"


@dataclass(frozen=True, slots=True)
class Health:
    """How late captions are: `lag_ms` of the last segment, `backlog_s` of audio not yet stored by the daemon."""

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
