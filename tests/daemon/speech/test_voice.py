"""Which of a window's voiceprints are a segment's own."""

from __future__ import annotations

from array import array

import pytest

from convod.speech.decoding import CHUNK_S, Voiceprints
from convod.speech.voice import Voice, voice_of, voiced_between

STARTS = [0.0, 0.8, 1.6, 2.4, 3.2]


def prints(*silent: int) -> Voiceprints:
    """Windows of 1.6 s, the vector of each with a one at its own place."""
    vectors = [
        b"" if at in silent else array("f", [float(at == place) for place in range(5)]).tobytes() for at in range(5)
    ]
    return Voiceprints(starts=STARTS, window_s=1.6, vectors=vectors)


def own(voice: Voice) -> list[int]:
    return [place for place, value in enumerate(array("f", voice.vector)) if value]


@pytest.mark.parametrize(
    ("start", "end", "silent", "windows"),
    [
        (0.0, 4.8, (), [0, 1, 2, 3, 4]),
        (0.0, 4.8, (1, 3), [0, 2, 4]),
        (0.0, 1.7, (), [0]),
        (0.9, 2.9, (), [1]),
        (1.5, 4.1, (), [2, 3]),
        (0.9, 1.9, (), [1]),  # shorter than a window: the one that has it all
        (0.9, 1.9, (0, 1, 2), []),  # the others have too little of it
        (4.0, 4.2, (), [4]),
        (9.0, 9.5, (), []),
        (0.0, 4.8, (0, 1, 2, 3, 4), []),
    ],
)
def test_a_segment_has_the_windows_that_lie_in_it(start, end, silent, windows):
    assert own(voice_of(prints(*silent), start, end)) == windows


def test_without_an_embedder_only_the_length_is_known():
    assert voice_of(None, 1.0, 2.5) == Voice(1.5)


def test_a_pause_at_either_end_is_no_voice():
    voiced = bytes([0] * 50 + [1] * 50 + [0] * 50)
    begin, end = voiced_between(voiced, 0.0, 150 * CHUNK_S)
    assert (begin, end) == pytest.approx((1.5, 3.3))
    assert voice_of(None, 0.0, 4.8, voiced).seconds == pytest.approx(1.8)
    assert voiced_between(bytes(150), 1.0, 2.0) == (1.0, 2.0)
    assert voiced_between(None, 1.0, 2.0) == (1.0, 2.0)
