"""Music without a voice, computed: mono s16le at 16 kHz, the same at every run. Out: `KINDS`, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import numpy as np

RATE: Final = 16000
LEVEL: Final = 2500.0
"""Root mean square: -22 dBFS."""

CHORDS: Final = [(48, (60, 64, 67)), (53, (60, 65, 69)), (55, (59, 62, 67)), (45, (60, 64, 69))]
"""Bass and three notes above it, as MIDI numbers them."""

Sound = np.ndarray[Any, np.dtype[np.float64]]
Notes = Iterable[tuple[float, Sound]]


def _hz(note: int) -> float:
    return 440.0 * 2.0 ** ((note - 69) / 12)


def _tone(note: int, seconds: float, *, partials: int = 6, decay: float = 0.0, vibrato: float = 0.0) -> Sound:
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * _hz(note) * t + vibrato * _hz(note) / 6 * np.sin(2 * np.pi * 6 * t)
    tone = sum(np.sin(k * phase) / k**1.2 * np.exp(-decay * k**0.5 * t) for k in range(1, partials + 1))
    return tone * np.minimum(1, np.minimum(t, seconds - t) / 0.02)


def _beat(seconds: float, decay: float, seed: int) -> Sound:
    t = np.arange(int(seconds * RATE)) / RATE
    return 3 * np.random.default_rng(seed).standard_normal(t.size) * np.exp(-decay * t)


def _chords(seconds: float) -> Notes:
    for i in range(int(seconds)):
        yield from ((float(i), _tone(note, 1.0, partials=1)) for note in CHORDS[i % 4][1])


def _waltz(seconds: float) -> Notes:
    for i in range(int(seconds / 0.36)):
        bass, above = CHORDS[i // 3 % 4]
        yield from ((0.36 * i, _tone(note, 0.36, decay=4.0)) for note in ((bass, bass + 12) if i % 3 == 0 else above))
        yield 0.36 * i, _tone(above[i * 2 % 3] + 12, 0.36, decay=2.0)


def _arpeggios(seconds: float) -> Notes:
    for i in range(int(seconds * 7)):
        yield i / 7, _tone(CHORDS[i // 8 % 4][1][i % 3] + 12 * (i // 3 % 2), 0.5, decay=4.0)


def _drums(seconds: float) -> Notes:
    for i in range(int(seconds * 4)):
        yield i / 4, _beat(0.06, 50.0, i)
        yield i / 4, _tone(33, 0.25, partials=1, decay=14.0) * 6 if i % 2 == 0 else _beat(0.2, 18.0, i)


def _strings(seconds: float) -> Notes:
    for i in range(int(seconds / 1.5)):
        yield from ((1.5 * i, _tone(note, 1.5, partials=10, vibrato=0.01)) for note in CHORDS[i % 4][1])


def _whistle(seconds: float) -> Notes:
    for i in range(int(seconds / 0.45)):
        yield 0.45 * i, _tone((84, 86, 88, 89, 91)[i * i % 5], 0.45, partials=2, vibrato=0.03)


def _played(notes: Callable[[float], Notes], hiss: float, seconds: float) -> bytes:
    sound = np.zeros(int(seconds * RATE) + RATE)
    for at, tone in notes(seconds):
        sound[int(at * RATE) :][: tone.size] += tone
    sound = sound[: int(seconds * RATE)]
    sound *= LEVEL / np.sqrt((sound * sound).mean())
    sound += hiss * np.random.default_rng(1).standard_normal(sound.size)
    return bytes(np.clip(sound, -32768, 32767).astype(np.int16).tobytes())


KINDS: Final[dict[str, Callable[[float], bytes]]] = {
    f"{notes.__name__[1:]}{' in hiss' if hiss else ''}": partial(_played, notes, hiss)
    for notes in (_chords, _waltz, _arpeggios, _drums, _strings, _whistle)
    for hiss in (0.0, 200.0)
}
"""Each from seconds to samples; the hiss has -44 dBFS."""
