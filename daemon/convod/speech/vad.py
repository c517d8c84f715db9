"""Decide for one frame of samples whether it is speech: webrtcvad as the gate, an adaptive noise floor beside it.

In: frames of s16le. Out: yes or no, and the frame's level in dBFS. It never decides where an utterance begins or ends
(that is `endpointer`), and it holds no audio.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from itertools import accumulate, repeat
from operator import mul, sub
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


class LevelWithoutHum:
    """The level of a stream's frames in dBFS, without what is below some 300 Hz. `rate` in Hz."""

    def __init__(self, rate: int) -> None:
        self._half = max(1, round(rate / _STRIDE * HUM_S / 2))
        self._last = [0] * (2 * self._half)

    def feed(self, samples: bytes) -> float:
        """Return the level of one frame of s16le, at least SILENCE_DBFS."""
        last, half = self._last, self._half
        some = [*last, *array("h", samples)[::_STRIDE]]
        self._last = some[-2 * half :]
        # Each sample less the mean of those around it, times their number.
        sums = list(accumulate(some, initial=0))
        means = map(sub, sums[2 * half :], sums)
        high = list(map(sub, map(mul, some[half:], repeat(2 * half)), means))
        power = sum(map(mul, high, high)) / (len(high) * 4 * half * half)
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


HUM_DBFS: Final = -50.0
HUM_DB: Final = 10.0
"""A noise floor above HUM_DBFS that is HUM_DB lower without its lows is the hum of mains or a rumble: then levels are
compared without them. Speech 10 dB above a hum of -33 dBFS is half the time not louder than it, and was lost."""

HUM_S: Final = 0.0025
"""What a mean over this time follows is left out: of 50 Hz 33 dB, of 150 Hz 13 dB, of 300 Hz and more 3 dB at most."""

SPEECH_DBFS: Final = -26.0
"""Quiet speech is raised to this level before the detector judges it: webrtcvad takes it for noise by its level alone.
Of 64 s of speech made 30 dB quieter it found 2 s, and all of it once raised; with noise 40 dB below the speech it found
1 s, and 23 s once raised."""

MOST_GAIN: Final = 5
"""Powers of two it is raised by at most: 30 dB."""

FADE_DB: Final = 0.02
"""How fast the loudest frame is forgotten, in dB a frame: half a minute after a loud word a quiet speaker is found."""


class NoiseFloor:
    """The lowest level of the last `frames` frames."""

    def __init__(self, frames: int) -> None:
        self._frame = 0
        self._remembered = frames
        # Frames whose level is below that of all later ones, oldest and least first: the front is the minimum.
        self._least: deque[tuple[int, float]] = deque()

    @property
    def dbfs(self) -> float:
        """The floor."""
        return self._least[0][1] if self._least else SILENCE_DBFS

    def follow(self, level: float) -> None:
        """Add the level of a frame."""
        least = self._least
        while least and least[-1][1] >= level:
            least.pop()
        least.append((self._frame, level))
        if least[0][0] <= self._frame - self._remembered:
            least.popleft()
        self._frame += 1

    def clear(self) -> None:
        """Forget all levels."""
        self._least.clear()


class Vad:
    """Voice activity of one stream, in frames of `frame_ms`. `rate` in Hz is 8000, 16000, 32000 or 48000."""

    def __init__(self, rate: int, settings: VadSettings | None = None, *, frame_ms: int = FRAME_MS) -> None:
        self._settings = settings or VadSettings()
        self._rate = rate
        # Imported with the first stream: to find its own version it reads the installed packages and imports an e-mail
        # parser for it, which takes a twentieth of the daemon's start.
        import webrtcvad

        self._detector = webrtcvad.Vad(self._settings.mode)
        self._noise = NoiseFloor(NOISE_MS // frame_ms)
        self._without_hum = LevelWithoutHum(rate)
        self._noise_without_hum = NoiseFloor(NOISE_MS // frame_ms)
        self._loudest = SILENCE_DBFS

    @property
    def noise_dbfs(self) -> float:
        """The noise floor."""
        return self._noise.dbfs

    def feed(self, samples: bytes) -> tuple[bool, float]:
        """Judge one frame of s16le: whether it is speech, and its level in dBFS; without the hum if there is one."""
        level = level_dbfs(samples)
        self._noise.follow(level)
        self._loudest = max(level, self._loudest - FADE_DB)
        level, noise = self._beside_hum(samples, level)
        settings = self._settings
        loud_enough = level >= settings.floor_dbfs and level > noise + settings.above_noise_db
        if loud_enough:
            samples = self._raised(samples)
        # The detector adapts to its input, so it gets every frame.
        return bool(self._detector.is_speech(samples, self._rate)) and loud_enough, level

    def _beside_hum(self, samples: bytes, level: float) -> tuple[float, float]:
        """The level of a frame and the noise floor, both without the hum if there is one."""
        if self._noise.dbfs <= HUM_DBFS:  # to look for it costs more than all the rest
            self._noise_without_hum.clear()
            return level, self._noise.dbfs
        without = self._without_hum.feed(samples)
        self._noise_without_hum.follow(without)
        if self._noise.dbfs - self._noise_without_hum.dbfs < HUM_DB:
            return level, self._noise.dbfs
        return without, self._noise_without_hum.dbfs

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
