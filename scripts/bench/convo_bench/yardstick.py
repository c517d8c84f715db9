"""Plain faster-whisper in this process: what convo is compared with, and what times the words of a recording.

In: a model and talks. Out: its words on the same audio, with the same weights, compute type and language; talks whose
words have times. The daemon takes no part in it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel

from convod.engine import models

from .scoring import align, units
from .talk import RATE, Talk, TimedWord, Utterance

COMPUTE_TYPE: Final = "int8"
"""What convod computes with on a processor."""

WAYS: Final[dict[str, dict[str, Any]]] = {"faster-whisper": {}, "faster-whisper with VAD": {"vad_filter": True}}
"""A name for each way to transcribe, and its options beyond the defaults."""

MARGIN_S: Final = 0.2
"""Audio on both sides of an utterance when its words are timed."""


class Yardstick:
    """A loaded model on all processors."""

    def __init__(self, model: str) -> None:
        directory = str(models.find(model).directory)
        cores = len(os.sched_getaffinity(0))
        self._model = WhisperModel(directory, device="cpu", compute_type=COMPUTE_TYPE, cpu_threads=cores)
        self._batched = BatchedInferencePipeline(self._model)

    def text(self, audio: Any, language: str | None, **options: Any) -> str:
        """A recording's text; `audio` is a path or float samples at 16 kHz."""
        segments, _ = self._model.transcribe(audio, language=language, **options)
        return " ".join(segment.text for segment in segments)

    def batched_text(self, audio: Any, language: str | None, *, batch_size: int) -> str:
        """The same by its batched pipeline, which always filters by voice activity."""
        segments, _ = self._batched.transcribe(audio, language=language, batch_size=batch_size)
        return " ".join(segment.text for segment in segments)

    def transcribe(self, talk: Talk) -> dict[str, list[str]]:
        """The talk's words in each of `WAYS`."""
        samples = talk.samples()
        return {
            way: units(self.text(samples, talk.language, **options), talk.language) for way, options in WAYS.items()
        }

    def time_words(self, talk: Talk) -> Talk:
        """The talk with the ends of its words.

        An utterance is decoded with word times, and its words are aligned with the truth. A word of the truth that was
        not recognised lies between its neighbours, as long as its letters. The truth's own times bound all of them.
        """
        if talk.timed:
            return talk
        samples = talk.samples()
        timed = tuple(self._timed(utterance, samples, talk.language) for utterance in talk.utterances)
        return replace(talk, utterances=timed, timed=True)

    def _timed(self, utterance: Utterance, samples: Any, language: str) -> Utterance:
        begin = max(0.0, utterance.start - MARGIN_S)
        window = samples[int(begin * RATE) : int((utterance.end + MARGIN_S) * RATE)]
        segments, _ = self._model.transcribe(window, language=language, word_timestamps=True)
        recognised = [
            TimedWord(text, begin + end)
            for segment in segments
            for word in segment.words or ()
            for text, end in _spread(units(word.word, language), word.start, word.end)
        ]
        places = align([word.text for word in utterance.words], [word.text for word in recognised]).places
        ends = [None if place is None else recognised[place].end for place in places]
        return replace(utterance, words=_interpolated(utterance, ends))


def _spread(texts: list[str], start: float, end: float) -> list[tuple[str, float]]:
    """The units of one timed word (several where it has a hyphen or no spaces), with an even share each."""
    return [(text, start + (end - start) * (i + 1) / len(texts)) for i, text in enumerate(texts)]


def _interpolated(utterance: Utterance, ends: list[float | None]) -> tuple[TimedWord, ...]:
    """Fill in the ends that are None, in proportion to the words' letters."""
    letters = np.cumsum([len(word.text) + 1 for word in utterance.words])
    known_at, known = [0.0], [utterance.start]
    for at, end in zip(letters[:-1], ends[:-1], strict=True):
        if end is not None and known[-1] <= end <= utterance.end:
            known_at.append(float(at))
            known.append(end)
    # The truth says when the last word ends.
    known_at.append(float(letters[-1]))
    known.append(utterance.end)
    filled = np.interp(letters, known_at, known)
    return tuple(TimedWord(word.text, float(end)) for word, end in zip(utterance.words, filled, strict=True))
