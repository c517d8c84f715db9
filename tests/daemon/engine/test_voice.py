"""Silero's answer about whole windows, and the quick one that recordings are content with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convod.engine.voice import LEAST_VOICE_S, Voice
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
