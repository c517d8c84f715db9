"""Convert PCM bytes of any allowed encoding to mono 16-bit samples, and cut those into frames for voice activity.

In: bytes as a client sends them, cut anywhere. Out: mono s16le bytes at the stream's own rate, and frames of a fixed
number of milliseconds. It never resamples what the engine decodes: the worker does that once for each window, with a
proper filter, so silence costs nothing and the sample clock is the stream's own. It never imports numpy: the daemon's
own process stays small.
"""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache
from itertools import repeat
from operator import add, floordiv, itemgetter, mul
from typing import Final

import msgspec

from convo.messages import SAMPLE_BYTES
from convo.mixing import StereoMixer

FRAME_MS: Final = 30
"""Length of a frame, unless a client asks for another one."""

RATES: Final = (8000, 48000)
CHANNELS: Final = (1, 8)

_VAD_RATES: Final = (8000, 16000, 32000, 48000)
"""The only rates webrtcvad takes."""


class UnsupportedAudio(ValueError):
    """The stream's format is not supported; the text says which are."""


class PcmFormat(msgspec.Struct, frozen=True):
    """Interleaved PCM: `encoding` s16le, f32le, mulaw or alaw; `rate` in Hz; `channels`.

    Raises:
        UnsupportedAudio: one of the three is out of range.
    """

    encoding: str = "s16le"
    rate: int = 16000
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in SAMPLE_BYTES:
            raise UnsupportedAudio(f"send the audio as {', '.join(SAMPLE_BYTES)}; {self.encoding!r} is not known")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise UnsupportedAudio(f"send the audio at a rate of {RATES[0]} to {RATES[1]} Hz, not {self.rate}")
        if not CHANNELS[0] <= self.channels <= CHANNELS[1]:
            raise UnsupportedAudio(f"send the audio with {CHANNELS[0]} to {CHANNELS[1]} channels, not {self.channels}")

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel."""
        return SAMPLE_BYTES[self.encoding]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.sample_bytes * self.channels

    @property
    def bytes_per_second(self) -> int:
        """Bytes that a second of audio takes."""
        return self.frame_bytes * self.rate


def _mulaw_table() -> list[int]:
    """ITU-T G.711 mu-law, byte to 16-bit sample."""
    table = []
    for code in range(256):
        code = ~code & 0xFF
        magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
        table.append(0x84 - magnitude if code & 0x80 else magnitude - 0x84)
    return table


def _alaw_table() -> list[int]:
    """ITU-T G.711 A-law, byte to 16-bit sample."""
    table = []
    for code in range(256):
        code ^= 0x55
        step, segment = (code & 0x0F) << 4, (code & 0x70) >> 4
        magnitude = (step + 0x108) << (segment - 1) if segment else step + 8
        table.append(magnitude if code & 0x80 else -magnitude)
    return table


_G711: Final = {"mulaw": _mulaw_table(), "alaw": _alaw_table()}


class PcmReader:
    """Converts a stream's bytes to s16le, keeping the bytes of an incomplete frame: mono, or interleaved if `split`."""

    def __init__(self, pcm: PcmFormat, *, split: bool = False) -> None:
        self.pcm = pcm
        self._split = split
        self._mixer = StereoMixer(pcm.rate) if pcm.channels == 2 and not split else None
        self._rest = b""

    @property
    def rest_bytes(self) -> int:
        """Bytes of an incomplete frame."""
        return len(self._rest)

    def feed(self, data: bytes) -> bytes:
        """Convert more of the stream: s16le of all complete frames, each the mean of its channels unless split; of two
        channels that are each other upside down, half their difference.
        """
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % self.pcm.frame_bytes
        self._rest = data[whole:]
        if whole != len(data):
            data = data[:whole]
        if self.pcm.encoding == "s16le" and (self.pcm.channels == 1 or self._split):
            return data
        samples = self._samples(data)
        channels = self.pcm.channels
        if self._mixer is not None:
            samples = self._mixer.mix(samples[0::2], samples[1::2])
        elif channels > 1 and not self._split:
            total: list[int] = list(samples[0::channels])
            for channel in range(1, channels):
                total = list(map(add, total, samples[channel::channels]))
            samples = array("h", map(floordiv, total, repeat(channels)))
        if sys.byteorder == "big":
            samples.byteswap()
        return samples.tobytes()

    def _samples(self, data: bytes) -> array[int]:
        if (table := _G711.get(self.pcm.encoding)) is not None:
            return array("h", map(table.__getitem__, data))
        if self.pcm.encoding == "s16le":
            samples = array("h", data)
            if sys.byteorder == "big":
                samples.byteswap()
            return samples
        floats = array("f", data)
        if sys.byteorder == "big":
            floats.byteswap()
        return array("h", map(_clip, map(mul, floats, repeat(32768.0))))


def _clip(value: float) -> int:
    if -32768.0 <= value <= 32767.0:
        return int(value)
    # NaN compares false with everything: silence is the safe reading.
    return 32767 if value > 0 else -32768 if value < 0 else 0


class Frame(msgspec.Struct, frozen=True):
    """`samples` for the detector (s16le at `vad_rate`), and the stream samples `start` to `end` that it stands for."""

    start: int
    end: int
    samples: bytes


class Frames:
    """Cuts mono s16le at `rate` into frames of `frame_ms` (10, 20 or 30) at a rate that webrtcvad takes.

    For other rates the nearest sample stands in: good enough to tell speech from silence, and exact in time.
    """

    def __init__(self, rate: int, frame_ms: int = FRAME_MS) -> None:
        self.rate = rate
        self.frame_ms = frame_ms
        self.vad_rate = rate if rate in _VAD_RATES else 16000 if rate > 16000 else 8000
        self._buffer = bytearray()
        self._index = 0
        self._start = 0

    def feed(self, mono: bytes) -> list[Frame]:
        """Add mono s16le and return the frames that are complete now."""
        self._buffer += mono
        frames = []
        taken = 0
        while True:
            # Borders are computed from the frame's number, so that odd rates never drift.
            end = (self._index + 1) * self.rate * self.frame_ms // 1000
            size = 2 * (end - self._start)
            if taken + size > len(self._buffer):
                break
            piece = bytes(self._buffer[taken : taken + size])
            frames.append(Frame(self._start, end, self._for_vad(piece)))
            taken += size
            self._index += 1
            self._start = end
        del self._buffer[:taken]
        return frames

    def _for_vad(self, piece: bytes) -> bytes:
        if self.vad_rate == self.rate:
            return piece
        pick = _nearest(len(piece) // 2, self.vad_rate * self.frame_ms // 1000)
        return array("h", pick(array("h", piece))).tobytes()


@lru_cache(maxsize=64)
def _nearest(have: int, want: int) -> itemgetter[tuple[int, ...]]:
    return itemgetter(*(min(have - 1, (2 * i + 1) * have // (2 * want)) for i in range(want)))
