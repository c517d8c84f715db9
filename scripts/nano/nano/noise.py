"""Noise: everything that is not speech.

Comes in: a numpy generator and a length. Goes out: float32 audio at 16 kHz, peak about 1, for the caller to scale.
Training mixes it under speech and shows it alone, so that the model learns to say nothing.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .speech import SAMPLE_RATE

Audio = npt.NDArray[np.float32]


def coloured(rng: np.random.Generator, samples: int, slope: float) -> Audio:
    """Noise whose amplitude falls with frequency to the power of `slope`: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(samples, np.float32))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20 * samples / SAMPLE_RATE) ** slope
    return _level(np.fft.irfft(spectrum, samples))


def hum(rng: np.random.Generator, samples: int) -> Audio:
    """Mains hum: 50 or 60 Hz with harmonics that fall off."""
    t = np.arange(samples) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0])
    parts = [np.sin(2 * np.pi * (base * k * t + rng.random())) * rng.random() / k for k in range(1, 12)]
    return _level(np.sum(parts, 0))


def tone(rng: np.random.Generator, samples: int) -> Audio:
    """One to three steady sines between 80 Hz and 7 kHz, at times beeping."""
    t = np.arange(samples) / SAMPLE_RATE
    frequencies = np.exp(rng.uniform(np.log(80), np.log(7000), rng.integers(1, 4)))
    out = np.sum([np.sin(2 * np.pi * (f * t + rng.random())) for f in frequencies], 0)
    if rng.random() < 0.3:
        out = out * (np.sin(2 * np.pi * rng.uniform(0.3, 4) * t) > 0)
    return _level(out)


def clicks(rng: np.random.Generator, samples: int) -> Audio:
    """A keyboard: two to eight short decaying bursts a second."""
    out = np.zeros(samples, np.float32)
    for _ in range(max(1, int(rng.uniform(2, 8) * samples / SAMPLE_RATE))):
        size = int(rng.uniform(0.004, 0.03) * SAMPLE_RATE)
        at = int(rng.integers(0, max(1, samples - size)))
        burst = rng.standard_normal(size) * np.exp(-np.arange(size) / (size / 4)) * rng.uniform(0.2, 1)
        out[at : at + size] += burst[: samples - at]
    return _level(out)


def breath(rng: np.random.Generator, samples: int) -> Audio:
    """Band-limited noise that swells and fades, like breathing near the microphone."""
    spectrum = np.fft.rfft(rng.standard_normal(samples, np.float32))
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    centre, spread = rng.uniform(600, 2500), rng.uniform(300, 1500)
    shaped = np.fft.irfft(spectrum * np.exp(-(((frequency - centre) / spread) ** 2)), samples)
    t = np.arange(samples) / SAMPLE_RATE
    return _level(shaped * np.maximum(0, np.sin(2 * np.pi * (rng.uniform(0.15, 0.6) * t + rng.random()))))


def _level(audio: npt.NDArray[np.floating]) -> Audio:
    return (audio / max(1e-9, float(np.abs(audio).max()))).astype(np.float32)


KINDS: dict[str, Callable[[np.random.Generator, int], Audio]] = {
    "white": lambda rng, n: coloured(rng, n, 0.0),
    "pink": lambda rng, n: coloured(rng, n, 0.5),
    "brown": lambda rng, n: coloured(rng, n, 1.0),
    "hum": hum,
    "tone": tone,
    "clicks": clicks,
    "breath": breath,
}


#: Made afresh for every window: a few of them would be learned by heart.
FRESH = {"tone"}

#: How much likelier a kind is where there is nothing but noise: tones are most easily taken for a voice.
ALONE = {"tone": 4.0}


class NoiseBank:
    """Noise made once and cut at random: making 30 s afresh for every window would cost more than the training step."""

    def __init__(self, rng: np.random.Generator, seconds: float = 35.0) -> None:
        self._rng = rng
        self._clips = {
            name: [make(rng, int(seconds * SAMPLE_RATE)) for _ in range(4)]
            for name, make in KINDS.items()
            if name not in FRESH
        }
        weights = np.array([ALONE.get(name, 1.0) for name in KINDS])
        self._alone = weights / weights.sum()

    def cut(self, samples: int, *, alone: bool) -> Audio:
        """`samples` of any kind of noise, at most a clip's length; `alone` if it is all there is."""
        name = str(self._rng.choice(list(KINDS), p=self._alone if alone else None))
        if name in FRESH:
            return KINDS[name](self._rng, samples)
        clip = self._clips[name][self._rng.integers(len(self._clips[name]))]
        at = self._rng.integers(0, len(clip) - samples + 1)
        return clip[at : at + samples]
