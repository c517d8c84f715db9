"""Turn the samples of a live session into segments: what to decode, show and commit, in which order.

In: mono samples, hypotheses from the engine, news of its load, a flush. Out: commands. A state machine on the sample
clock: no I/O, no tasks; the time that audio arrived is handed in. Here utterances begin, pause, go on and end, as voice
activity says and the engine's better detector corrects. Their captions are in `captions`, their final texts in
`finals`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from convo.messages import SpeechEnded, SpeechStarted
from convod.speech.agreement import pieces
from convod.speech.buffer import SampleBuffer
from convod.speech.captions import Captions
from convod.speech.changes import language_change, turn_change
from convod.speech.commands import Command, Decode, Drop, Emit, News, Prioritize
from convod.speech.decoding import DecodeJob, Hypothesis, Kind
from convod.speech.endpointer import Endpointer, EndpointEvent, Paused, Resumed, UtteranceEnded, UtteranceStarted
from convod.speech.finals import FinalQueue, PendingFinal
from convod.speech.hallucination import HallucinationFilter
from convod.speech.pcm import Frames
from convod.speech.sentences import ends_sentence
from convod.speech.vad import Vad
from convod.speech.windows import LiveSettings, WindowCutter

VOICE_LATE_MS: Final = 120
"""A voice that lasts this long after the gate's last speech frame is not an echo of it: the speaker has not stopped. In
clean recordings the worker's detector lets go 86 ms after the gate at most; in noise, and with quiet speakers, the gate
misses half of all speech frames and takes that for pauses."""

VOICE_NEAR_MS: Final = 80
"""A voice that ends this near the end of an utterance, or nearer, goes on behind it: the tail less VOICE_LATE_MS, so
that the decision is the same whether the worker answers before the endpoint or after it."""

CHANGED_S: Final = 2.0
"""The open utterance is cut at a change of language when so much of the other one is spoken, and two captions in a row
tell that it is: two seconds are enough to be sure of a language, and each goes on without the wrong one's words."""

UNSURE_S: Final = 2.4
"""So much of another voice must be heard until it is told from the one before: two windows of the embedder."""

LAST_WORDS_S: Final = 0.5
"""The text of a pause is needed this soon, however far the endpoint is: it is the caption of the last words, too."""


class SpeculativeFinal(msgspec.Struct):
    """A final decoded at a pause, before it is known whether that is the end; the last speech ended at sample `at`."""

    job: DecodeJob
    at: int
    hypothesis: Hypothesis | None = None


class LiveTranscriber:
    """The state machine of a live session.

    `buffer` holds the samples it may still need, `finals` the utterances that are not committed; `vad` is the gate.

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
        settings: LiveSettings,
        hallucination_filter: HallucinationFilter,
        *,
        segment: int = 0,
        utterance: int = 0,
        sample: int = 0,
        language: str | None = None,
    ) -> None:
        self.settings = settings
        self._hallucination_filter = hallucination_filter
        self._rate = settings.rate
        self._base = sample  # stream sample that frames count from
        self._frames = Frames(settings.rate, settings.frame_ms)
        self.vad = Vad(self._frames.vad_rate, settings.vad, frame_ms=settings.frame_ms)
        self._endpointer = Endpointer(settings.rate, settings.endpoint, first=utterance, begin=sample)
        if sample:
            # The restart forgot whether speech went on where the last utterance ended. If not, this becomes an
            # utterance without a voice, of which nothing is kept.
            self._endpointer.resume(sample)
        self.buffer = SampleBuffer(settings.rate, sample)
        self._windows = WindowCutter(settings, self.buffer)
        self.finals = FinalQueue(
            settings,
            self.buffer,
            hallucination_filter,
            segment=segment,
            utterance=utterance,
            language=settings.language or language,
        )
        self._captions = Captions(settings, self._windows, self._endpointer, self.finals, hallucination_filter, sample)
        self._speculative: SpeculativeFinal | None = None
        self._changing: str | None = None  # the language that the open utterance changes to, by its last interim
        self._going_on = False  # the last utterance was cut while somebody spoke

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Samples received so far."""
        return self.buffer.end

    @property
    def language(self) -> str | None:
        """The language, if it was given or detected."""
        return self.finals.language

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self._endpointer.open_since is not None

    @property
    def waiting(self) -> int:
        """Utterances that ended and are not committed."""
        return self.finals.waiting

    @property
    def settled(self) -> int:
        """First sample whose text is not out yet."""
        since = self._endpointer.open_since
        return self.finals.first_sample(self.now if since is None else since)

    # --- in -----------------------------------------------------------------------------------------------

    def tell(self, news: News) -> None:
        """Take note of what changed at the engine."""
        self._captions.tell(news)

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """Add samples (mono s16le), received at `arrived` seconds of the caller's clock."""
        commands: list[Command] = []
        self.buffer.feed(mono, arrived)
        for frame in self._frames.feed(mono):
            speech, level = self.vad.feed(frame.samples)
            for event in self._endpointer.frame(self._base + frame.end, speech, level):
                commands += self._follow(event)
        if self.speaking and self._speculative is None:
            commands += self._captions.audio(self.now)
        self._trim()
        return commands

    def flush(self) -> list[Command]:
        """End the open utterance: no audio comes for a while, or ever."""
        commands: list[Command] = []
        # The last samples may not have filled a frame; they belong to the utterance all the same.
        for event in self._endpointer.flush(self.now):
            commands += self._follow(event)
        self._trim()
        return commands

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the engine's result for a job."""
        if job.kind is Kind.INTERIM:
            return [*self._captions.decoded(job, hypothesis), *self._perhaps_cut(job, hypothesis)]
        if (speculative := self._speculative) is not None and speculative.job is job:
            return self._speculative_decoded(speculative, hypothesis)
        # First, because an utterance that waits for this one must not be committed before it is made longer.
        more = self._perhaps_resume(job, hypothesis)
        return [*self.finals.decide(job, hypothesis, None), *more]

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""
        self._captions.refused(job)
        if self._speculative is not None and self._speculative.job is job:
            self._speculative = None
        return [*self.finals.decide(job, None, trouble)]

    # --- utterances ---------------------------------------------------------------------------------------

    def _follow(self, event: EndpointEvent) -> list[Command]:
        if isinstance(event, UtteranceStarted):
            self._captions.begin(event.start, event.onset)
            if self._going_on:
                return []
            return [Emit(SpeechStarted(session=self.settings.session, time=round(event.start / self._rate, 3)))]
        if isinstance(event, Paused):
            return self._paused(event)
        if isinstance(event, Resumed):
            return self._drop_speculative()
        return self._ended(event)

    def _paused(self, pause: Paused) -> list[Command]:
        """Decode as if the pause were the end, so that the text is ready at the endpoint."""
        start = self._endpointer.open_since
        if start is None:
            return []
        endpoint = self.settings.endpoint
        end = min(self.now, pause.at + endpoint.tail_ms * self._rate // 1000)
        spare_s = (pause.at - self.now) / self._rate + endpoint.endpoint_ms / 1000
        spare_s = max(0.0, min(LAST_WORDS_S, spare_s))
        job = self._job(pause.number, start, end, find_voice_end=True, spare_s=spare_s)
        self._speculative = SpeculativeFinal(job, pause.at)
        return [*self._captions.drop(), Decode(job)]

    def _speculative_decoded(self, speculative: SpeculativeFinal, hypothesis: Hypothesis) -> list[Command]:
        job = speculative.job
        late = job.start + int((hypothesis.voice_end or 0.0) * self._rate)
        if late > speculative.at + VOICE_LATE_MS * self._rate // 1000:
            self._endpointer.voiced(late)
            self._speculative = None
            return []
        speculative.hypothesis = hypothesis
        # A rejection is counted when the utterance is committed.
        if not self._hallucination_filter.judge_hypothesis(hypothesis, job.seconds, counted=False).keep:
            return []
        if commands := self._perhaps_cut_between_speakers(job, hypothesis):
            return commands
        if not ends_sentence(hypothesis.text):
            self._endpointer.wait(speculative.at)
        return self._captions.paused(job, hypothesis)

    def _ended(self, utterance: UtteranceEnded) -> list[Command]:
        self._going_on = utterance.cut
        commands = self._captions.drop()
        if not utterance.cut:
            time = round(utterance.end / self._rate, 3)
            commands.append(Emit(SpeechEnded(session=self.settings.session, time=time)))
        speculative = self._speculative
        if speculative is None or speculative.job.end != utterance.end:
            commands += self._drop_speculative()
            job = self._job(utterance.number, utterance.start, utterance.end, find_voice_end=not utterance.cut)
            self.finals.add(utterance, job, self._captions.committed)
            return [*commands, Decode(job)]
        self._speculative = None
        self.finals.add(utterance, speculative.job, self._captions.committed)
        if speculative.hypothesis is None:
            return [*commands, Prioritize(speculative.job)]
        return [*commands, *self.finals.decide(speculative.job, speculative.hypothesis, None)]

    def _perhaps_cut(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Cut the open utterance where another language begins, once enough of that is spoken."""
        change = language_change(hypothesis.words or ())
        before, self._changing = self._changing, None if change is None else change.language
        if change is None or change.language != before or job.utterance != self._endpointer.number:
            return []
        if change.seconds < CHANGED_S:
            return []
        commands: list[Command] = []
        for event in self._endpointer.cut(job.start + int(change.at * self._rate)):
            commands += self._follow(event)
        return commands

    def _perhaps_cut_between_speakers(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Cut the open utterance where another one begins to speak, if no word of theirs was promised.

        Without captions nothing is promised, and its text can be cut at the end.
        """
        prints, words = hypothesis.voiceprints, hypothesis.words or ()
        if not self.settings.interim:
            return []
        if prints is None or not prints.turns:
            self._captions.one_voice(None)
            return []
        if (change := turn_change(words)) is None:
            self._captions.one_voice(job.end - int(UNSURE_S * self._rate))
            return []
        second, count = change
        if len(pieces(self._captions.committed)) > sum(len(pieces(word.word)) for word in words[:count]):
            return []
        commands: list[Command] = []
        for event in self._endpointer.cut(job.start + int(second * self._rate)):
            commands += self._follow(event)
        return commands

    def _perhaps_resume(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Start the next utterance where this one ends if the voice goes on there.

        What the gate missed between them would be in neither.
        """
        final = self.finals.of(job)
        if final is None or final.decided or final.utterance.cut:
            return []
        at = final.utterance.end
        if not hypothesis.voice_end:
            return []  # no voice was found, or none was looked for
        if job.start + int(hypothesis.voice_end * self._rate) <= at - VOICE_NEAR_MS * self._rate // 1000:
            return []
        if (following := self.finals.find(job.utterance + 1)) is not None:
            return self._begin_earlier(following, at)
        commands: list[Command] = []
        before = self._endpointer.open_since
        for event in self._endpointer.resume(at):
            commands += self._follow(event)
        if before is not None and self._endpointer.open_since != before:
            commands += [*self._captions.drop(), *self._drop_speculative()]
            # None of it was shown while the utterance before it was not out, so no word is committed.
            self._captions.begin(at, at)
        return commands

    def _begin_earlier(self, final: PendingFinal, at: int) -> list[Command]:
        """Make an utterance that waits begin at sample `at` and decode it again, unless that makes it too long."""
        utterance = final.utterance
        if utterance.start <= at or utterance.end - at > self.settings.endpoint.longest_ms * self._rate // 1000:
            return []
        commands: list[Command] = [] if final.decided else [Drop(final.job)]
        final.utterance = msgspec.structs.replace(utterance, start=at, onset=at, clear=False)
        # The voice must be checked again: the gate, which counted what was spoken, missed some.
        final.job = self._windows.recut(final.job, at)
        final.decided, final.hypothesis, final.trouble = False, None, None
        return [*commands, Decode(final.job)]

    def _job(self, utterance: int, start: int, end: int, *, find_voice_end: bool, spare_s: float = 0.0) -> DecodeJob:
        return self._windows.cut(
            self.settings.kind,
            utterance,
            start,
            end,
            check_voice=not self._captions.voiced,
            expected=self.language,
            lead=self.finals.lead(utterance, start),
            find_voice_end=find_voice_end,
            spare_s=spare_s,
        )

    def _drop_speculative(self) -> list[Command]:
        speculative, self._speculative = self._speculative, None
        return [] if speculative is None else [Drop(speculative.job)]

    def _trim(self) -> None:
        self.buffer.trim(self.finals.needed_from(min(self._endpointer.needed_from, self.now)))
