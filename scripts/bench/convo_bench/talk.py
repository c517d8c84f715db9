"""The recordings that benches speak, with the words and when each one ends.

In: tests/data. Out: PCM and truth. It measures nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

DATA = Path(__file__).resolve().parents[3] / "tests" / "data"
RATE = 16000
SECOND = 2 * RATE
"""Bytes of a second of mono s16le."""


@dataclass(frozen=True)
class SaidWord:
    """A word of the truth: normalised text, and its end in seconds of the recording."""

    text: str
    end: float


@dataclass(frozen=True)
class Talk:
    """A recording: mono s16le at 16 kHz, and what is said in it."""

    name: str
    pcm: bytes
    words: list[SaidWord]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.pcm) / SECOND


def plain(text: str) -> list[str]:
    """Words as they are counted: lower case, without punctuation."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def load(name: str) -> Talk:
    """A recording of tests/data by name."""
    about = json.loads((DATA / f"{name}.json").read_text())
    words = [
        SaidWord(text, word["end"])
        for utterance in about["utterances"]
        for word in utterance["words"]
        for text in plain(word["text"])
    ]
    resampler = av.AudioResampler("s16", "mono", RATE)
    pieces = []
    with av.open(str(DATA / f"{name}.flac")) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return Talk(name, np.concatenate(pieces).astype(np.int16).tobytes(), words)


def align(said: list[str], shown: list[str]) -> list[int | None]:
    """For each said word the place of the same word in what is shown, None if it is not there (Levenshtein)."""
    rows, columns = len(said) + 1, len(shown) + 1
    cost = np.zeros((rows, columns), np.int32)
    cost[:, 0] = np.arange(rows)
    cost[0, :] = np.arange(columns)
    for i in range(1, rows):
        for j in range(1, columns):
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + (said[i - 1] != shown[j - 1]))
    places: list[int | None] = [None] * len(said)
    i, j = len(said), len(shown)
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (said[i - 1] != shown[j - 1]):
            i, j = i - 1, j - 1
            if said[i] == shown[j]:
                places[i] = j
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return places


def errors(said: list[str], shown: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(shown) + 1))
    for i, one in enumerate(said, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(shown, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (one != other))
    return row[-1]
