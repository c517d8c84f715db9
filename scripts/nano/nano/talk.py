"""Talks: utterances laid out on one time line, and the truth about them.

Comes in: utterances and the pauses between them. Goes out: a `Talk` (audio and who said which word when), as JSON for
tests, and as windows: which words a stretch of the talk holds. Needs numpy only.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .speech import SAMPLE_RATE, Utterance, Word

#: A word belongs to a window that holds at least this share of its sound.
HEARD = 0.7


@dataclass(frozen=True)
class Turn:
    """An utterance within a talk; times in seconds from the talk's start, of the sound itself (without its margins)."""

    speaker: str
    start: float
    end: float
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Talk:
    """Mono int16 audio at 16 kHz and its turns in order of time."""

    audio: npt.NDArray[np.int16]
    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        return " ".join(turn.text for turn in self.turns)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.audio) / SAMPLE_RATE

    def cut(self, start: float, end: float) -> "Talk":
        """The stretch from `start` to `end` (seconds), with the words of which it holds at least `HEARD`."""
        turns: list[Turn] = []
        for turn in self.turns:
            if turn.end <= start or turn.start >= end:
                continue
            words = tuple(
                Word(w.text, max(w.start, start) - start, min(w.end, end) - start)
                for w in turn.words
                if min(w.end, end) - max(w.start, start) >= HEARD * (w.end - w.start)
            )
            if words:
                turns.append(Turn(turn.speaker, words[0].start, words[-1].end, " ".join(w.text for w in words), words))
        return Talk(self.audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)], tuple(turns))

    def as_json(self, **more: object) -> str:
        """The truth, one turn a line; `more` goes first (a seed, the voices)."""
        head = {**more, "duration": round(self.duration, 3)}
        turns = ",\n".join("  " + json.dumps(_rounded(asdict(turn))) for turn in self.turns)
        return json.dumps(head)[:-1] + ',\n "utterances": [\n' + turns + "\n]}\n"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value


def read_truth(path: Path) -> tuple[Turn, ...]:
    """The turns of a file that `Talk.as_json` wrote."""
    found = json.loads(path.read_text())["utterances"]
    return tuple(
        Turn(u["speaker"], u["start"], u["end"], u["text"], tuple(Word(**w) for w in u["words"])) for u in found
    )


def join(
    utterances: Sequence[tuple[str, Utterance]], pause: Callable[[], float], *, lead: float = 0.3, tail: float = 0.5
) -> Talk:
    """`(speaker, utterance)` pairs one after the other, `pause()` seconds of silence between two of them."""
    parts = [np.zeros(round(lead * SAMPLE_RATE), np.int16)]
    at = len(parts[0])
    turns: list[Turn] = []
    for i, (speaker, u) in enumerate(utterances):
        if i:
            parts.append(np.zeros(round(pause() * SAMPLE_RATE), np.int16))
            at += len(parts[-1])
        shift = at / SAMPLE_RATE
        words = tuple(Word(w.text, w.start + shift, w.end + shift) for w in u.words)
        turns.append(Turn(speaker, words[0].start, words[-1].end, u.text, words))
        parts.append(u.audio)
        at += len(u.audio)
    parts.append(np.zeros(round(tail * SAMPLE_RATE), np.int16))
    return Talk(np.concatenate(parts), tuple(turns))


def random_pause(r: random.Random) -> Callable[[], float]:
    """Pauses of a conversation: mostly under a second, seconds of each."""
    return lambda: r.choice([r.uniform(0.1, 0.5), r.uniform(0.3, 1.0), r.uniform(0.6, 1.5)])
