"""What the state machines of speech and the engine say to each other: how to decode a window, and what came of it.

Structs only. It imports nothing, so the daemon and its worker processes read the same definitions.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

CHUNK_S: Final = 0.032
"""Seconds of a chunk, for which the voice detector answers once."""

UNRECOVERABLE_LOGPROB: Final = -3.0
"""Mean log-probability of a token below which a whole sentence is a guess, one token in twenty: no second try makes
words of that. A word or two may well be that, a name that nobody has heard before."""


class Kind(IntEnum):
    """What a window is for; a lower number goes first."""

    FINAL = 0
    INTERIM = 1
    FILE = 2


class Interims(IntEnum):
    """What there is of interims; a higher number is less."""

    FULL = 0
    RARER = 1
    SHORTER = 2
    NONE = 3


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to decode. Windows of one batch share their options, so prompts line up in it.

    `language` None detects it. With `confirm` a window without a voice in it is not decoded, with `ending` it is told
    when the last voice in it ends. With `steady` the text depends on nothing but the window: no chance is involved, nor
    what else is in the batch. `margin` is how many feature frames of silence a stock model gets behind the window; with
    None the window is padded to 30 s. A beam of more than 1 is for texts that stay: they are checked to cover the
    voice.
    """

    language: str | None = None
    task: str = "transcribe"
    prompt: str | None = None
    hotwords: str | None = None
    words: bool = False
    beam: int = 5
    confirm: bool = True
    ending: bool = False
    steady: bool = False
    margin: int | None = None


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """What comes before a window, for the model to go on from: mono s16le at the window's rate, and its text.

    A sentence that was cut in two by a pause is heard better so; nothing of the lead is given again.
    """

    audio: bytes
    text: str


class TimedWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word; `start` and `end` are seconds from the window's start."""

    start: float
    end: float
    word: str
    probability: float


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The text of one window with the engine's figures.

    If it was asked for: `voice_s`, seconds in which a voice was heard (where steady: at least), and `voice_end`, the
    second at which it ends, 0 if there is none (not where steady). From a stock model, of what stays: `voiced`, a byte
    for each 32 ms, 1 where there is a voice, and `uncovered`, from and to which second a voice has no words.
    `truncated`: the text filled all its room, and was cut off there.
    """

    text: str
    language: str
    language_probability: float
    avg_logprob: float
    no_speech_prob: float
    voice_s: float | None = None
    voice_end: float | None = None
    words: list[TimedWord] | None = None
    voiced: bytes | None = None
    uncovered: tuple[float, float] | None = None
    truncated: bool = False
