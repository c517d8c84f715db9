"""What a session's events say about segments that were sent before: who says them, and what they are to read.

In: events, in order. Out: segments as they read now. A segment that was sent never changes; what is known of it later
comes as an event of its own, and the newest one counts. This module never does I/O, and keeps a few words a segment.
"""

from __future__ import annotations

import msgspec

from .messages import (
    Event,
    Segment,
    SegmentCorrected,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    TranscriptSegment,
)
from .transcript import corrected


class Annotations:
    """What is known of a session's segments beside them."""

    def __init__(self) -> None:
        self.speakers: dict[int, int] = {}
        """Who says each segment that has a label, by its number."""
        self.texts: dict[int, str] = {}
        """What each segment that was corrected is to read, by its number."""
        self.names: dict[int, str] = {}
        """What speakers that were given a name are called, by their numbers."""

    def take(self, event: Event) -> set[int]:
        """Note what an event says; return the numbers of the segments that it is about."""
        match event:
            case SpeakerLabel():
                self.speakers[event.segment] = event.speaker
                return {event.segment}
            case SpeakersRevised():
                self.speakers |= {label.segment: label.speaker for label in event.labels}
                return {label.segment for label in event.labels}
            case SpeakersMerged():
                about = {segment for segment, speaker in self.speakers.items() if speaker == event.speaker}
                self.speakers |= dict.fromkeys(about, event.into)
                return about
            case SpeakerRenamed():
                self.names[event.speaker] = event.name
                return {segment for segment, speaker in self.speakers.items() if speaker == event.speaker}
            case SegmentCorrected():
                self.texts[event.segment] = event.text
                return {event.segment}
        return set()

    def apply(self, segment: Segment | TranscriptSegment) -> Segment:
        """A segment, as it was sent or as it was read meanwhile, as it reads now."""
        if isinstance(segment, TranscriptSegment):
            names = [name for name in Segment.__struct_fields__ if name not in ("speaker", "original")]
            segment = Segment(**{name: getattr(segment, name) for name in names})
        speaker = self.speakers.get(segment.segment, segment.speaker)
        text = self.texts.get(segment.segment)
        segment = msgspec.structs.replace(segment, speaker=speaker)
        return segment if text is None else corrected(segment, text)
