"""Turn the samples of a live session into segments: what to decode, show and commit, in which order.

In: mono samples, hypotheses from the engine, news of its load, a flush. Out: commands (`Decode`, `Drop`, `Prioritize`,
`Emit`, `Commit`). A state machine on the sample clock: no I/O, no tasks; the time that audio arrived is handed in.
Utterances are decoded in any order and committed in theirs. Partials are sent only for the utterance that comes next,
so a segment's number is never used for two utterances that were shown with stable words.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from typing import Final

import msgspec

from convo.messages import (
    SpeechEnded,
    SpeechStarted,
    TranscriptPartial,
    Word,
)
from convod.speech.agreement import Caption, joined, pieces
from convod.speech.commands import Decode, DecodeRequeued, DecodeStarted, Drop, Emit, LoadChanged, Prioritize
from convod.speech.committed import merge_committed
from convod.speech.decoding import (
    FINAL_MARGIN,
    INTERIM_MARGIN,
    DecodeJob,
    Hypothesis,
    Interims,
    Kind,
    Lead,
    Options,
    Window,
)
from convod.speech.endpointer import Endpointer, EndpointSettings, Paused, Resumed, UtteranceEnded, UtteranceStarted
from convod.speech.hallucination import HallucinationFilter
from convod.speech.partial import PartialHypothesis
from convod.speech.pcm import Frames
from convod.speech.sentences import ends_sentence
from convod.speech.vad import Vad, VadSettings

VOICE_LATE_MS: Final = 120
"""A voice that lasts this long after the gate's last speech frame is not an echo of it: the speaker has not stopped. In
clean recordings the worker's detector lets go 86 ms after the gate at most; in noise, and with quiet speakers, the gate
misses half of all speech frames and takes that for pauses."""

VOICE_NEAR_MS: Final = 80
"""A voice that ends this near the end of an utterance, or nearer, goes on behind it: the tail less VOICE_LATE_MS, so
that the decision is the same whether the worker answers before the endpoint or after it."""

LAST_WORDS_S: Final = 0.5
"""The text of a pause is needed this soon, however far the endpoint is: it is the caption of the last words, too."""

LANGUAGE_SURE: Final = 0.5
"""Probability from which a detected language is expected next (faster-whisper's threshold)."""

LEAD_S: Final = 8.0
LEAD_GAP_S: Final = 2.0
"""An utterance that begins within LEAD_GAP_S of the last one is decoded with LEAD_S of that one before it, whose text
is given: of half a sentence a model guesses. Words wrong in ten recorded talks, tiny.en: 11.8 % without, 10.8 % with
up to 12 s where the pause was below 1 s, 10.4 % below 2 s. As a prompt alone the last text does not help (12.4 %)."""

UNCOVERED_S: Final = 2.0
"""A voice without words is reported from this length on: less may be laughter."""


class Commit(msgspec.Struct, frozen=True):
    """A segment to store and send; with `text` None only the mark moves.

    Args:
        mark_sample: Where to go on after a restart: a sample,
        mark_utterance: and the number of an utterance.
        segment: Number of the segment.
        text: Its text.
        start: When it starts, in seconds of the session.
        end: When it ends.
        language: Its language.
        confidence: Mean probability of its tokens.
        words: Its words with times, if asked for.
        arrived: When the end of its audio was received.
        trouble: A sentence about audio that could not be decoded.
        uncovered: From which to which second of the session a voice has no words.
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
Told = LoadChanged | DecodeStarted | DecodeRequeued


class Settings(msgspec.Struct, frozen=True):
    """How a session is transcribed.

    Args:
        session: Its id.
        rate: Samples a second.
        kind: The kind of the windows whose text is published.
        endpoint: How speech is cut into utterances.
        vad: What is taken for speech.
        frame_ms: Length of the frames that are judged.
        interim: Whether to decode captions before an utterance ends.
        words: Whether segments have the times of their words.
        language: The language, or None to detect it.
        owner: Whose session it is.
        options: How to decode; the machine decides on language, words, voice, margin, and the beam of interims.
    """

    session: str
    rate: int
    kind: Kind
    endpoint: EndpointSettings = msgspec.field(default_factory=EndpointSettings)
    vad: VadSettings = msgspec.field(default_factory=VadSettings)
    frame_ms: int = 30
    interim: bool = True
    words: bool = False
    language: str | None = None
    owner: str = ""
    options: Options = msgspec.field(default_factory=Options)


class _Final(msgspec.Struct):
    """An utterance that ended and is not committed yet.

    `job` is what the engine decodes of it. `committed` are the stable words that were shown of it: if its final is
    rejected, they are what remains. Once `decided`, there is a `hypothesis` or a `trouble`.
    """

    closed: UtteranceEnded
    job: DecodeJob
    arrived: float
    committed: str
    decided: bool = False
    hypothesis: Hypothesis | None = None
    trouble: str | None = None


class SpeculativeFinal(msgspec.Struct):
    """A final decoded at a pause, before it is known whether that is the end; the last speech ended at sample `at`."""

    job: DecodeJob
    at: int
    hypothesis: Hypothesis | None = None


class _Previous(msgspec.Struct, frozen=True):
    """The last words of the last utterance: `text` is said in samples `start` to `end` of the stream."""

    start: int
    end: int
    text: str


class LiveTranscriber:
    """The state machine of a live session.

    Args:
        settings: How to transcribe it.
        hallucination_filter: What judges the texts.
        segment: Number of the next segment, after a restart.
        utterance: Number of the next utterance.
        sample: Sample of the stream that the first audio begins with.
        language: The language detected before the restart.
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
    ) -> None:
        self.settings = settings
        self.hallucination_filter = hallucination_filter
        self.segment = segment
        self.language = settings.language or language
        self._rate = settings.rate
        self._base = sample  # stream sample that frames count from
        self._frames = Frames(settings.rate, settings.frame_ms)
        self.vad = Vad(self._frames.vad_rate, settings.vad, frame_ms=settings.frame_ms)
        self._endpoint = Endpointer(settings.rate, settings.endpoint, first=utterance, begin=self._base)
        if sample:
            # The restart forgot whether speech went on where the last utterance ended. If not, this becomes an
            # utterance without a voice, of which nothing is kept.
            self._endpoint.resume(sample)
        self.buffer = bytearray()
        self.buffer_start = self._base
        self._now = self._base
        self.arrivals: deque[tuple[int, float]] = deque()
        self._publish_next = utterance
        self.finals: dict[int, _Final] = {}
        self._speculative: SpeculativeFinal | None = None
        self._interim: DecodeJob | None = None
        self._interim_waits = False  # no worker has begun with it
        self._previous: _Previous | None = None
        self._going_on = False  # the last utterance was cut while somebody spoke
        self._partial = PartialHypothesis(self._rate, self._base, self._base)
        self._interims = Interims.FULL

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Samples received so far."""
        return self._now

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._endpoint.open_since is not None

    @property
    def waiting(self) -> int:
        """Utterances that ended and are not committed."""
        return len(self.finals)

    @property
    def settled(self) -> int:
        """First sample whose text is not out yet."""
        since = self._endpoint.open_since
        first = self._now if since is None else since
        if self.finals:
            first = min(first, *(final.closed.start for final in self.finals.values()))
        return first

    @property
    def interim(self) -> DecodeJob | None:
        """The interim that waits or is being decoded, if any."""
        return self._interim

    # --- in -----------------------------------------------------------------------------------------------

    def tell(self, news: Told) -> None:
        """Take note of what changed at the engine."""
        if isinstance(news, LoadChanged):
            self._interims = news.interims
        elif news.job is self._interim:
            self._interim_waits = isinstance(news, DecodeRequeued)

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """Add samples (mono s16le), received at `arrived` seconds of the caller's clock."""
        commands: list[Command] = []
        self.buffer += mono
        self._now += len(mono) // 2
        self.arrivals.append((self._now, arrived))
        for frame in self._frames.feed(mono):
            speech, level = self.vad.feed(frame.samples)
            for happening in self._endpoint.frame(self._base + frame.end, speech, level):
                self._follow(happening, commands)
        self._perhaps_interim(commands)
        self._trim()
        return commands

    def flush(self) -> list[Command]:
        """End the open utterance: no audio comes for a while, or ever."""
        commands: list[Command] = []
        # The last samples may not have filled a frame; they belong to the utterance all the same.
        for happening in self._endpoint.flush(self._now):
            self._follow(happening, commands)
        self._trim()
        return commands

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the engine's result for a job."""
        if job.kind is Kind.INTERIM:
            return self._interim_decoded(job, hypothesis)
        speculative = self._speculative
        if speculative is not None and speculative.job is job:
            late = job.start + int((hypothesis.voice_end or 0.0) * self._rate)
            if late > speculative.at + VOICE_LATE_MS * self._rate // 1000:
                self._endpoint.voiced(late)
                self._speculative = None
                return []
            speculative.hypothesis = hypothesis
            good = self._judge(hypothesis, (job.end - job.start) / self._rate, counted=False)  # counted when published
            if good and not ends_sentence(hypothesis.text):
                self._endpoint.wait(speculative.at)
            return self._speculation_decoded(job, hypothesis) if good else []
        # First, because an utterance that waits for this one must not be committed before it is made longer.
        more = self._perhaps_resume(job, hypothesis)
        return [*self._decide(job, hypothesis, None), *more]

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""
        if self._interim is job:
            self._interim = None
        if self._speculative is not None and self._speculative.job is job:
            self._speculative = None
        return self._decide(job, None, trouble)

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
        """Decode as if the pause were the end, so that the text is ready at the endpoint."""
        start = self._endpoint.open_since
        if start is None:
            return
        endpoint = self.settings.endpoint
        end = min(self._now, silence.at + endpoint.tail_ms * self._rate // 1000)
        self._drop_interim(commands)
        spare_s = (silence.at - self._now) / self._rate + endpoint.endpoint_ms / 1000
        spare_s = max(0.0, min(LAST_WORDS_S, spare_s))
        job = self._job(self.settings.kind, silence.number, start, end, find_voice_end=True, spare_s=spare_s)
        self._speculative = SpeculativeFinal(job, silence.at)
        commands.append(Decode(job))

    def _closed(self, closed: UtteranceEnded, commands: list[Command]) -> None:
        self._going_on = closed.cut
        self._drop_interim(commands)
        if not closed.cut:
            commands.append(Emit(SpeechEnded(session=self.settings.session, time=round(closed.end / self._rate, 3))))
        speculative = self._speculative
        if speculative is not None and speculative.job.end == closed.end:
            self._speculative = None
            self.finals[closed.number] = final = self._final(closed, speculative.job)
            if speculative.hypothesis is None:
                commands.append(Prioritize(final.job))
            else:
                commands += self._decide(final.job, speculative.hypothesis, None)
            return
        self._drop_speculative(commands)
        cut = closed.cut
        job = self._job(self.settings.kind, closed.number, closed.start, closed.end, find_voice_end=not cut)
        self.finals[closed.number] = self._final(closed, job)
        commands.append(Decode(job))

    def _perhaps_resume(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Start the next utterance where this one ends if the voice goes on there.

        What the gate missed between them would be in neither.
        """
        final = self.finals.get(job.utterance)
        if final is None or final.job is not job or final.decided or final.closed.cut:
            return []
        at = final.closed.end
        if not hypothesis.voice_end:
            return []  # no voice was found, or none was looked for
        if job.start + int(hypothesis.voice_end * self._rate) <= at - VOICE_NEAR_MS * self._rate // 1000:
            return []
        commands: list[Command] = []
        if (following := self.finals.get(job.utterance + 1)) is not None:
            self._begin_earlier(following, at, commands)
            return commands
        before = self._endpoint.open_since
        for happening in self._endpoint.resume(at):
            self._follow(happening, commands)
        if before is not None and self._endpoint.open_since != before:
            self._drop_interim(commands)
            self._drop_speculative(commands)
            # None of it was shown while the utterance before it was not out, so no word is committed.
            self._partial = PartialHypothesis(self._rate, at, at)
        return commands

    def _begin_earlier(self, final: _Final, at: int, commands: list[Command]) -> None:
        """Make an utterance that waits begin at sample `at` and decode it again, unless that makes it too long."""
        closed, job = final.closed, final.job
        if closed.start <= at or closed.end - at > self.settings.endpoint.longest_ms * self._rate // 1000:
            return
        if not final.decided:
            commands.append(Drop(job))
        final.closed = msgspec.structs.replace(closed, start=at, onset=at)
        # The voice must be checked again: the gate, which counted what was spoken, missed some.
        window = msgspec.structs.replace(
            job.window, audio=self._samples(at, closed.end), stream_key=self._stream_key(at)
        )
        options = msgspec.structs.replace(job.options, check_voice=True)
        final.job = dataclasses.replace(job, window=window, options=options, start=at, spare_s=0.0, due=0.0)
        final.decided, final.hypothesis, final.trouble = False, None, None
        commands.append(Decode(final.job))

    def _final(self, closed: UtteranceEnded, job: DecodeJob) -> _Final:
        return _Final(closed, job, self._arrival(closed.end), self._partial.committed)

    def _job(
        self,
        kind: Kind,
        utterance: int,
        start: int,
        end: int,
        *,
        find_voice_end: bool = False,
        spare_s: float = 0.0,
    ) -> DecodeJob:
        interim = kind is Kind.INTERIM
        settings = self.settings
        options = msgspec.structs.replace(
            settings.options,
            language=settings.language,
            # Times say which words of an interim are sure, may be trimmed, or lie where the utterance may yet be cut.
            words=interim or settings.words,
            check_voice=not self._partial.voiced,
            find_voice_end=find_voice_end,
            beam=1 if interim else settings.options.beam,
            margin=INTERIM_MARGIN if interim else FINAL_MARGIN,
        )
        window = Window(
            audio=self._samples(start, end),
            stream_key=self._stream_key(start),
            lead=None if interim else self._lead(utterance, start),
            expected=self.language,
        )
        return DecodeJob(
            settings.session,
            kind,
            window,
            self._rate,
            options,
            owner=settings.owner,
            utterance=utterance,
            start=start,
            end=end,
            spare_s=spare_s,
        )

    def _stream_key(self, start: int) -> str:
        return f"{self.settings.session}:{start}"

    def _lead(self, utterance: int, start: int) -> Lead | None:
        """Take the end of the utterance before this one, if it is near and its text is known."""
        previous = self._previous
        if previous is None or utterance != self._publish_next or previous.start < self.buffer_start:
            return None
        if not 0 <= start - previous.end <= LEAD_GAP_S * self._rate:
            return None
        return Lead(audio=self._samples(previous.start, start), text=previous.text)

    def _follows(self, final: _Final, hypothesis: Hypothesis) -> _Previous | None:
        """Take the last words of a committed utterance, for the next one to be decoded behind."""
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
            commands.append(Drop(self._speculative.job))
            self._speculative = None

    def _samples(self, start: int, end: int) -> bytes:
        offset = 2 * (start - self.buffer_start)
        return bytes(self.buffer[offset : offset + 2 * (end - start)])

    def _arrival(self, sample: int) -> float:
        arrived = self.arrivals[0][1] if self.arrivals else 0.0
        for until, arrived in self.arrivals:  # noqa: B007 - the first that reaches the sample
            if until >= sample:
                break
        return arrived

    def _trim(self) -> None:
        # Speech may have gone on behind an utterance that is not decoded yet, and its end may become a lead.
        undecided = [final.closed for final in self.finals.values() if not final.decided]
        ends = [max(closed.start, closed.end - int(LEAD_S * self._rate)) for closed in undecided]
        needed = min(self._endpoint.needed_from, self._now, *ends)
        if (previous := self._previous) is not None:
            if needed - previous.end <= LEAD_GAP_S * self._rate:
                needed = min(needed, previous.start)
            else:
                self._previous = None
        # In blocks, or every frame of silence would move the whole buffer.
        if needed - self.buffer_start > self._rate:
            del self.buffer[: 2 * (needed - self.buffer_start)]
            self.buffer_start = needed
        while len(self.arrivals) > 1 and self.arrivals[0][0] < needed:
            self.arrivals.popleft()

    # --- interims -----------------------------------------------------------------------------------------

    def _perhaps_interim(self, commands: list[Command]) -> None:
        if not self.settings.interim or not self.speaking or self._speculative is not None:
            return
        before = self._interim
        # Replacing one that waits costs the engine nothing, however busy it is.
        if not self._partial.is_due(self._now, self._interims if before is None else Interims.FULL):
            return
        if before is not None and not self._interim_waits:
            return
        self._interim = self._job(Kind.INTERIM, self._endpoint.number, self._partial.begin, self._now)
        self._interim_waits = True
        self._partial.asked(self._now, renewed=before is not None)
        commands.append(Decode(self._interim, before))

    def _interim_decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        if self._interim is not job:
            return []
        self._interim = None
        # A text cut off in a loop says nothing about the words before the loop.
        if hypothesis.truncated or not self._judge(hypothesis, (job.end - job.start) / self._rate):
            return []
        safe = self._endpoint.safe_until
        trim = self._partial.is_long(job.end, self._interims)
        caption = self._partial.update(
            job.start, job.end, hypothesis, trim=trim, safe=None if job.end <= safe else safe
        )
        return self._show(job, caption)

    def _speculation_decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Show the text of a pause, perhaps long before the endpoint: it is the best caption there is."""
        if not self.settings.interim or self._interims is Interims.NONE:
            return []
        commit = job.end <= self._endpoint.safe_until
        return self._show(job, self._partial.paused(job.start, job.end, hypothesis, commit=commit))

    def _show(self, job: DecodeJob, caption: Caption) -> list[Command]:
        # An earlier utterance that is not committed may yet take this segment's number.
        if self.waiting or not self._partial.shows(caption):
            return []
        since = self._endpoint.open_since
        partial = TranscriptPartial(
            session=self.settings.session,
            segment=self.segment,
            start=round((job.start if since is None else since) / self._rate, 3),
            end=round(job.end / self._rate, 3),
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

    def _decide(self, job: DecodeJob, hypothesis: Hypothesis | None, trouble: str | None) -> list[Command]:
        final = self.finals.get(job.utterance)
        if final is None or final.job is not job:
            return []
        final.decided, final.hypothesis, final.trouble = True, hypothesis, trouble
        commands: list[Command] = []
        while (ready := self.finals.get(self._publish_next)) is not None and ready.decided:
            del self.finals[self._publish_next]
            self._publish_next += 1
            commands.append(self._publish(ready))
        return commands

    def _publish(self, final: _Final) -> Commit:
        hypothesis, closed = final.hypothesis, final.closed
        if hypothesis is not None and not self._judge(
            hypothesis, max(closed.spoken / self._rate, hypothesis.voice_s or 0.0)
        ):
            hypothesis = None
        # Nothing of a rejected text is kept: a language detected in noise would be expected of every later window.
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
    """Put words on the session's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return round(min(end, max(start, offset + time)), 3)

    return [
        Word(start=within(word.start), end=within(word.end), word=word.word, confidence=word.probability)
        for word in hypothesis.words or ()
    ]
