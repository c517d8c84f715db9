"""From samples to segments for one session: what to decode, what to say, what to keep, in which order.

In: mono samples, results of the engine, a flush. Out: commands (`Decode`, `Say`, `Keep`). A state machine on the
sample clock: no I/O, no tasks; the time that audio arrived is handed in. Utterances are decoded in any order and
published in theirs. Partials are sent only for the utterance that comes next, so a segment's number is never used for
two utterances that were shown with stable words.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from convo.messages import (
    Event,
    SpeechEnded,
    SpeechStarted,
    TranscriptPartial,
    Word,
)
from convod.captions import Agreement, Guard
from convod.engine.wire import Heard, Kind
from convod.hearing import Closed, Endpointer, EndpointSettings, Frames, Opened, Silence, Speech, Vad
from convod.hearing.vad import VadSettings

INTERIM_MS: Final = 250
"""New audio before an utterance is decoded again for its caption."""

FIRST_INTERIM_MS: Final = 400
"""Audio from the onset on before it is decoded at all: on less, a model guesses."""

LANGUAGE_SURE: Final = 0.5
"""Probability from which a detected language is kept for the session (faster-whisper's threshold)."""


@dataclass(eq=False, frozen=True, slots=True)
class Window:
    """Audio to decode: `audio` is mono s16le of the samples from `start` on.

    `promised` are the stable words that were shown of it: should its final be rejected, they are what remains.
    """

    kind: Kind
    utterance: int
    start: int
    audio: bytes
    language: str | None
    closed: Closed | None = None
    arrived: float = 0.0
    promised: str = ""


@dataclass(frozen=True, slots=True)
class Decode:
    """Give the window to the engine."""

    window: Window


@dataclass(frozen=True, slots=True)
class DropInterim:
    """The interim that waits or runs is of no use any more."""


@dataclass(frozen=True, slots=True)
class Say:
    """An event that is not stored."""

    event: Event


@dataclass(frozen=True, slots=True)
class Keep:
    """A segment to store and send; with `text` None only the mark moves.

    `arrived` is when the audio's end was received, `trouble` a sentence about audio that could not be decoded.
    """

    mark_sample: int
    mark_utterance: int
    segment: int = 0
    text: str | None = None
    start: float = 0.0
    end: float = 0.0
    language: str = ""
    confidence: float = 0.0
    words: list[Word] | None = None
    arrived: float = 0.0
    trouble: str | None = None


Command = Decode | DropInterim | Say | Keep


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session is heard. `rate` in Hz; `kind` FINAL for live sessions, FILE for files."""

    session: str
    rate: int
    kind: Kind
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    vad: VadSettings = field(default_factory=VadSettings)
    frame_ms: int = 30
    interim: bool = True
    words: bool = False
    language: str | None = None


@dataclass(slots=True)
class _Verdict:
    """A final that waits for its turn."""

    window: Window
    heard: Heard | None
    trouble: str | None = None


class Transcriber:
    """`segment`, `utterance` and `sample` are where to go on after a restart; all 0 for a new session.

    Audio fed first is the sample `sample`. With `replay`, audio is fed from sample 0 and utterances before
    `utterance` are passed over: exact, where the same samples give the same utterances.
    """

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        *,
        segment: int = 0,
        utterance: int = 0,
        sample: int = 0,
        replay: bool = False,
    ) -> None:
        self.settings = settings
        self.guard = guard
        self.segment = segment
        self.language = settings.language
        self._rate = settings.rate
        self._base = 0 if replay else sample  # stream sample that frames count from
        self._skip = utterance if replay else 0
        self._frames = Frames(settings.rate, settings.frame_ms)
        self._vad = Vad(self._frames.vad_rate, settings.vad)
        self._endpoint = Endpointer(
            settings.rate, settings.endpoint, first=0 if replay else utterance, begin=self._base
        )
        self._buffer = bytearray()
        self._buffer_start = self._base
        self._now = self._base
        self._arrivals: deque[tuple[int, float]] = deque()
        self._publish_next = utterance
        self._decoding: dict[int, Closed] = {}
        self._verdicts: dict[int, _Verdict] = {}
        self._interim: Window | None = None
        self._interim_due = self._base
        self._agreement = Agreement()
        self._shown_stable = ""

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Samples heard so far."""
        return self._now

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._endpoint.open_since is not None

    @property
    def waiting(self) -> int:
        """Utterances that are closed and not published."""
        return len(self._decoding) + len(self._verdicts)

    @property
    def settled(self) -> int:
        """The first sample whose text is not out yet."""
        starts = [closed.start for closed in self._decoding.values()]
        starts += [verdict.window.start for verdict in self._verdicts.values()]
        starts.append(self._endpoint.open_since if self._endpoint.open_since is not None else self._now)
        return min(starts)

    # --- in -----------------------------------------------------------------------------------------------

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """More samples (mono s16le), received at `arrived` (seconds of the caller's clock)."""
        commands: list[Command] = []
        self._buffer += mono
        self._now += len(mono) // 2
        self._arrivals.append((self._now, arrived))
        for frame in self._frames.feed(mono):
            speech, level = self._vad.feed(frame.samples)
            for happening in self._endpoint.frame(self._base + frame.end, speech, level):
                self._follow(happening, commands)
        self._perhaps_interim(commands)
        self._trim()
        return commands

    def flush(self) -> list[Command]:
        """Close the open utterance: no audio comes for a while, or ever."""
        commands: list[Command] = []
        # The last samples may not have filled a frame; they belong to the utterance all the same.
        for happening in self._endpoint.flush(self._now):
            self._follow(happening, commands)
        self._trim()
        return commands

    def heard(self, window: Window, heard: Heard) -> list[Command]:
        """The engine's result for a window."""
        if window.kind is Kind.INTERIM:
            return self._heard_interim(window, heard)
        if self.language is None and heard.text and heard.language_probability >= LANGUAGE_SURE:
            self.language = heard.language
        return self._verdict(_Verdict(window, heard))

    def refused(self, window: Window, trouble: str) -> list[Command]:
        """The engine could not decode a window, and why (a sentence)."""
        if window.kind is Kind.INTERIM:
            if self._interim is window:
                self._interim = None
            return []
        return self._verdict(_Verdict(window, None, trouble))

    # --- utterances ---------------------------------------------------------------------------------------

    def _follow(self, happening: Opened | Closed | Silence | Speech, commands: list[Command]) -> None:
        session, rate = self.settings.session, self._rate
        if isinstance(happening, Opened):
            self._agreement = Agreement()
            self._shown_stable = ""
            self._interim_due = happening.onset + FIRST_INTERIM_MS * rate // 1000
            if happening.number >= self._skip:
                commands.append(Say(SpeechStarted(session=session, time=round(happening.start / rate, 3))))
        elif isinstance(happening, Closed):
            if happening.number < self._skip:
                return
            if self._interim is not None:
                self._interim = None
                commands.append(DropInterim())
            if not happening.cut:
                commands.append(Say(SpeechEnded(session=session, time=round(happening.end / rate, 3))))
            window = Window(
                self.settings.kind,
                happening.number,
                happening.start,
                self._samples(happening.start, happening.end),
                self.language,
                happening,
                self._arrival(happening.end),
                self._shown_stable,
            )
            self._decoding[happening.number] = happening
            commands.append(Decode(window))

    def _samples(self, start: int, end: int) -> bytes:
        offset = 2 * (start - self._buffer_start)
        return bytes(self._buffer[offset : offset + 2 * (end - start)])

    def _arrival(self, sample: int) -> float:
        arrived = self._arrivals[0][1] if self._arrivals else 0.0
        for until, arrived in self._arrivals:  # noqa: B007 - the first that reaches the sample
            if until >= sample:
                break
        return arrived

    def _trim(self) -> None:
        needed = min(self._endpoint.needed_from, self._now)
        # In blocks, or each frame of silence would move the whole buffer.
        if needed - self._buffer_start > self._rate:
            del self._buffer[: 2 * (needed - self._buffer_start)]
            self._buffer_start = needed
        while len(self._arrivals) > 1 and self._arrivals[0][0] < needed:
            self._arrivals.popleft()

    # --- interims -----------------------------------------------------------------------------------------

    def _perhaps_interim(self, commands: list[Command]) -> None:
        start = self._endpoint.open_since
        if start is None or not self.settings.interim or self._interim is not None:
            return
        if self._now < self._interim_due:
            return
        self._interim_due = self._now + INTERIM_MS * self._rate // 1000
        audio = self._samples(start, self._now)
        self._interim = Window(Kind.INTERIM, self._endpoint.number, start, audio, self.language)
        commands.append(Decode(self._interim))

    def _heard_interim(self, window: Window, heard: Heard) -> list[Command]:
        if self._interim is not window:
            return []
        self._interim = None
        seconds = len(window.audio) / 2 / self._rate
        verdict = self.guard.judge(
            heard.text, avg_logprob=heard.avg_logprob, no_speech_prob=heard.no_speech_prob, spoken_s=seconds
        )
        if not verdict.keep:
            return []
        caption = self._agreement.hear(heard.text)
        if self.waiting:
            return []  # an earlier utterance may yet take this segment's number, or leave it
        self._shown_stable = caption.stable
        partial = TranscriptPartial(
            session=self.settings.session,
            segment=self.segment,
            start=round(window.start / self._rate, 3),
            end=round(window.start / self._rate + seconds, 3),
            stable=caption.stable,
            tentative=caption.tentative,
        )
        return [Say(partial)]

    # --- finals -------------------------------------------------------------------------------------------

    def _verdict(self, verdict: _Verdict) -> list[Command]:
        number = verdict.window.utterance
        if number not in self._decoding:
            return []
        del self._decoding[number]
        self._verdicts[number] = verdict
        commands: list[Command] = []
        while (ready := self._verdicts.pop(self._publish_next, None)) is not None:
            commands.append(self._publish(ready))
            self._publish_next += 1
        return commands

    def _publish(self, verdict: _Verdict) -> Keep:
        window, heard, closed = verdict.window, verdict.heard, verdict.window.closed
        assert closed is not None
        number = window.utterance + 1
        text = window.promised
        if heard is not None:
            kept = self.guard.judge(
                heard.text,
                avg_logprob=heard.avg_logprob,
                no_speech_prob=heard.no_speech_prob,
                spoken_s=closed.spoken / self._rate,
            ).keep
            text = heard.text if kept else text
        if not text:
            return Keep(closed.end, number, trouble=verdict.trouble)
        self.segment += 1
        start, end = closed.onset / self._rate, closed.end / self._rate
        words = None
        if heard is not None and self.settings.words:
            words = _words(heard, window.start / self._rate, start, end)
        return Keep(
            closed.end,
            number,
            segment=self.segment - 1,
            text=text,
            start=round(start, 3),
            end=round(end, 3),
            language=heard.language if heard is not None else self.language or "",
            confidence=round(min(1.0, math.exp(heard.avg_logprob)), 3) if heard is not None else 0.0,
            words=words,
            arrived=window.arrived,
            trouble=verdict.trouble,
        )


def _words(heard: Heard, offset: float, start: float, end: float) -> list[Word]:
    """The words on the session's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return round(min(end, max(start, offset + time)), 3)

    return [
        Word(start=within(word.start), end=within(word.end), word=word.word, confidence=word.probability)
        for word in heard.words or ()
    ]
