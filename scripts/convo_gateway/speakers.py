"""Who says what, for dialects that tell a segment together with its speaker.

In: events of a session. Out: segments with the number of who says them; letters for these numbers. The daemon sends the
label of a segment right behind it; what it corrects at the end comes too late for what was told.
"""

from __future__ import annotations

from convo.messages import Event, SpeakerLabel, TranscriptSegment


class Labelled:
    """Holds each segment until its label has come."""

    def __init__(self) -> None:
        self._segment: TranscriptSegment | None = None

    def take(self, event: Event) -> tuple[TranscriptSegment, int] | None:
        """Take the next event; return a segment that is complete with it, and the number of its speaker, from 1."""
        if isinstance(event, TranscriptSegment):
            self._segment = event
        elif isinstance(event, SpeakerLabel):
            segment = self._segment
            if segment is not None and segment.segment == event.segment:
                self._segment = None
                return segment, event.speaker
        return None


class Letters:
    """Calls speakers A, B, … in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def of(self, speaker: int) -> str:
        """Return what a speaker is called."""
        number = self._numbers.setdefault(speaker, len(self._numbers))
        called = ""
        while number >= 0:
            called = chr(ord("A") + number % 26) + called
            number = number // 26 - 1
        return called
