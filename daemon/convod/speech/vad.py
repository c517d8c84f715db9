"""Decide for one frame of samples whether it is speech: webrtcvad as the gate, an adaptive noise floor beside it.

In: frames of s16le. Out: yes or no, and the frame's level in dBFS. It never decides where an utterance begins or ends
(that is `endpointer`), and it holds no audio.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from operator import mul
from typing import Final

import msgspec

from convod.speech.pcm import FRAME_MS

SILENCE_DBFS: Final = -96.0
"""Level of digital silence: 16 bits go no lower."""

_STRIDE: Final = 4
"""Every fourth sample tells the level of a frame well enough, at a quarter of the time (5 us for 30 ms)."""


_OFFSET_POWER: Final = 256.0
"""An offset below 16 does no harm, so in a quiet room it is not computed."""


def level_dbfs(samples: bytes) -> float:
    """Compute the root mean square of s16le samples in dB below full scale, at least SILENCE_DBFS.

    A constant offset, as cheap sound cards have, does not count.
    """
    if samples == bytes(len(samples)):
        return SILENCE_DBFS  # a microphone that is off
    some = array("h", samples)[::_STRIDE]
    count = max(1, len(some))
    power = sum(map(mul, some, some)) / count
    if power > _OFFSET_POWER:
        power -= (sum(some) / count) ** 2
    return SILENCE_DBFS if power < 1.0 else 10.0 * math.log10(power / 32768.0**2)


def _clip(sample: int) -> int:
    return min(32767, max(-32768, sample))


class VadSettings(msgspec.Struct, frozen=True):
    """`mode` 0 to 3 as webrtcvad has it (3 rejects most); a frame below `floor_dbfs`, or less than `above_noise_db`
    over the noise floor, is never speech.
    """

    mode: int = 2
    floor_dbfs: float = -75.0
    above_noise_db: float = 6.0


NOISE_MS: Final = 2000
"""The noise floor is the lowest level within this time. Speech dips at every syllable, several times a second, so its
floor lies far below it; a hum, a tone or a fan does not dip and is its own floor. (Minimum statistics: Martin 2001,
"Noise power spectral density estimation based on optimal smoothing and minimum statistics".)"""


SPEECH_DBFS: Final = -26.0
"""Quiet speech is raised to this level before the detector judges it: webrtcvad takes it for noise by its level alone.
Of 64 s of speech made 30 dB quieter it found 2 s, and all of it once raised; with noise 40 dB below the speech it found
1 s, and 23 s once raised."""

MOST_GAIN: Final = 5
"""Powers of two it is raised by at most: 30 dB."""

FADE_DB: Final = 0.02
"""How fast the loudest frame is forgotten, in dB a frame: half a minute after a loud word a quiet speaker is found."""


class Vad:
    """Voice activity of one stream, in frames of `frame_ms`. `rate` in Hz is 8000, 16000, 32000 or 48000."""

    def __init__(self, rate: int, settings: VadSettings | None = None, *, frame_ms: int = FRAME_MS) -> None:
        self._settings = settings or VadSettings()
        self._rate = rate
        # Imported with the first stream: to find its own version it reads the installed packages and imports an e-mail
        # parser for it, which takes a twentieth of the daemon's start.
        import webrtcvad

        self._detector = webrtcvad.Vad(self._settings.mode)
        self._frame = 0
        self._remembered = NOISE_MS // frame_ms
        # Frames whose level is below that of all later ones, oldest and least first: the front is the minimum.
        self._least: deque[tuple[int, float]] = deque()
        self._loudest = SILENCE_DBFS

    @property
    def noise_dbfs(self) -> float:
        """The noise floor."""
        return self._least[0][1] if self._least else SILENCE_DBFS

    def feed(self, samples: bytes) -> tuple[bool, float]:
        """Judge one frame of s16le: whether it is speech, and its level in dBFS."""
        level = level_dbfs(samples)
        self._follow_noise(level)
        settings = self._settings
        loud_enough = level >= settings.floor_dbfs and level > self.noise_dbfs + settings.above_noise_db
        self._loudest = max(level, self._loudest - FADE_DB)
        if loud_enough:
            samples = self._raised(samples)
        # The detector adapts to its input, so it gets every frame.
        return bool(self._detector.is_speech(samples, self._rate)) and loud_enough, level

    def _raised(self, samples: bytes) -> bytes:
        """Amplify the frame as if its speaker spoke up."""
        doublings = min(MOST_GAIN, int((SPEECH_DBFS - self._loudest) / 6.0))
        if doublings < 1:
            return samples
        said = array("h", samples)
        offset = sum(said) // len(said)
        louder = array("i", [(sample - offset) << doublings for sample in said])
        try:
            return array("h", louder).tobytes()
        except OverflowError:  # a peak far above the rest
            return array("h", map(_clip, louder)).tobytes()

    def _follow_noise(self, level: float) -> None:
        least = self._least
        while least and least[-1][1] >= level:
            least.pop()
        least.append((self._frame, level))
        if least[0][0] <= self._frame - self._remembered:
            least.popleft()
        self._frame += 1
