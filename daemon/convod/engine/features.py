"""Samples to the log-mel features that Whisper hears. Runs in a worker process alone.

In: float samples at 16 kHz. Out: what faster-whisper's FeatureExtractor gives (a test holds them together), in single
precision and a quarter of the time: for a short window the features cost more than the encoder.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

HOP: Final = 160
"""Samples from one frame to the next: 10 ms."""

WINDOW: Final = 400
"""Samples that a frame sees: 25 ms."""

Floats = np.ndarray[Any, np.dtype[np.float32]]

_HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def log_mel(samples: Floats, filters: Floats) -> Floats:
    """Samples (n,) -> features (mels, n // 160) by mel filters (mels, 201), as OpenAI Whisper's log_mel_spectrogram."""
    frames = len(samples) // HOP
    half = WINDOW // 2
    if len(samples) <= half:
        samples = np.pad(samples, (0, half + 1 - len(samples)))
    # Reflected before the first sample, silence after the last: frame t is centred on sample 160 t.
    padded = np.concatenate([samples[half:0:-1], samples, np.zeros(WINDOW, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: frames * HOP : HOP]
    spectrum = np.fft.rfft(windows * _HANN)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.log10(np.maximum(power.astype(np.float32, copy=False) @ filters.T, 1e-10))
    mel = np.maximum(mel, mel.max(initial=-10.0) - 8.0)
    return np.ascontiguousarray(((mel + 4.0) / 4.0).T)
