"""Speech: text to 16 kHz audio with the times of its words, through libespeak-ng itself (ctypes).

Comes in: a text, a voice, a rate, a pitch. Goes out: an `Utterance`. The library speaks in memory, some hundred times
faster than real time, and tells at which sample each word begins; the `espeak-ng` program tells neither. It keeps
global state, so it is not thread-safe: use processes (`speak_many`).
"""

import ctypes
import ctypes.util
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000
#: Voices of training and evaluation: espeak-ng language, `+` variant.
VOICES = (
    "en-us", "en-us+f2", "en-us+m3", "en-us+f4", "en-us+m7", "en-us+Alicia",
    "en", "en+f3", "en-gb-x-rp+m5", "en-us+f5", "en-us+Michael",
)  # fmt: skip
#: The six voices the first weights knew.
CORE_VOICES = VOICES[:6]

_SYNCHRONOUS, _UTF8, _EVENT_END, _EVENT_WORD = 2, 1, 0, 1
_RATE, _PITCH = 1, 3


class EspeakMissing(RuntimeError):
    """libespeak-ng is not installed (Debian: apt install espeak-ng)."""


@dataclass(frozen=True)
class Word:
    """A spoken word: its letters as written, and when it sounds, in seconds from the start of the utterance's audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """One sentence as spoken: `audio` is mono int16 at 16 kHz with 50 ms of silence on either side."""

    text: str
    voice: str
    audio: npt.NDArray[np.int16]
    words: tuple[Word, ...]


class _Event(ctypes.Structure):
    # espeak_EVENT of speak_lib.h; the closing union is eight bytes.
    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", ctypes.c_char * 8),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Speaker:
    """libespeak-ng, started. At most one in a process."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise EspeakMissing("libespeak-ng.so.1 is not installed: apt install espeak-ng") from error
        self._rate: int = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        if self._rate <= 0:
            raise EspeakMissing("libespeak-ng could not start: its voice data is missing")
        self._pcm: list[npt.NDArray[np.int16]] = []
        self._events: list[tuple[int, int]] = []
        self._callback = _Callback(self._hear)  # kept: ctypes must not collect it
        self._lib.espeak_SetSynthCallback(self._callback)

    def _hear(self, wav: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]") -> int:
        if wav and count:
            self._pcm.append(np.ctypeslib.as_array(wav, shape=(count,)).astype(np.int16))
        i = 0
        while events[i].type != _EVENT_END:
            if events[i].type == _EVENT_WORD:
                self._events.append((events[i].text_position - 1, events[i].sample))
            i += 1
        return 0

    def speak(self, text: str, voice: str, *, rate: int = 165, pitch: int = 50) -> Utterance:
        """`text` in `voice` ("en-us+f2"), `rate` in words a minute, `pitch` 0 to 99.

        A word ends where the next one begins; the last one where the sound does. Raises ValueError for a voice that
        espeak-ng does not have.
        """
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._lib.espeak_SetParameter(_RATE, rate, 0)
        self._lib.espeak_SetParameter(_PITCH, pitch, 0)
        self._pcm, self._events = [], []
        raw = text.encode()
        self._lib.espeak_Synth(raw, ctypes.c_size_t(len(raw) + 1), 0, 1, 0, _UTF8, None, None)
        spoken = np.concatenate(self._pcm).astype(np.float32)
        loud = np.nonzero(np.abs(spoken) > 30)[0]
        margin = self._rate // 20
        first, last = int(loud[0]), int(loud[-1]) + 1
        cut = max(0, first - margin)
        audio = resample(np.pad(spoken[cut:last], (margin - (first - cut), margin)), self._rate)
        onset = margin / self._rate
        return Utterance(text, voice, audio, self._words(text, first, onset, onset + (last - first) / self._rate))

    def _words(self, text: str, first: int, onset: float, stop: float) -> tuple[Word, ...]:
        starts: list[float | None] = []
        spans: list[str] = text.split()
        position = 0
        for word in spans:
            position = text.index(word, position)
            inside = [s for p, s in self._events if position <= p < position + len(word)]
            starts.append(max(onset, min(stop, onset + (min(inside) - first) / self._rate)) if inside else None)
            position += len(word)
        if starts[0] is None:
            starts[0] = onset
        # espeak-ng speaks some pairs ("of the") as one event: the second word then shares the time up to the next known
        # one.
        for i in range(1, len(starts)):
            if starts[i] is None:
                j = next((k for k in range(i, len(starts)) if starts[k] is not None), len(starts))
                before, after = starts[i - 1] or onset, stop if j == len(starts) else starts[j] or stop
                starts[i] = before + (after - before) / (j - i + 1)
        edges = [*(s or onset for s in starts), stop]
        return tuple(Word(w, round(edges[i], 4), round(edges[i + 1], 4)) for i, w in enumerate(spans))


def resample(audio: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.int16]:
    """float32 at `rate` Hz to int16 at 16 kHz, band-limited (cut in the frequency domain; exact up to 10 ms of
    padding).
    """
    block = rate // 50
    padded = np.pad(audio, (0, -len(audio) % block))
    wanted = len(padded) * SAMPLE_RATE // rate
    spectrum = np.fft.rfft(padded)[: wanted // 2 + 1]
    out = np.fft.irfft(spectrum, wanted) * (wanted / len(padded))
    return np.clip(np.round(out), -32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Order:
    """What `speak_many` is asked to say."""

    text: str
    voice: str
    rate: int
    pitch: int


_speaker: Speaker | None = None


def _speak(order: Order) -> Utterance:
    global _speaker
    if _speaker is None:
        _speaker = Speaker()
    return _speaker.speak(order.text, order.voice, rate=order.rate, pitch=order.pitch)


def speak_many(orders: Iterable[Order], processes: int = 2) -> Iterator[Utterance]:
    """Every order's utterance, in order, spoken by `processes` processes."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_speak, orders, chunksize=64)
