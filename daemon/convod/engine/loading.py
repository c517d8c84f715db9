"""Load a model, and resample audio for it. For worker processes."""

from __future__ import annotations

from typing import Final

import av
import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from convod.engine.features import Floats
from convod.engine.wire import RATE, Load

UNSETTLED: Final = 320
"""Samples at the end of a resampled window that change when more follow."""

OFFSET: Final = 0.002
"""A larger mean of a window's samples is removed; that of speech is a fifth of this."""


def load_model(load: Load) -> WhisperModel:
    """Load a model on the device that `load` names, or the best there is.

    Raises:
        RuntimeError, ValueError: the directory holds no model CTranslate2 can use, or the device is not there.
    """
    device = load.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    return WhisperModel(
        load.directory,
        device=device,
        compute_type=_compute_type(device, load.compute_type),
        cpu_threads=load.threads,
        num_workers=1,
        local_files_only=True,
    )


def _compute_type(device: str, wanted: str) -> str:
    """Choose the best type for a device if the settings leave it open: half precision on a GPU, else 8 bits."""
    if wanted != "default":
        return wanted
    can = ctranslate2.get_supported_compute_types(device)
    for kind in ("float16", "int8_float16") if device == "cuda" else ("int8",):
        if kind in can:
            return kind
    return wanted


def resample(window: bytes, rate: int) -> Floats:
    """Convert mono s16le at `rate` Hz to float samples (n,) in [-1, 1) at 16 kHz, with FFmpeg's resampler."""
    samples = np.frombuffer(window, np.int16)
    if rate != RATE:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], format="s16", layout="mono")
        frame.sample_rate = rate
        pieces = [*resampler.resample(frame), *resampler.resample(None)]
        samples = np.concatenate([piece.to_ndarray()[0] for piece in pieces])
    sound = samples.astype(np.float32) / 32768.0
    # A constant offset is not audible, yet it is the loudest feature: it would mask everything else.
    if sound.size and abs(offset := float(sound.mean())) > OFFSET:
        sound -= np.float32(offset)
    return sound
