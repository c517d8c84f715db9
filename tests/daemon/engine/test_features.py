"""Features against faster-whisper's own."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from convod.engine import features
from convod.engine.features import GrowingFeatures, log_mel


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("length", [1600, 16000, 63999, 480000])
def test_features_are_those_of_faster_whisper(length: int, mels: int) -> None:
    extractor = FeatureExtractor(feature_size=mels)
    samples = (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    ours = log_mel(samples, extractor.mel_filters.astype(np.float32))
    assert ours.shape == (mels, length // 160)
    assert np.abs(extractor(samples)[:, : ours.shape[1]] - ours).max() < 1e-5


def test_digital_silence_has_features() -> None:
    silence = np.zeros(16000, np.float32)
    extractor = FeatureExtractor()
    ours = log_mel(silence, extractor.mel_filters.astype(np.float32))
    assert np.abs(extractor(silence)[:, :100] - ours).max() < 1e-5


@pytest.mark.parametrize("length", [0, 1, 159, 160, 200, 201])
def test_the_shortest_windows_do_not_fail(length: int) -> None:
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    assert log_mel(np.ones(length, np.float32), filters).shape == (80, length // 160)


# --- windows that grow ------------------------------------------------------------------------------------


def noise(length: int, seed: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=12))
@settings(deadline=None, max_examples=20)
def test_a_window_that_grows_has_the_features_it_would_have_had_at_once(steps: list[int]) -> None:
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    growing, sound = GrowingFeatures(filters), noise(sum(steps))
    length = 0
    for step in steps:
        length += step
        ours = growing.of(sound[:length], "a")
        assert np.allclose(ours, log_mel(sound[:length], filters), atol=1e-6)


def test_names_do_not_mix_and_one_that_shrinks_begins_anew() -> None:
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    growing, one, other = GrowingFeatures(filters), noise(32000, 1), noise(32000, 2)
    growing.of(one[:16000], "a")
    growing.of(other[:16000], "b")
    assert np.allclose(growing.of(one, "a"), log_mel(one, filters), atol=1e-6)
    assert np.allclose(growing.of(other, "b"), log_mel(other, filters), atol=1e-6)
    assert np.allclose(growing.of(other[:8000], "a"), log_mel(other[:8000], filters), atol=1e-6)


def test_what_a_filter_had_not_settled_is_computed_again() -> None:
    filters = FeatureExtractor().mel_filters.astype(np.float32)
    growing, sound = GrowingFeatures(filters), noise(32000)
    early = sound[:16000].copy()
    early[-300:] = 0.0
    growing.of(early, "a", unsettled=320)
    assert np.allclose(growing.of(sound, "a", unsettled=320), log_mel(sound, filters), atol=1e-6)


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "KEPT_FRAMES", 1000)
    growing = GrowingFeatures(FeatureExtractor().mel_filters.astype(np.float32))
    for i in range(50):
        growing.of(noise(48000), f"window {i}")
        assert sum(len(known) for known in growing.known.values()) == growing.frames <= 1000
