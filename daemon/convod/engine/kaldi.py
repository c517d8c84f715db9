"""Kaldi's filter bank, the features that most speaker models of today take.

In: samples at 16 kHz from -1 to 1. Out: frames of 80 log mel bands, as `torchaudio.compliance.kaldi.fbank` gives them
with `num_mel_bins=80, frame_length=25, frame_shift=10, window_type="hamming", dither=0` of samples times 32768, which
is what wespeaker and 3D-Speaker train with.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from convod.engine.wire import RATE

BANDS: Final = 80
FRAME: Final = 400
STEP: Final = 160
FFT: Final = 512
LOWEST_HZ: Final = 20.0
EMPHASIS: Final = 0.97

Floats = np.ndarray[Any, np.dtype[np.float32]]


def log_mels(samples: Floats) -> Floats:
    """Samples (n,) -> log mel power (frames, BANDS): one frame for each whole window, and one for less than that."""
    scaled = np.pad(samples, (0, max(0, FRAME - samples.size))) * np.float32(32768)
    frames = np.lib.stride_tricks.sliding_window_view(scaled, FRAME)[::STEP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - np.float32(EMPHASIS) * before) * _HAMMING, FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    found: Floats = np.log(np.maximum(power @ _FILTERS, np.finfo(np.float32).eps))
    return found


def _mel(hz: Any) -> Any:
    return 1127 * np.log(1 + hz / 700)


def _filters() -> Floats:
    """Filters (FFT // 2 + 1, BANDS): triangles on the mel scale, of height 1."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(RATE / 2), BANDS + 2)
    bins = _mel(np.arange(FFT // 2 + 1) * RATE / FFT)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    filters[:, -1] = 0  # Kaldi leaves out the last bin
    as_floats: Floats = filters.T.astype(np.float32)
    return as_floats


_HAMMING: Final = (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(FRAME) / (FRAME - 1))).astype(np.float32)
_FILTERS: Final = _filters()
