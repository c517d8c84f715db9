"""The recordings in tests/data with what was said in them, and how far a transcript is from that."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Iterable
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "data"
RATE = 16000


@cache
def truth(name: str) -> str:
    """What is said in a recording."""
    about: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return " ".join(utterance["text"] for utterance in about["utterances"])


@cache
def pcm(name: str, rate: int = RATE) -> bytes:
    """A recording as mono s16le, at 16 kHz unless said otherwise."""
    import av
    import numpy as np

    resampler = av.AudioResampler("s16", "mono", rate)
    pieces = []
    with av.open(str(DATA / name)) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces).astype(np.int16).tobytes()


def wav(pcm: bytes, rate: int = RATE) -> bytes:
    """Mono s16le as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()


def excerpt(name: str, until: float) -> tuple[bytes, str]:
    """The first seconds of a recording as mono s16le at 16 kHz, and what is said in them; cut in a pause."""
    about: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    said = [utterance for utterance in about["utterances"] if utterance["start"] < until]
    assert said[-1]["end"] < until, "cut in a pause"
    return pcm(about["audio"])[: int(until * RATE) * 2], " ".join(utterance["text"] for utterance in said)


def words(text: str) -> list[str]:
    """Words as they are counted: lower case, without punctuation."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Levenshtein distance in words over the reference's words."""
    said, heard = words(reference), words(hypothesis)
    row = list(range(len(heard) + 1))
    for i, one in enumerate(said, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (one != other))
    return row[-1] / max(1, len(said))


def told_apart(name: str, labels: Iterable[tuple[float, float, object]]) -> float:
    """The share of what is said in a recording that lies in labels (start, end, whose) of its speaker."""
    about: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    shared: dict[tuple[str, object], float] = {}
    spoken = 0.0
    told = list(labels)
    for said in about["utterances"]:
        spoken += said["end"] - said["start"]
        for start, end, whose in told:
            within = max(0.0, min(end, said["end"]) - max(start, said["start"]))
            shared[said["speaker"], whose] = shared.get((said["speaker"], whose), 0.0) + within
    speakers = sorted({speaker for speaker, _ in shared})
    called = sorted({whose for _, whose in shared}, key=str) + [None] * len(speakers)
    ways = permutations(called, len(speakers))
    return max(sum(shared.get(pair, 0.0) for pair in zip(speakers, way, strict=True)) for way in ways) / spoken
