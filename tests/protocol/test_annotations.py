"""What events say of segments that were sent before, applied by a client as the daemon applies it."""

from __future__ import annotations

import pytest

from convo.annotations import Annotations
from convo.messages import (
    Event,
    Label,
    Progress,
    Segment,
    SegmentCorrected,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    TranscriptSegment,
    Word,
)

WORDS = [Word(start=0.0, end=1.0, word="a", confidence=1.0)]
SENT = TranscriptSegment(
    session="s", seq=1, segment=3, start=0.0, end=1.0, text="a", language="en", confidence=0.5, lag_ms=1.0, words=WORDS
)


def label(segment: int, speaker: int) -> SpeakerLabel:
    return SpeakerLabel(session="s", seq=2, segment=segment, speaker=speaker, confidence=1.0)


def revised(*labels: tuple[int, int]) -> SpeakersRevised:
    return SpeakersRevised(
        session="s", seq=2, labels=[Label(segment=one, speaker=who, confidence=1.0) for one, who in labels]
    )


def correction(segment: int, text: str) -> SegmentCorrected:
    return SegmentCorrected(session="s", seq=2, segment=segment, text=text, by="user")


def merged(speaker: int, into: int) -> SpeakersMerged:
    return SpeakersMerged(session="s", seq=2, speaker=speaker, into=into)


@pytest.mark.parametrize(
    ("events", "speaker", "text", "original"),
    [
        ([], None, "a", None),
        ([label(3, 1)], 1, "a", None),
        ([label(3, 1), label(4, 2), revised((3, 2), (5, 1))], 2, "a", None),
        ([revised((3, 2)), label(3, 1)], 1, "a", None),
        ([correction(3, "b")], None, "b", "a"),
        ([correction(3, "b"), correction(4, "x"), correction(3, "")], None, "", "a"),
        ([correction(3, "b"), correction(3, "a")], None, "a", None),
        ([label(3, 2), merged(2, 1), label(4, 2)], 1, "a", None),
        ([label(3, 3), merged(2, 1), label(3, 2)], 2, "a", None),
        ([label(3, 2), merged(2, 1), merged(1, 4)], 4, "a", None),
        ([Progress(session="s", done_s=1.0)], None, "a", None),
    ],
)
def test_the_newest_counts(events: list[Event], speaker: int | None, text: str, original: str | None) -> None:
    annotations = Annotations()
    about = set().union(*map(annotations.take, events))
    assert (3 in about) == any(not isinstance(event, Progress) for event in events)
    segment = annotations.apply(SENT)
    assert segment == Segment(
        segment=3, start=0.0, end=1.0, text=text, language="en", confidence=0.5,
        words=WORDS if original is None else None, speaker=speaker, original=original,
    )  # fmt: skip
    assert annotations.apply(segment) == segment


def test_a_name_is_about_all_that_its_speaker_says() -> None:
    annotations = Annotations()
    annotations.take(revised((1, 1), (2, 2), (3, 1)))
    assert annotations.take(SpeakerRenamed(session="s", seq=3, speaker=1, name="Ada", by="user")) == {1, 3}
    assert annotations.names == {1: "Ada"}
