"""Generated sounds as mono s16le: what a detector must not take for speech. No numpy: quick to import."""

from __future__ import annotations

import math
import random
from array import array
from itertools import repeat
from typing import Final

RATE = 16000
BYTES_S: Final = 2 * RATE


def amplitude(dbfs: float) -> float:
    """Peak of a sine of that level."""
    return 32768 * math.sqrt(2) * 10 ** (dbfs / 20)


def _clipped(values: list[float]) -> bytes:
    return array("h", (max(-32768, min(32767, round(value))) for value in values)).tobytes()


def silence(seconds: float, rate: int = RATE) -> bytes:
    return bytes(2 * round(seconds * rate))


def tone(seconds: float, hz: float, dbfs: float = -20.0, rate: int = RATE) -> bytes:
    peak = amplitude(dbfs)
    return _clipped([peak * math.sin(2 * math.pi * hz * i / rate) for i in range(round(seconds * rate))])


def hum(seconds: float, dbfs: float = -30.0) -> bytes:
    """A mains hum of 50 Hz with its first harmonics."""
    peak = amplitude(dbfs) / 1.1
    parts = ((50, 1.0), (100, 0.4), (150, 0.2))
    return _clipped(
        [
            sum(peak * share * math.sin(2 * math.pi * hz * i / RATE) for hz, share in parts)
            for i in range(round(seconds * RATE))
        ]
    )


def white(seconds: float, dbfs: float = -30.0, seed: int = 1) -> bytes:
    dice = random.Random(seed)
    deviation = 32768 * 10 ** (dbfs / 20)
    return _clipped(list(map(dice.gauss, repeat(0.0, round(seconds * RATE)), repeat(deviation))))


def clicks(seconds: float, seed: int = 2) -> bytes:
    """Somebody types: short bursts of decaying noise at 4 to 10 a second over a quiet room."""
    dice = random.Random(seed)
    samples = [dice.gauss(0, 8) for _ in range(round(seconds * RATE))]
    at = 0
    while (at := at + round(dice.uniform(0.1, 0.25) * RATE)) < len(samples):
        strength = dice.uniform(2000, 9000)
        for i in range(min(round(0.015 * RATE), len(samples) - at)):
            samples[at + i] += strength * math.exp(-i / (0.003 * RATE)) * dice.uniform(-1, 1)
    return _clipped(samples)


def breath(seconds: float, seed: int = 3) -> bytes:
    """Somebody breathes at a microphone: low-passed noise that swells for a second every four."""
    dice = random.Random(seed)
    samples: list[float] = []
    low = 0.0
    for i in range(round(seconds * RATE)):
        low += 0.2 * (dice.gauss(0, 1) - low)
        phase = (i / RATE) % 4.0
        swell = math.sin(math.pi * phase) ** 2 if phase < 1.0 else 0.0
        samples.append(low * (10 + 2500 * swell))
    return _clipped(samples)
