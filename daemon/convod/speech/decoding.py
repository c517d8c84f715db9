"""What the state machines of speech and the engine exchange: windows to decode, and what came of them.

Types only, shared by the daemon and its worker processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import msgspec

CHUNK_S: Final = 0.032
"""Seconds of a chunk of the voice detector, which gives one probability for each."""

UNRECOVERABLE_LOGPROB: Final = -3.0
"""Mean log-probability of a token below which a whole sentence is a guess, one token in twenty: no second try makes
words of that. A word or two may well be that improbable: a name the model has never seen."""


INTERIM_MARGIN: Final = 300
FINAL_MARGIN: Final = 1000
"""Frames of silence that a stock model gets behind a window. It need not be all 30 s, nor may it be too few. Words
wrong of 121 recorded English utterances, tiny.en, untimed, doubtful ones once more in full: with a beam of 5 15.0 % in
full, 15.4 with 1000, 15.0 with 500, 16.6 with 300; of ten talks in noise and haste 11.8 with 1000, 13.2 with 500.
Greedy 16.7 % in full, 15.6 with 500, 15.7 with 300. The encoder takes 158 ms in full, 76 with 1000, 47 with 500
(scripts/bench/RESULTS.md)."""


class Kind(IntEnum):
    """What a window is for. Lower numbers go first."""

    FINAL = 0
    INTERIM = 1
    FILE = 2


class Interims(IntEnum):
    """How many interims a session may ask for. Higher numbers mean fewer."""

    FULL = 0
    RARER = 1
    SHORTER = 2
    NONE = 3


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to decode. The windows of a batch share their options, so that their prompts line up.

    Args:
        language: The language, or None to detect it.
        languages: Those it may be where it is detected; None allows all.
        task: `transcribe` or `translate`.
        prompt: Text that comes before the session's.
        hotwords: Words to expect.
        words: Whether to give the times of words.
        beam: Width of the beam search. More than 1 is for texts that stay: they are checked to cover the voice.
        check_voice: Whether to leave out a window without a voice in it.
        find_voice_end: Whether to tell where the last voice ends.
        deterministic: Whether the text depends on nothing but the window: neither on chance nor on the rest of the
            batch.
        margin: Feature frames of silence that a stock model gets behind the window; None pads it to 30 s.
    """

    language: str | None = None
    languages: tuple[str, ...] | None = None
    task: str = "transcribe"
    prompt: str | None = None
    hotwords: str | None = None
    words: bool = False
    beam: int = 5
    check_voice: bool = True
    find_voice_end: bool = False
    deterministic: bool = False
    margin: int | None = None


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """What comes right before a window, for the model to go on from: mono s16le at the window's rate, and its text.

    A sentence that a pause cut in two is recognised better so. Nothing of the lead is in the result.
    """

    audio: bytes
    text: str


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Audio to decode, as a worker is given it.

    Args:
        audio: Mono s16le, 30 s at most.
        stream_key: Names the sample it begins at; windows with the same key are beginnings of one another.
        lead: What comes right before it.
        expected: The language of what came before it: where the language is detected, it takes more to be another one.
        voiceprints: Whether to embed the voice in it.
    """

    audio: bytes
    stream_key: str | None = None
    lead: Lead | None = None
    expected: str | None = None
    voiceprints: bool = False


@dataclass(eq=False, slots=True)
class DecodeJob:
    """A window to decode, from the state machine that cut it to the worker and back.

    Args:
        session: The session it belongs to.
        kind: What it is for.
        window: The audio.
        rate: Samples a second of the audio.
        options: How to decode it.
        owner: Whose session it is.
        utterance: Number of the utterance it holds.
        start: Sample of the stream it begins at.
        end: Sample of the stream it ends before.
        spare_s: Its text is needed so many seconds after it is submitted, at once if 0.
        since: When it began to wait. An interim that replaces another one waits since that one did.
        due: When its text is needed.
        behind: Whether others of its session waited when it came.
        deaths: How many workers ended with it alone.
        losses: How many workers on other machines were lost to sight with it.
    """

    session: str
    kind: Kind
    window: Window
    rate: int
    options: Options
    owner: str = ""
    utterance: int = 0
    start: int = 0
    end: int = 0
    spare_s: float = 0.0
    since: float = 0.0
    due: float = 0.0
    behind: bool = False
    deaths: int = field(default=0, init=False)
    losses: int = field(default=0, init=False)

    @property
    def audio(self) -> bytes:
        """The window's samples, mono s16le."""
        return self.window.audio

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return len(self.audio) / 2 / self.rate


LANGUAGE_SURE: Final = 0.5
"""Probability from which a detected language is expected next (faster-whisper's threshold)."""

UNCOVERED_S: Final = 2.0
"""A voice without words is reported from this length on: less may be laughter."""


class TimedWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A word; `start` and `end` are seconds from the window's start. `language` is told where a window has several.

    `turn` counts the voices that follow each other in the window, if they are told apart.
    """

    start: float
    end: float
    word: str
    probability: float
    language: str | None = None
    turn: int = 0


class Voiceprints(msgspec.Struct, frozen=True, kw_only=True):
    """Embeddings of a voice: of a window of `window_s` seconds from each of `starts` on, seconds from the beginning.

    `vectors`: little-endian 32-bit floats, of unit length; empty where nobody speaks. `turns`: whether the words say
    where another voice begins.
    """

    starts: list[float]
    window_s: float
    vectors: list[bytes]
    turns: bool = False


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The text of one window, with the engine's figures.

    Args:
        text: The text, empty where nobody speaks.
        language: The language it is in; of several the one that is spoken most.
        language_probability: How probable that language is.
        avg_logprob: Mean log-probability of its tokens.
        no_speech_prob: Whisper's probability that the window holds no speech.
        voice_s: Seconds of voice in the window, if asked for; at least that many where decoding is deterministic.
        voice_end: Second at which the last voice ends, 0 if there is none; if asked for, never where deterministic.
        words: Its words with times, if asked for.
        voiced: A byte for each chunk of CHUNK_S, 1 where there is a voice; from stock models, for texts that stay.
        uncovered: From which to which second a voice has no words; likewise.
        truncated: Whether the text filled all its room and was cut off there.
        voiceprints: The embeddings of its voice, if asked for, and if there is an embedder.
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
    voiceprints: Voiceprints | None = None
