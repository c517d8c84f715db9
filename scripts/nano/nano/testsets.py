"""Test sets: talks nobody trained on, made afresh by espeak-ng, or the project's committed ones where espeak-ng is
missing.

Comes in: a seed. Goes out: lists of `Sample` by kind: `single` utterances, `joined` ones of about 25 s, talks of
`minutes`, and sounds without speech.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .corpus import orders
from .noise import KINDS, Audio
from .scoring import Sample
from .speech import SAMPLE_RATE, VOICES, Order, Utterance, speak_many
from .talk import Talk, Turn, join, random_pause, read_truth


def _sample(talk: Talk, gain: float = 0.3) -> Sample:
    return Sample((np.round(talk.audio * gain) / 32768).astype(np.float32), talk.text)


def _speak(asked: Iterable[Order]) -> list[Utterance]:
    return list(speak_many(asked, 1))


def singles(count: int, seed: int, *, wide: float = 0.4, unseen: bool = False) -> list[Sample]:
    """One sentence each. `unseen`: around a name or a number that training never speaks."""
    asked = orders(count, seed, wide=wide, held_out=not unseen, unseen=unseen)
    return [_sample(join([("", u)], lambda: 0.0)) for u in _speak(asked)]


def talks(count: int, seconds: float, seed: int, *, wide: float = 0.4) -> list[Sample]:
    """Talks of two voices, each full to `seconds` at most."""
    r = random.Random(seed)
    length = int(seconds / 1.5) + 8  # more utterances than any talk takes
    asked: list[Order] = []
    for order in orders(count * length, seed, wide=wide, held_out=True):
        if len(asked) % length == 0:
            pair = r.sample(VOICES, 2)
        asked.append(replace(order, voice=r.choice(pair)))
    spoken = _speak(asked)
    return [_talk(spoken[i * length : (i + 1) * length], seconds, r) for i in range(count)]


def _talk(spoken: Sequence[Utterance], seconds: float, r: random.Random) -> Sample:
    draw = random_pause(r)
    pauses = [draw() for _ in spoken]
    said: list[tuple[str, Utterance]] = []
    used = 0.8
    for u, pause in zip(spoken, pauses, strict=True):
        used += pause + len(u.audio) / SAMPLE_RATE
        if used > seconds:
            break
        said.append((u.voice, u))
    each = iter(pauses)
    return _sample(join(said, lambda: next(each)))


def committed(folder: Path) -> dict[str, list[Sample]]:
    """The same three kinds out of the project's test data."""
    from faster_whisper import decode_audio

    found: dict[str, list[Sample]] = {"single": [], "joined": [], "minutes": []}
    for name in ("talk", "minutes"):
        audio = decode_audio(str(folder / f"{name}.flac"))
        turns = read_truth(folder / f"{name}.json")
        found["single"] += [_stretch(audio, [turn]) for turn in turns]
        first = 0
        for i, turn in enumerate(turns):
            if turn.end - turns[first].start > 25:
                found["joined"].append(_stretch(audio, turns[first:i]))
                first = i
        found["minutes"].append(Sample(audio, " ".join(turn.text for turn in turns)))
    return found


def _stretch(audio: Audio, turns: Sequence[Turn]) -> Sample:
    a, b = turns[0].start - 0.15, turns[-1].end + 0.15
    return Sample(audio[max(0, int(a * SAMPLE_RATE)) : int(b * SAMPLE_RATE)], " ".join(turn.text for turn in turns))


def soundless(seed: int, seconds: float = 10.0) -> dict[str, Audio]:
    """Sounds without speech: digital silence, and each kind of noise at -30 and -60 dBFS."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * SAMPLE_RATE)
    out = {"silence": np.zeros(samples, np.float32)}
    for name, make in KINDS.items():
        for level in (-30, -60):
            sound = np.round(make(rng, samples) * 10 ** (level / 20) * 32767) / 32768
            out[f"{name} {level} dBFS"] = sound.astype(np.float32)
    return out
