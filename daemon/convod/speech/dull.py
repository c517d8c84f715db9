"""Tell whether sound has none of the hiss that speech has at its true rate. Sans-IO.

In: s16le samples, of several channels interleaved. Out: whether what was loud in them was dull throughout. Speech that
was recorded at 48 kHz and is taken for 16 kHz ends at a third of its band: its fastest sounds (s, f, t) lie at 2 kHz
instead of 6. Telephone lines and some microphones are as dull: this alone proves nothing.
"""

from __future__ import annotations

from array import array
from operator import mul
from typing import Final

FRAME: Final = 480
"""Samples looked at together."""

EVERY: Final = 4
"""Each so many frames one is looked at."""

LOUD: Final = 100.0
"""Root mean square of samples from which on a frame counts: -50 dBFS."""

BRIGHT: Final = 0.5
"""Correlation of each sample with the next one below which a frame is bright: as of a tone at a sixth of the rate."""

BRIGHT_PART: Final = 0.01
"""Of 111 recordings at their own rate 6 have no more bright frames than this; at a third of it all of 141."""

FEWEST: Final = 50
"""Loud frames from which on anything can be told: 6 s of speech at 16 kHz."""

MOST: Final = 2000
"""Loud frames after which no more are looked at."""


class Dullness:
    """Looks at a stream from its beginning."""

    def __init__(self, channels: int = 1) -> None:
        self._buffers = [array("h") for _ in range(channels)]
        self._loud = self._bright = 0

    @property
    def dull(self) -> bool:
        """Whether enough was loud, and next to nothing of it bright."""
        return self._loud >= FEWEST and self._bright < BRIGHT_PART * self._loud

    def feed(self, data: bytes) -> None:
        """Take more of the stream: whole samples of all channels."""
        if self._loud >= MOST:
            return
        samples, step = array("h", data), FRAME * EVERY
        for channel, buffer in enumerate(self._buffers):
            buffer.extend(samples[channel :: len(self._buffers)])
            at = 0
            while at + step <= len(buffer):
                self._look(buffer[at : at + FRAME])
                at += step
            del buffer[:at]

    def _look(self, frame: array[int]) -> None:
        energy = sum(map(mul, frame, frame))
        if energy > LOUD * LOUD * FRAME:
            self._loud += 1
            self._bright += sum(map(mul, frame[1:], frame)) < BRIGHT * energy
