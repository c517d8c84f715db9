"""One frame of samples to speech or not: webrtcvad as the gate, an adaptive noise floor beside it.

In: frames of s16le. Out: a yes or no, and the frame's level in dBFS. It never decides where an utterance begins or
ends (that is `endpoint`), and it holds no audio.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from operator import mul
from typing import Final

import webrtcvad

SILENCE_DBFS: Final = -96.0
"""Level of digital silence: 16 bits have no less."""

_STRIDE: Final = 4
"""Every fourth sample tells the level of a frame well enough, at a quarter of the time (5 us for 30 ms)."""


def level_dbfs(samples: bytes) -> float:
    """Root mean square of s16le samples in dB below full scale, at least SILENCE_DBFS."""
    some = array("h", samples)[::_STRIDE]
    power = sum(map(mul, some, some)) / max(1, len(some))
    return SILENCE_DBFS if power < 1.0 else 10.0 * math.log10(power / 32768.0**2)


@dataclass(frozen=True, slots=True)
class VadSettings:
    """`mode` 0 to 3 as webrtcvad has it (3 rejects most); a frame below `floor_dbfs`, or less than `above_noise_db`
    over the noise floor, is never speech.
    """

    mode: int = 2
    floor_dbfs: float = -60.0
    above_noise_db: float = 6.0


class Vad:
    """Voice activity of one stream. `rate` in Hz is one of webrtcvad's: 8000, 16000, 32000, 48000."""

    def __init__(self, rate: int, settings: VadSettings | None = None) -> None:
        self._settings = settings or VadSettings()
        self._rate = rate
        self._detector = webrtcvad.Vad(self._settings.mode)
        self.noise_dbfs = SILENCE_DBFS

    def feed(self, samples: bytes) -> tuple[bool, float]:
        """10, 20 or 30 ms of s16le -> whether it is speech, and its level in dBFS."""
        level = level_dbfs(samples)
        settings = self._settings
        if level < settings.floor_dbfs:
            speech = False
        else:
            speech = (
                bool(self._detector.is_speech(samples, self._rate))
                and level > self.noise_dbfs + settings.above_noise_db
            )
        self._follow_noise(level, speech)
        return speech, level

    def _follow_noise(self, level: float, speech: bool) -> None:
        # Minimum following: down at once, up slowly (a steady noise becomes the floor within seconds, a sentence
        # does not), and slower still while someone speaks.
        if level < self.noise_dbfs:
            self.noise_dbfs = level
        else:
            rise = 0.02 if speech else 0.3
            self.noise_dbfs = min(level, self.noise_dbfs + rise)
