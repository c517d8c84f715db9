"""From samples to segments for one session: what to decode, what to say, what to keep, in which order.

In: mono samples, results of the engine, a flush. Out: commands (`Decode`, `Drop`, `Emit`, `Commit`). A state machine on
the sample clock: no I/O, no tasks; the time that audio arrived is handed in. Utterances are decoded in any order and
published in theirs. Partials are sent only for the utterance that comes next, so a segment's number is never used for
two utterances that were shown with stable words.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from convo.messages import (
    Event,
    SpeechEnded,
    SpeechStarted,
    TranscriptPartial,
    Word,
)
from convod.speech.agreement import Caption, joined, pieces
from convod.speech.committed import merge_committed
from convod.speech.decoding import Hypothesis, Interims, Kind, Lead
from convod.speech.endpointer import Endpointer, EndpointSettings, Paused, Resumed, UtteranceEnded, UtteranceStarted
from convod.speech.hallucination import HallucinationFilter
from convod.speech.partial import PartialHypothesis
from convod.speech.pcm import Frames
from convod.speech.sentences import ends_sentence
from convod.speech.vad import Vad, VadSettings

VOICE_LATE_MS: Final = 120
"""A voice that goes on so long after the gate's last speech frame is no echo of it: the speaker has not stopped. In
clean recordings the worker's detector lets go 86 ms after the gate at most; in noise, and of quiet speakers, the gate
misses half of all speech frames, and takes that for pauses."""

VOICE_NEAR_MS: Final = 80
"""A voice that ends so near the end of an utterance, or nearer, goes on behind it: the tail less VOICE_LATE_MS, so that
it is the same voice whether the worker tells of it before the endpoint or after."""

LAST_WORDS_S: Final = 0.5
"""However far the endpoint is, the text of a pause is the caption of the last words before it, too."""

LANGUAGE_SURE: Final = 0.5
"""Probability from which a detected language is expected of what comes next (faster-whisper's threshold)."""

LEAD_S: Final = 8.0
LEAD_GAP_S: Final = 2.0
"""An utterance that begins so soon after the last one is decoded with so much of that one's end before it, whose text
is given: for half a sentence a model guesses. Words wrong in ten recorded talks, tiny.en: 11.8 % without, 10.8 % with
up to 12 s where the pause was below 1 s, 10.4 % below 2 s. As a prompt alone the last text helps nothing (12.4 %)."""

UNCOVERED_S: Final = 2.0
"""A voice that no words were made of is told if it is so long: less may be laughter."""


class Window(msgspec.Struct, frozen=True, eq=False):
    """Audio to decode: mono s16le of the samples `start` to `end`.

    With `words` the times of words are asked for, with `confirm` whether there is a voice in it at all, with `ending`
    when the voice ends. Its text is needed `spare_s` seconds of audio from now. `lead` is what came before it,
    `expected` the language that it is probably in where `language` is None.
    """

    kind: Kind
    utterance: int
    start: int
    end: int
    audio: bytes
    language: str | None
    words: bool
    check_voice: bool
    find_voice_end: bool = False
    spare_s: float = 0.0
    lead: Lead | None = None
    expected: str | None = None


class Decode(msgspec.Struct, frozen=True):
    """Give the window to the engine, at the place in the queue of the one it is decoded `instead_of`, if any."""

    window: Window
    instead_of: Window | None = None


class Drop(msgspec.Struct, frozen=True):
    """A window that waits or runs is of no use any more."""

    window: Window


class Prioritize(msgspec.Struct, frozen=True):
    """The text of a window is needed now."""

    window: Window


class Emit(msgspec.Struct, frozen=True):
    """An event that is not stored."""

    event: Event


class Commit(msgspec.Struct, frozen=True):
    """A segment to store and send; with `text` None only the mark moves.

    `arrived` is when the audio's end was received, `trouble` a sentence about audio that could not be decoded,
    `uncovered` from and to which second of the session somebody speaks of whom there are no words.
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
    uncovered: tuple[float, float] | None = None


Command = Decode | Drop | Prioritize | Emit | Commit


class Settings(msgspec.Struct, frozen=True):
    """How a session is heard. `rate` in Hz; `kind` is that of the windows that are published."""

    session: str
    rate: int
    kind: Kind
    endpoint: EndpointSettings = msgspec.field(default_factory=EndpointSettings)
    vad: VadSettings = msgspec.field(default_factory=VadSettings)
    frame_ms: int = 30
    interim: bool = True
    words: bool = False
    language: str | None = None


class _Final(msgspec.Struct):
    """A closed utterance that is not published.

    `window` is what the engine decodes of it. `committed` are the stable words that were shown of it: should its final
    be rejected, they are what remains. Once `decided`, `heard` or `trouble` is there.
    """

    closed: UtteranceEnded
    window: Window
    arrived: float
    committed: str
    decided: bool = False
    hypothesis: Hypothesis | None = None
    trouble: str | None = None


class SpeculativeFinal(msgspec.Struct):
    """A final decoded at a pause, before it is known whether that is the end. Speech was seen up to sample `at`."""

    window: Window
    at: int
    hypothesis: Hypothesis | None = None


class _Previous(msgspec.Struct, frozen=True):
    """The last words of the last utterance: samples `start` to `end` of the stream say `text`."""

    start: int
    end: int
    text: str


class LiveTranscriber:
    """`segment`, `utterance` and `sample` are where to go on after a restart (0 for a new session), `language` is what
    was heard till then.

    Audio fed first is the sample `sample`. `interims()` says what the engine can afford of them, `waits(window)`
    whether it has not begun with one.
    """

    def __init__(
        self,
        settings: Settings,
        hallucination_filter: HallucinationFilter,
        *,
        segment: int = 0,
        utterance: int = 0,
        sample: int = 0,
        language: str | None = None,
        interims: Callable[[], Interims] = lambda: Interims.FULL,
        waits: Callable[[Window], bool] = lambda window: False,
    ) -> None:
        self.settings = settings
        self.hallucination_filter = hallucination_filter
        self.segment = segment
        self.language = settings.language or language
        self._rate = settings.rate
        self._base = sample  # stream sample that frames count from
        self._frames = Frames(settings.rate, settings.frame_ms)
        self._vad = Vad(self._frames.vad_rate, settings.vad, frame_ms=settings.frame_ms)
        self._endpoint = Endpointer(settings.rate, settings.endpoint, first=utterance, begin=self._base)
        if sample:
            # Whether somebody spoke on where the last utterance ended was forgotten. If not, it is an utterance without
            # a voice, of which nothing is kept.
            self._endpoint.resume(sample)
        self._buffer = bytearray()
        self._buffer_start = self._base
        self._now = self._base
        self._arrivals: deque[tuple[int, float]] = deque()
        self._publish_next = utterance
        self._finals: dict[int, _Final] = {}
        self._speculative: SpeculativeFinal | None = None
        self._interim: Window | None = None
        self._previous: _Previous | None = None
        self._going_on = False  # the last utterance was cut while somebody spoke
        self._partial = PartialHypothesis(self._rate, self._base, self._base)
        self._interims = interims
        self._waits = waits

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
        return len(self._finals)

    @property
    def settled(self) -> int:
        """The first sample whose text is not out yet."""
        since = self._endpoint.open_since
        first = self._now if since is None else since
        if self._finals:
            first = min(first, *(final.closed.start for final in self._finals.values()))
        return first

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

    def decoded(self, window: Window, hypothesis: Hypothesis) -> list[Command]:
        """The engine's result for a window."""
        if window.kind is Kind.INTERIM:
            return self._interim_decoded(window, hypothesis)
        speculative = self._speculative
        if speculative is not None and speculative.window is window:
            late = window.start + int((hypothesis.voice_end or 0.0) * self._rate)
            if late > speculative.at + VOICE_LATE_MS * self._rate // 1000:
                self._endpoint.voiced(late)
                self._speculative = None
                return []
            speculative.hypothesis = hypothesis
            good = self._judge(
                hypothesis, (window.end - window.start) / self._rate, counted=False
            )  # counted when published
            if good and not ends_sentence(hypothesis.text):
                self._endpoint.wait(speculative.at)
            return self._speculation_decoded(window, hypothesis) if good else []
        # First, for an utterance that waits for this one must not be published before it was made longer.
        more = self._perhaps_resume(window, hypothesis)
        return [*self._decide(window, hypothesis, None), *more]

    def refused(self, window: Window, trouble: str) -> list[Command]:
        """The engine could not decode a window, and why (a sentence)."""
        if self._interim is window:
            self._interim = None
        if self._speculative is not None and self._speculative.window is window:
            self._speculative = None
        return self._decide(window, None, trouble)

    # --- utterances ---------------------------------------------------------------------------------------

    def _follow(self, happening: UtteranceStarted | UtteranceEnded | Paused | Resumed, commands: list[Command]) -> None:
        session, rate = self.settings.session, self._rate
        if isinstance(happening, UtteranceStarted):
            self._partial = PartialHypothesis(rate, happening.start, happening.onset)
            if not self._going_on:
                commands.append(Emit(SpeechStarted(session=session, time=round(happening.start / rate, 3))))
        elif isinstance(happening, Paused):
            self._paused(happening, commands)
        elif isinstance(happening, Resumed):
            self._drop_speculative(commands)
        else:
            self._closed(happening, commands)

    def _paused(self, silence: Paused, commands: list[Command]) -> None:
        """Perhaps the end: decode as if it were, so that the endpoint finds the text ready."""
        start = self._endpoint.open_since
        if start is None:
            return
        endpoint = self.settings.endpoint
        end = min(self._now, silence.at + endpoint.tail_ms * self._rate // 1000)
        self._drop_interim(commands)
        window = self._window(self.settings.kind, silence.number, start, end, find_voice_end=True)
        spare_s = (silence.at - self._now) / self._rate + endpoint.endpoint_ms / 1000
        window = msgspec.structs.replace(window, spare_s=max(0.0, min(LAST_WORDS_S, spare_s)))
        self._speculative = SpeculativeFinal(window, silence.at)
        commands.append(Decode(window))

    def _closed(self, closed: UtteranceEnded, commands: list[Command]) -> None:
        self._going_on = closed.cut
        self._drop_interim(commands)
        if not closed.cut:
            commands.append(Emit(SpeechEnded(session=self.settings.session, time=round(closed.end / self._rate, 3))))
        speculative = self._speculative
        if speculative is not None and speculative.window.end == closed.end:
            self._speculative = None
            self._finals[closed.number] = final = self._final(closed, speculative.window)
            if speculative.hypothesis is None:
                commands.append(Prioritize(final.window))
            else:
                commands += self._decide(final.window, speculative.hypothesis, None)
            return
        self._drop_speculative(commands)
        window = self._window(
            self.settings.kind, closed.number, closed.start, closed.end, find_voice_end=not closed.cut
        )
        self._finals[closed.number] = self._final(closed, window)
        commands.append(Decode(window))

    def _perhaps_resume(self, window: Window, hypothesis: Hypothesis) -> list[Command]:
        """If the voice goes on where a closed utterance ends, the next one begins right there: what the gate missed
        between them would be in neither.
        """
        final = self._finals.get(window.utterance)
        if final is None or final.window is not window or final.decided or final.closed.cut:
            return []
        at = final.closed.end
        if window.start + int((hypothesis.voice_end or 0.0) * self._rate) <= at - VOICE_NEAR_MS * self._rate // 1000:
            return []
        commands: list[Command] = []
        if (following := self._finals.get(window.utterance + 1)) is not None:
            self._begin_earlier(following, at, commands)
            return commands
        before = self._endpoint.open_since
        for happening in self._endpoint.resume(at):
            self._follow(happening, commands)
        if before is not None and self._endpoint.open_since != before:
            self._drop_interim(commands)
            self._drop_speculative(commands)
            # Nothing of it was shown, while the utterance before it was not out: no word is committed.
            self._partial = PartialHypothesis(self._rate, at, at)
        return commands

    def _begin_earlier(self, final: _Final, at: int, commands: list[Command]) -> None:
        """An utterance that is closed and waits begins at sample `at`: it is decoded again, unless it were too long."""
        closed, window = final.closed, final.window
        if closed.start <= at or closed.end - at > self.settings.endpoint.longest_ms * self._rate // 1000:
            return
        if not final.decided:
            commands.append(Drop(window))
        final.closed = msgspec.structs.replace(closed, start=at, onset=at)
        # How much voice is in it must be asked again: the gate, which counted what was spoken, missed some.
        audio = self._samples(at, closed.end)
        final.window = msgspec.structs.replace(window, start=at, audio=audio, check_voice=True, spare_s=0.0)
        final.decided, final.hypothesis, final.trouble = False, None, None
        commands.append(Decode(final.window))

    def _final(self, closed: UtteranceEnded, window: Window) -> _Final:
        return _Final(closed, window, self._arrival(closed.end), self._partial.committed)

    def _window(self, kind: Kind, utterance: int, start: int, end: int, *, find_voice_end: bool = False) -> Window:
        partial = self._partial
        # Times say which words of an interim are sure, may be trimmed, or lie where the utterance may yet be cut.
        interim = kind is Kind.INTERIM
        return Window(
            kind,
            utterance,
            start,
            end,
            self._samples(start, end),
            self.settings.language,
            words=interim or self.settings.words,
            check_voice=not partial.voiced,
            find_voice_end=find_voice_end,
            lead=None if interim else self._lead(utterance, start),
            expected=self.language,
        )

    def _lead(self, utterance: int, start: int) -> Lead | None:
        """The end of the utterance before this one, if there was little time between them and its text is known."""
        previous = self._previous
        if previous is None or utterance != self._publish_next or previous.start < self._buffer_start:
            return None
        if not 0 <= start - previous.end <= LEAD_GAP_S * self._rate:
            return None
        return Lead(audio=self._samples(previous.start, start), text=previous.text)

    def _follows(self, final: _Final, hypothesis: Hypothesis) -> _Previous | None:
        """What a published utterance is to the next one: its last words, from where one of them begins."""
        closed = final.closed
        words = list(hypothesis.words or ())
        latest = (closed.end - closed.start) / self._rate - LEAD_S
        last = [word for word in words if word.start >= latest]
        if not last or self._publish_next != closed.number + 1:
            return None
        start = closed.start + int(last[0].start * self._rate) if len(last) < len(words) else closed.start
        text = joined(piece for word in last for piece in pieces(word.word))
        return _Previous(start, closed.end, text)

    def _drop_interim(self, commands: list[Command]) -> None:
        if self._interim is not None:
            commands.append(Drop(self._interim))
            self._interim = None

    def _drop_speculative(self, commands: list[Command]) -> None:
        if self._speculative is not None:
            commands.append(Drop(self._speculative.window))
            self._speculative = None

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
        # Behind an utterance whose answer is not there yet somebody may have spoken on, and its end may be a lead.
        undecided = [final.closed for final in self._finals.values() if not final.decided]
        ends = [max(closed.start, closed.end - int(LEAD_S * self._rate)) for closed in undecided]
        needed = min(self._endpoint.needed_from, self._now, *ends)
        if (previous := self._previous) is not None:
            if needed - previous.end <= LEAD_GAP_S * self._rate:
                needed = min(needed, previous.start)
            else:
                self._previous = None
        # In blocks, or each frame of silence would move the whole buffer.
        if needed - self._buffer_start > self._rate:
            del self._buffer[: 2 * (needed - self._buffer_start)]
            self._buffer_start = needed
        while len(self._arrivals) > 1 and self._arrivals[0][0] < needed:
            self._arrivals.popleft()

    # --- interims -----------------------------------------------------------------------------------------

    def _perhaps_interim(self, commands: list[Command]) -> None:
        if not self.settings.interim or not self.speaking or self._speculative is not None:
            return
        before = self._interim
        # One that waits holds the place of a newer one, and to renew it costs the engine nothing, however busy it is.
        if not self._partial.is_due(self._now, self._interims() if before is None else Interims.FULL):
            return
        if before is not None and not self._waits(before):
            return
        self._interim = self._window(Kind.INTERIM, self._endpoint.number, self._partial.begin, self._now)
        self._partial.asked(self._now, renewed=before is not None)
        commands.append(Decode(self._interim, before))

    def _interim_decoded(self, window: Window, hypothesis: Hypothesis) -> list[Command]:
        if self._interim is not window:
            return []
        self._interim = None
        # What was cut off in mid-loop tells nothing of the words before the loop.
        if hypothesis.truncated or not self._judge(hypothesis, (window.end - window.start) / self._rate):
            return []
        safe = self._endpoint.safe_until
        trim = self._partial.is_long(window.end, self._interims())
        caption = self._partial.update(
            window.start, window.end, hypothesis, trim=trim, safe=None if window.end <= safe else safe
        )
        return self._show(window, caption)

    def _speculation_decoded(self, window: Window, hypothesis: Hypothesis) -> list[Command]:
        """The text is ready, long before the endpoint perhaps: it is the best caption there is of what was said."""
        if not self.settings.interim or self._interims() is Interims.NONE:
            return []
        commit = window.end <= self._endpoint.safe_until
        return self._show(window, self._partial.paused(window.start, window.end, hypothesis, commit=commit))

    def _show(self, window: Window, caption: Caption) -> list[Command]:
        # While an earlier utterance is not published it may yet take this segment's number, or leave it.
        if self.waiting or not self._partial.shows(caption):
            return []
        since = self._endpoint.open_since
        partial = TranscriptPartial(
            session=self.settings.session,
            segment=self.segment,
            start=round((window.start if since is None else since) / self._rate, 3),
            end=round(window.end / self._rate, 3),
            stable=caption.stable,
            tentative=caption.tentative,
        )
        return [Emit(partial)]

    def _judge(self, hypothesis: Hypothesis, spoken_s: float, *, counted: bool = True) -> bool:
        return self.hallucination_filter.judge(
            hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            spoken_s=spoken_s,
            voice_s=hypothesis.voice_s,
            counted=counted,
        ).keep

    # --- finals -------------------------------------------------------------------------------------------

    def _decide(self, window: Window, hypothesis: Hypothesis | None, trouble: str | None) -> list[Command]:
        final = self._finals.get(window.utterance)
        if final is None or final.window is not window:
            return []
        final.decided, final.hypothesis, final.trouble = True, hypothesis, trouble
        commands: list[Command] = []
        while (ready := self._finals.get(self._publish_next)) is not None and ready.decided:
            del self._finals[self._publish_next]
            self._publish_next += 1
            commands.append(self._publish(ready))
        return commands

    def _publish(self, final: _Final) -> Commit:
        hypothesis, closed = final.hypothesis, final.closed
        if hypothesis is not None and not self._judge(
            hypothesis, max(closed.spoken / self._rate, hypothesis.voice_s or 0.0)
        ):
            hypothesis = None
        # Of what was rejected nothing is kept: a language that noise was taken for would be every later window's.
        sure = hypothesis is not None and hypothesis.text and hypothesis.language_probability >= LANGUAGE_SURE
        if hypothesis is not None and sure and self.settings.language is None:
            self.language = hypothesis.language
        text = hypothesis.text if hypothesis is not None else final.committed
        uncovered = None
        if final.hypothesis is not None and (place := final.hypothesis.uncovered) is not None:
            at = closed.start / self._rate
            uncovered = (at + place[0], at + place[1]) if place[1] - place[0] >= UNCOVERED_S else None
        self._previous = None
        if not text:
            return Commit(closed.end, closed.number + 1, trouble=final.trouble, uncovered=uncovered)
        if hypothesis is not None and final.committed:
            text, timed = merge_committed(final.committed, text, hypothesis.words)
            hypothesis = msgspec.structs.replace(hypothesis, words=None if timed is None else list(timed))
        if hypothesis is not None:
            self._previous = self._follows(final, hypothesis)
        self.segment += 1
        start, end = closed.onset / self._rate, closed.end / self._rate
        words = None
        if hypothesis is not None and self.settings.words:
            words = _words(hypothesis, closed.start / self._rate, start, end)
        return Commit(
            closed.end,
            closed.number + 1,
            segment=self.segment - 1,
            text=text,
            start=round(start, 3),
            end=round(end, 3),
            language=hypothesis.language if hypothesis is not None else self.language or "",
            confidence=round(min(1.0, math.exp(hypothesis.avg_logprob)), 3) if hypothesis is not None else 0.0,
            words=words,
            arrived=final.arrived,
            trouble=final.trouble,
            uncovered=uncovered,
        )


def _words(hypothesis: Hypothesis, offset: float, start: float, end: float) -> list[Word]:
    """The words on the session's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return round(min(end, max(start, offset + time)), 3)

    return [
        Word(start=within(word.start), end=within(word.end), word=word.word, confidence=word.probability)
        for word in hypothesis.words or ()
    ]
