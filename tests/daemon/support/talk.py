"""Speech with silence around it, and results as an engine would give them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from msgspec.structs import asdict

from convod.speech.commands import Commit
from convod.speech.decoding import Hypothesis, TimedWord, Voiceprints
from tests.daemon.support.sounds import silence
from tests.support.speech import pcm


def sentence() -> bytes:
    """Two and a half seconds of speech at 16 kHz between short silences."""
    return pcm("single.flac")


def word() -> bytes:
    """A second of speech at 16 kHz between short silences."""
    return pcm("short.wav")


def talk(count: int, pause_s: float = 1.0) -> bytes:
    """`count` sentences, each followed by silence."""
    return (sentence() + silence(pause_s)) * count


def heard(
    text: str,
    *,
    avg_logprob: float = -0.2,
    no_speech_prob: float = 0.01,
    language: str = "en",
    language_probability: float = 0.9,
    voice_s: float = 2.0,
    voice_end: float | None = None,
    words: list[TimedWord] | None = None,
    voiced: bytes | None = None,
    uncovered: tuple[float, float] | None = None,
    truncated: bool = False,
    voiceprints: Voiceprints | None = None,
) -> Hypothesis:
    return Hypothesis(
        text=text,
        language=language,
        language_probability=language_probability,
        avg_logprob=avg_logprob,
        no_speech_prob=no_speech_prob,
        voice_s=voice_s,
        voice_end=voice_end,
        words=words,
        voiced=voiced,
        uncovered=uncovered,
        truncated=truncated,
        voiceprints=voiceprints,
    )


REJECTED = {"avg_logprob": -2.0, "no_speech_prob": 0.95, "voice_s": 0.1}
"""Figures of a text that no filter lets through."""


def flat(commit: Commit) -> Any:
    """A live session's commit, with the fields of its only segment beside its own; without one, `text` is None."""
    assert len(commit.texts) <= 1
    text = asdict(commit.texts[0]) if commit.texts else {"text": None}
    return SimpleNamespace(**asdict(commit), **text)
