"""The recordings that benches speak, with what is said in them and when.

In: tests/data, or a folder of talks: NAME.flac beside NAME.json, whose `utterances` each have `start`, `end` (seconds)
and `text`. Out: PCM and truth. It measures nothing. Where the truth has no times of words, `yardstick` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np

from .scoring import units

DATA = Path(__file__).resolve().parents[3] / "tests" / "data"
RATE = 16000
SECOND = 2 * RATE
"""Bytes of a second of mono s16le."""

BREATH_S = 1.0
"""A cut talk ends so long after its last utterance, or in the middle of the pause where that is shorter."""


@dataclass(frozen=True)
class TimedWord:
    """A unit of the truth (see `scoring`), and its end in seconds of the recording."""

    text: str
    end: float


@dataclass(frozen=True)
class Utterance:
    """What somebody says between two pauses; times in seconds of the recording."""

    start: float
    end: float
    words: tuple[TimedWord, ...]


@dataclass(frozen=True)
class Talk:
    """A recording: mono s16le at 16 kHz, and what is said in it.

    `timed` is False while the ends of its words are guessed from their length.
    """

    name: str
    pcm: bytes
    utterances: tuple[Utterance, ...]
    language: str = "en"
    timed: bool = True

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.pcm) / SECOND

    @property
    def words(self) -> list[TimedWord]:
        """All that is said."""
        return [word for utterance in self.utterances for word in utterance.words]

    @property
    def said(self) -> list[str]:
        """All that is said, without times."""
        return [word.text for word in self.words]

    def samples(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The recording as float samples (n,) in [-1, 1)."""
        return np.frombuffer(self.pcm, np.int16).astype(np.float32) / np.float32(32768)

    def part(self, seconds: float, *, first: int = 0) -> Talk:
        """About so many seconds, from utterance `first` on; cut in pauses, at least one utterance long."""
        begin = self._pause_before(first)
        last = first
        while last + 1 < len(self.utterances) and self.utterances[last + 1].end + BREATH_S <= begin + seconds:
            last += 1
        end = self._pause_before(last + 1)
        kept = tuple(_shifted(utterance, -begin) for utterance in self.utterances[first : last + 1])
        pcm = self.pcm[2 * round(begin * RATE) : 2 * round(end * RATE)]
        return replace(self, name=f"{self.name}+{first}" if first else self.name, pcm=pcm, utterances=kept)

    def _pause_before(self, number: int) -> float:
        """A second in the pause before an utterance, of silence on both sides."""
        if number == 0:
            return 0.0
        before = self.utterances[number - 1].end
        after = self.utterances[number].start if number < len(self.utterances) else self.seconds
        return min(before + BREATH_S, (before + after) / 2)


def load(name: str) -> Talk:
    """A recording of tests/data by name."""
    return _load(DATA / f"{name}.json", DATA / f"{name}.flac")


def load_folder(folder: Path) -> list[Talk]:
    """Every talk of a folder, by name; of a NAME.json that one.

    Raises:
        SystemExit: there is none.
    """
    truths = [folder] if folder.suffix == ".json" else sorted(folder.glob("*.json"))
    talks = [_load(truth, truth.with_suffix(".flac")) for truth in truths]
    if not talks:
        raise SystemExit(f"{folder} holds no talks: NAME.flac beside NAME.json")
    return talks


def join(talks: Sequence[Talk], seconds: float) -> Talk:
    """The talks in turn, over and over, for about so many seconds; whole talks but for the last."""
    pcm = bytearray()
    utterances: list[Utterance] = []
    for talk in cycle(talks):
        begin = len(pcm) / SECOND
        left = round(seconds * SECOND) - len(pcm)
        piece = talk if len(talk.pcm) <= left else talk.part(left / SECOND)
        utterances += [_shifted(utterance, begin) for utterance in piece.utterances]
        pcm += piece.pcm
        if len(talk.pcm) >= left:
            break
    return replace(talks[0], name="joined", pcm=bytes(pcm), utterances=tuple(utterances))


def decode(path: Path) -> bytes:
    """An audio file as mono s16le at 16 kHz.

    Raises:
        av.FFmpegError: it is no audio file.
    """
    resampler = av.AudioResampler("s16", "mono", RATE)
    pieces = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return np.concatenate(pieces).astype(np.int16).tobytes()


@cache
def _load(about: Path, audio: Path) -> Talk:
    truth = json.loads(about.read_text())
    language = truth.get("lang") or "en"
    utterances = tuple(_utterance(utterance, language) for utterance in truth["utterances"])
    timed = all("words" in utterance for utterance in truth["utterances"])
    return Talk(about.stem, decode(audio), utterances, language, timed)


def _utterance(truth: dict[str, Any], language: str) -> Utterance:
    start, end = float(truth["start"]), float(truth["end"])
    if "words" in truth:
        words = [TimedWord(text, word["end"]) for word in truth["words"] for text in units(word["text"], language)]
    else:
        words = guess_ends(units(truth["text"], language), start, end)
    return Utterance(start, end, tuple(words))


def guess_ends(texts: Sequence[str], start: float, end: float) -> list[TimedWord]:
    """Words spread over a time, each as long as its letters and the space behind it."""
    lengths = np.cumsum([len(text) + 1 for text in texts])
    return [
        TimedWord(text, start + (end - start) * float(length / lengths[-1]))
        for text, length in zip(texts, lengths, strict=True)
    ]


def _shifted(utterance: Utterance, by: float) -> Utterance:
    words = tuple(TimedWord(word.text, word.end + by) for word in utterance.words)
    return Utterance(utterance.start + by, utterance.end + by, words)
