"""Features against faster-whisper's own."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from convod.engine.features import log_mel


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
