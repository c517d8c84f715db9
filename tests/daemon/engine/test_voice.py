"""Silero's answer about whole windows, and the quick one that recordings are content with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convod.engine.voice import (
    CHUNK,
    FAINT,
    LEAST_FAINT_S,
    LEAST_VOICE_S,
    ONSET,
    PAUSE,
    RING,
    VOICE,
    Voice,
    extent,
    is_silent,
    voiced_chunks,
)
from convod.engine.wire import RATE
from tests.support.speech import pcm

Samples = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice()


@pytest.fixture(scope="module")
def talk() -> Samples:
    return np.frombuffer(pcm("talk.flac"), np.int16).astype(np.float32) / 32768


def noise(seconds: float, level: float = 0.05) -> Samples:
    return (level * np.random.default_rng(5).standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("begin", [0, 10, 20, 30])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 8.0])
def test_speech_is_found_both_ways(voice: Voice, talk: Samples, begin: int, seconds: float) -> None:
    window = talk[begin * RATE : int((begin + seconds) * RATE)]
    whole, end = voice.find(window)
    assert (voice.least(window) >= LEAST_VOICE_S) == (whole >= LEAST_VOICE_S)
    assert voice.least(window) <= seconds + 0.032  # of the last chunk there may be a part
    assert end <= seconds


@pytest.mark.parametrize("seconds", [0.01, 1.0, 7.0])
def test_noise_and_silence_hold_no_voice(voice: Voice, seconds: float) -> None:
    for window in (noise(seconds), np.zeros(int(seconds * RATE), np.float32)):
        assert voice.find(window) == (0.0, 0.0)
        assert voice.least(window) == 0.0


def test_nothing_holds_no_voice(voice: Voice) -> None:
    assert voice.least(np.zeros(0, np.float32)) == 0.0


def test_a_voice_beside_a_louder_noise_is_found_too(voice: Voice, talk: Samples) -> None:
    word = talk[: 3 * RATE]
    window = np.concatenate([word, np.zeros(RATE, np.float32), noise(2.0, 0.5)])
    assert voice.find(window[3 * RATE :])[0] < LEAST_VOICE_S
    assert voice.least(window) == pytest.approx(voice.find(window)[0])


@pytest.mark.parametrize(
    ("chunks", "silent"),
    [
        ([], True),
        ([0.0] * 100, True),
        ([0.09] * 100, True),
        ([FAINT] * 3, True),  # 96 ms
        ([FAINT] * 4, False),
        ([0.0, 0.9, 0.0, 0.2, 0.0, 0.1, 0.0, 0.99], False),  # wherever they are
        ([0.99] * 3, True),  # a click
    ],
)
def test_a_window_is_silent_that_holds_hardly_a_faint_voice(chunks: list[float], silent: bool) -> None:
    assert is_silent(np.array(chunks, np.float32)) is silent


@pytest.mark.parametrize(
    ("chunks", "size", "expected"),
    [
        ([], 0, (0.0, 0.0)),
        ([0.39] * 4, 4 * CHUNK, (0.0, 0.0)),
        ([0.0, VOICE, 0.0, 0.9, 0.1], 5 * CHUNK, (0.064, 0.128)),
        ([0.9, 0.9], 2 * CHUNK - 100, (0.064, (2 * CHUNK - 100) / RATE)),  # the last chunk is not whole
    ],
)
def test_the_extent_of_a_voice_is_told_by_its_chunks(chunks: list[float], size: int, expected: object) -> None:
    assert extent(np.array(chunks, np.float32), size) == pytest.approx(expected)


def test_a_voice_far_away_is_a_whisper_to_the_detector_and_no_silence(voice: Voice, talk: Samples) -> None:
    sentence = talk[: 3 * RATE]
    loud = voice.chunks(sentence)
    assert loud.size == -(-sentence.size // CHUNK)
    assert extent(loud, sentence.size) == voice.find(sentence)
    assert not is_silent(loud)
    for window in (noise(3.0), np.zeros(3 * RATE, np.float32), np.zeros(0, np.float32)):
        assert is_silent(voice.chunks(window))
    # In noise nearly as loud as it a voice is still not silence.
    assert not is_silent(voice.chunks(sentence + noise(3.0, float(np.sqrt(np.mean(sentence**2))) / 2)))
    assert LEAST_FAINT_S > LEAST_VOICE_S


@pytest.mark.parametrize(
    ("chunks", "voiced"),
    [
        ([], ""),
        ([0.0, 0.02, 0.2, 0.3, 0.5, 0.9, 0.9, 0.9, 0.3, 0.0], "0011111100"),  # it begins before the detector is sure
        ([0.2, 0.5], "11"),
        ([0.2, 0.02, 0.5], "001"),  # a sound before it
        ([0.5, 0.2, 0.5, 0.0, 0.2], "10100"),  # a pause within a word
        ([0.5] + [0.2] * (PAUSE + 2) + [0.9], "1" + "0" * PAUSE + "111"),  # one that parts phrases stays one
        ([0.2] * (ONSET + 5) + [0.9], "0" * 5 + "1" * (ONSET + 1)),  # music that goes on
        ([0.2] * 9, "0" * 9),
        ([0.9] * 5 + [0.6, 0.5, 0.0], "11111000"),  # the detector lets go late
        ([0.9] * 5 + [0.6] * (RING + 2), "1" * 7 + "0" * RING),
        ([0.5] * 9 + [0.0], "1" * 9 + "0"),  # a quiet voice
        ([0.9, 0.5, 0.5, 0.5, 0.5, 0.0], "111100"),  # a short word is no blip
        ([0.9] * 5 + [0.5] * 2 + [0.0] * PAUSE + [0.9] * 5 + [0.5], "1" * 5 + "0" * (PAUSE + 2) + "1" * 5 + "0"),
    ],
)
def test_a_voice_begins_and_ends_where_it_rises_and_falls(chunks: list[float], voiced: str) -> None:
    assert voiced_chunks(np.array(chunks, np.float32)) == bytes(map(int, voiced))
