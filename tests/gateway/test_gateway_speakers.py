"""Segments wait for their labels; numbers of speakers become letters."""

from __future__ import annotations

from convo.messages import Progress, SpeakerLabel, TranscriptSegment
from convo_gateway.speakers import Labelled, Letters


def segment(number: int) -> TranscriptSegment:
    return TranscriptSegment(
        session="s", seq=2 * number + 1, segment=number, start=0.0, end=1.0, text="Hi.", language="en",
        confidence=1.0, lag_ms=0.0,
    )  # fmt: skip


def label(number: int, speaker: int) -> SpeakerLabel:
    return SpeakerLabel(session="s", seq=2 * number + 2, segment=number, speaker=speaker, confidence=1.0)


def test_a_segment_comes_with_its_label() -> None:
    labels = Labelled()
    assert labels.take(segment(0)) is None
    assert labels.take(Progress(session="s", done_s=1.0)) is None
    assert labels.take(label(0, 3)) == (segment(0), 3)
    assert labels.take(label(0, 2)) is None  # a user set another speaker
    assert labels.take(segment(1)) is None
    assert labels.take(label(0, 1)) is None  # of one that was told
    assert labels.take(label(1, 2)) == (segment(1), 2)


def test_speakers_are_letters_in_the_order_in_which_they_speak() -> None:
    letters = Letters()
    assert [letters.of(speaker) for speaker in (5, 1, 5, 101)] == ["A", "B", "A", "C"]
    assert [letters.of(speaker) for speaker in range(200, 225)][-3:] == ["Z", "AA", "AB"]
