"""Errors of times, from what was said when and what was shown."""

from __future__ import annotations

import numpy as np
import pytest

from convo.messages import TranscriptSegment, Word
from convo_bench.talk import RATE, Talk, TimedWord, Utterance
from convo_bench.times import errors_of, voiced_part

TALK = Talk(
    "made",
    b"",
    (
        Utterance(1.0, 3.0, (TimedWord("we", 2.0), TimedWord("ship", 3.0))),
        Utterance(5.0, 7.0, (TimedWord("it", 6.0), TimedWord("now", 7.0))),
    ),
)


def segment(start: float, end: float, *said: tuple[float, float, str]) -> TranscriptSegment:
    words = [Word(start=begin, end=stop, word=word, confidence=1.0) for begin, stop, word in said]
    return TranscriptSegment(
        session="s", seq=1, segment=0, start=start, end=end, text=" ".join(word.word for word in words),
        language="en", confidence=1.0, lag_ms=0, words=words,
    )  # fmt: skip


def test_each_bound_of_an_utterance_is_compared_with_its_word_and_segment() -> None:
    shown = [
        segment(1.1, 3.0, (1.1, 2.0, "We"), (2.0, 2.9, "ship,")),
        segment(4.5, 7.2, (4.5, 6.0, "it"), (6.0, 7.2, "now.")),
    ]
    errors = errors_of(TALK, shown)
    assert errors.word_starts == errors.cue_starts == pytest.approx([0.1, -0.5])
    assert errors.word_ends == pytest.approx([-0.1, 0.2])
    assert errors.cue_ends == pytest.approx([0.0, 0.2])


def test_a_bound_within_a_segment_is_judged_by_its_word_alone_and_a_lost_word_not_at_all() -> None:
    errors = errors_of(
        TALK, [segment(1.0, 7.0, (1.0, 2.0, "We"), (2.0, 3.0, "shift"), (5.2, 6.0, "it"), (6.0, 7.0, "now"))]
    )
    assert errors.word_starts == pytest.approx([0.0, 0.2])
    assert errors.word_ends == pytest.approx([0.0])
    assert errors.cue_starts == pytest.approx([0.0])
    assert errors.cue_ends == pytest.approx([0.0])


@pytest.mark.parametrize("rumble", [0, 1000])
def test_hiss_rumble_and_a_click_before_a_voice_are_not_its_beginning(rumble: int) -> None:
    sound = np.random.default_rng(1).standard_normal(2 * RATE) * 10
    sound[RATE // 10 : RATE // 10 + 300] *= 300
    sound[RATE // 2 : RATE * 3 // 2] *= 300
    sound += rumble * np.sin(2 * np.pi * 50 / RATE * np.arange(sound.size))
    talk = Talk("made", sound.astype(np.int16).tobytes(), (Utterance(0.0, 2.0, (TimedWord("we", 2.0),)),))
    (utterance,) = voiced_part(talk).utterances
    assert (utterance.start, utterance.end) == (pytest.approx(0.5, abs=0.05), pytest.approx(1.5, abs=0.05))
