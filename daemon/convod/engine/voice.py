"""Find voice in a window with Silero VAD, as bundled by faster-whisper. Runs in worker processes only.

In: float samples at 16 kHz. Out: seconds of voice, and where it ends. webrtcvad, which decides what is decoded at all,
takes clicks and breath for speech; Silero does not, but is too expensive for every frame of every session.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from faster_whisper.vad import get_vad_model

from convod.engine.wire import RATE
from convod.engine.word_times import PAUSE_S

CHUNK: Final = 512
"""Samples that Silero judges at a time: 32 ms."""

ENDING_S: Final = 1.5
"""Sound before an end that is enough for the detector to settle."""

LOOK_S: Final = 1.0
"""Length of a stretch in which a voice is found if there is one."""

LEAST_VOICE_S: Final = 0.06
"""A window with less voice than this (two chunks) holds none."""

VOICE: Final = 0.4
"""Probability from which a chunk counts. Measured: speech reaches 0.99, breath 0.24, clicks 0.1, hum and tone 0.07."""

FAINT: Final = 0.1
"""Probability from which a chunk may be a whisper."""

LEAST_FAINT_S: Final = 0.12
"""A window with less than this even of faint voice holds none. Recorded: three whispered sentences had 0.58 s and more,
of eleven noises laughter and whistling alone had over 0.06 s."""

RISING: Final = 0.05
ONSET: Final = 12
"""A voice begins up to so many chunks before the first one that counts, as far as those between are this probable:
behind silence or music the detector takes so long to be sure. Wrong by, of 62 onsets in three recorded talks (95th
percentile): 0.19 s without, 0.07 s so; with 0.03 it begins in hiss. Behind twelve kinds of music the voice seemed to
begin 0.04 to 0.31 s late; eleven do so by 0.07 s at most, others by 0.21 s."""

FALLING: Final = 0.7
RING: Final = 6
"""It ends with its last chunk that is this probable, up to so many before the last one that counts: the detector lets
go late. Wrong by, of as many ends: 0.14 s without, 0.07 s so."""

BRIEF: Final = 3
"""What lasts so many chunks and one is not made shorter."""

PAUSE: Final = int(PAUSE_S * RATE / CHUNK) + 1
"""Chunks of the shortest pause between two phrases."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


class Voice:
    """The loaded detector."""

    def __init__(self) -> None:
        self._model = get_vad_model()

    def chunks(self, samples: Floats) -> Floats:
        """Return the probability of voice in each chunk of CHUNK samples; takes 1.3 ms for a second."""
        if not samples.size:
            return np.zeros(0, np.float32)
        found: Floats = self._model(np.pad(samples, (0, -samples.size % CHUNK)))
        return found

    def find(self, samples: Floats) -> tuple[float, float]:
        """Return the seconds of voice in samples (n,), and the second at which the last voice ends."""
        return extent(self.chunks(samples), samples.size)

    def least(self, samples: Floats) -> float:
        """Return a lower bound for the seconds of voice in samples (n,).

        As `find`, but it looks at the loudest stretch first, and no further if that holds a voice: 1.3 ms for speech of
        any length.
        """
        look = int(LOOK_S * RATE) // CHUNK * CHUNK
        if samples.size > 2 * look:
            rest = samples[: samples.size // CHUNK * CHUNK].reshape(-1, CHUNK)
            energy = np.convolve((rest * rest).sum(1), np.ones(look // CHUNK), "valid")
            begin = int(energy.argmax()) * CHUNK
            seconds, _ = self.find(samples[begin : begin + look])
            if seconds >= LEAST_VOICE_S:
                return seconds
        return self.find(samples)[0]

    def end(self, samples: Floats) -> float:
        """Return the second at which the last voice in samples (n,) ends, by their last ENDING_S; 0 without a voice."""
        skipped = max(0, samples.size - int(ENDING_S * RATE))
        seconds, end = self.find(samples[skipped:])
        return skipped / RATE + end if seconds else 0.0


def extent(chunks: Floats, size: int) -> tuple[float, float]:
    """Return the seconds of voice in a window of `size` samples, and where it ends, by its probabilities (chunks,)."""
    voiced = np.flatnonzero(chunks >= VOICE)
    if not voiced.size:
        return 0.0, 0.0
    return voiced.size * CHUNK / RATE, min(size, (int(voiced[-1]) + 1) * CHUNK) / RATE


def voiced_chunks(chunks: Floats) -> bytes:
    """Return a byte for each chunk with these probabilities: 1 where there is a voice.

    It begins and ends more exactly than VOICE tells; a pause that parts phrases stays one.
    """
    voiced = chunks >= VOICE
    places = np.flatnonzero(voiced)
    earliest = 0
    for phrase in np.split(places, np.flatnonzero(np.diff(places) > PAUSE) + 1) if places.size else ():
        first, last = begin, _ = int(phrase[0]), int(phrase[-1])
        while begin > max(earliest, first - ONSET) and chunks[begin - 1] >= RISING:
            begin -= 1
        sure = phrase[chunks[phrase] >= FALLING]
        end = min(last, max(last - RING, first + BRIEF, int(sure[-1]) if sure.size else last))
        voiced[begin:first] = True
        voiced[end + 1 : last + 1] = False
        earliest = last + 1 + PAUSE
    return voiced.tobytes()


def is_silent(chunks: Floats) -> bool:
    """Whether a window with these probabilities holds no voice, not even a whisper."""
    return float((chunks >= FAINT).sum()) * CHUNK / RATE < LEAST_FAINT_S
