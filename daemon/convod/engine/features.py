"""Compute the log-mel features that Whisper takes. Runs in worker processes only.

In: float samples at 16 kHz. Out: what faster-whisper's FeatureExtractor returns (a test compares them), in single
precision and a quarter of the time: for a short window the features cost more than the encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import numpy as np

HOP: Final = 160
"""Samples from one frame to the next: 10 ms."""

WINDOW: Final = 400
"""Samples that a frame sees: 25 ms."""

KEPT_FRAMES: Final = 60_000
"""Frames of growing windows that are cached: ten minutes, 19 MB with 80 mels."""

Floats = np.ndarray[Any, np.dtype[np.float32]]

_HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def log_mel(samples: Floats, filters: Floats) -> Floats:
    """Compute features (mels, n // 160) of samples (n,) by mel filters (mels, 201), as OpenAI's log_mel_spectrogram."""
    return _normalised(_log_mel(samples, filters, 0))


def _log_mel(samples: Floats, filters: Floats, first: int) -> Floats:
    """Compute the frames from number `first` on, (frames, mels), before they are normalised by the loudest."""
    frames = len(samples) // HOP - first
    half = WINDOW // 2
    # Reflected before the first sample, silence after the last: frame t is centred on sample 160 t.
    begin = first * HOP - half
    if begin < 0:
        if len(samples) <= half:
            samples = np.pad(samples, (0, half + 1 - len(samples)))
        before, rest = samples[-begin:0:-1], samples
    else:
        before, rest = samples[:0], samples[begin:]
    padded = np.concatenate([before, rest, np.zeros(WINDOW, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: frames * HOP : HOP]
    spectrum = np.fft.rfft(windows * _HANN)
    power = spectrum.real**2 + spectrum.imag**2
    mel: Floats = np.log10(np.maximum(power.astype(np.float32, copy=False) @ filters.T, 1e-10))
    return mel


def _normalised(mel: Floats) -> Floats:
    mel = np.maximum(mel, mel.max(initial=-10.0) - 8.0)
    return np.ascontiguousarray(((mel + 4.0) / 4.0).T)


class GrowingFeatures:
    """Features of windows that are decoded again while they grow: only the new frames of each are computed."""

    def __init__(self, filters: Floats) -> None:
        self._filters = filters
        self.known: OrderedDict[str, Floats] = OrderedDict()  # frames that more samples do not change
        self.frames = 0

    def of(self, samples: Floats, stream_key: str | None, unsettled: int = 0) -> Floats:
        """Compute features (mels, n // 160) of samples (n,).

        Samples given before under the same `stream_key` must be the beginning of these, except for the last
        `unsettled`, which a resampler changes when more follow.
        """
        if stream_key is None:
            return log_mel(samples, self._filters)
        known = self.known.pop(stream_key, None)
        if known is None or len(known) > len(samples) // HOP:
            self.frames -= 0 if known is None else len(known)
            known = np.zeros((0, len(self._filters)), np.float32)
        else:
            self.frames -= len(known)
        mel = np.concatenate([known, _log_mel(samples, self._filters, len(known))])
        sure = max(0, (len(samples) - unsettled - WINDOW // 2) // HOP)
        self.known[stream_key] = mel[:sure].copy()
        self.frames += sure
        while self.frames > KEPT_FRAMES:
            self.frames -= len(self.known.popitem(last=False)[1])
        return _normalised(mel)
