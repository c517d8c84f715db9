"""The commands of the state machines of live and file sessions, and the news they get besides audio and hypotheses."""

from __future__ import annotations

import msgspec

from convo.messages import Event, Word
from convod.speech.decoding import DecodeJob, Interims
from convod.speech.voice import Voice


class Decode(msgspec.Struct, frozen=True):
    """Submit the job to the engine; it replaces the waiting job `instead_of`, if given."""

    job: DecodeJob
    instead_of: DecodeJob | None = None


class Drop(msgspec.Struct, frozen=True):
    """The job's text is not needed any more, whether it waits or runs."""

    job: DecodeJob


class Prioritize(msgspec.Struct, frozen=True):
    """The job's text is needed now."""

    job: DecodeJob


class Emit(msgspec.Struct, frozen=True):
    """Send an event that is not stored."""

    event: Event


class TimedText(msgspec.Struct, frozen=True):
    """The text of a segment; `start` and `end` are seconds of the session. `words` have times, if asked for.

    `voice`: whose it is to be told by; `speaker`: its channel, from 1, where channels are split.
    """

    start: float
    end: float
    text: str
    language: str
    confidence: float
    words: list[Word] | None
    voice: Voice | None = None
    speaker: int | None = None


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Segments to store and send, at once with the checkpoint.

    Args:
        checkpoint_sample: Where to go on after a restart: a sample,
        checkpoint_utterance: and the number of an utterance.
        segment: Number of the first segment.
        texts: The segments; without any, only the checkpoint moves.
        arrived: When their audio was received.
        trouble: A sentence about audio that could not be decoded.
        uncovered: From which to which second of the session a voice has no words.
    """

    checkpoint_sample: int
    checkpoint_utterance: int
    segment: int
    texts: tuple[TimedText, ...]
    arrived: float
    trouble: str | None = None
    uncovered: tuple[float, float] | None = None


Command = Decode | Drop | Prioritize | Emit | Commit


class LoadChanged(msgspec.Struct, frozen=True):
    """The session may now ask for so many interims."""

    interims: Interims


class DecodeStarted(msgspec.Struct, frozen=True):
    """A worker has started to decode the job."""

    job: DecodeJob


class DecodeRequeued(msgspec.Struct, frozen=True):
    """The job waits again, because its worker was lost."""

    job: DecodeJob


News = LoadChanged | DecodeStarted | DecodeRequeued
