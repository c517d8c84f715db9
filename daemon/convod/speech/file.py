"""Turn the samples of a recording into segments: what to decode together, what to commit, in which order. Sans-IO.

In: mono samples from the recording's first on, hypotheses from the engine. Out: `Decode` and `Commit` commands. No
clock, no tasks. Nothing depends on when a result comes: the same samples and results give the same segments, also after
a restart, which skips the utterances that are stored.

Utterances are cut where the speaker pauses. A model with a short context decodes each utterance by itself. One that
always decodes 30 s gets as many in a row as fit, joined without long silences; the times of its words tell who said
them when. If the joined text is rejected, its utterances are decoded one by one, unless it is improbable from end to
end: so would they be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from convod.speech.buffer import SampleBuffer
from convod.speech.commands import Command, Commit, Decode, TimedText
from convod.speech.decoding import LANGUAGE_SURE, DecodeJob, Hypothesis, Kind, Options, Window
from convod.speech.endpointer import Endpointer, EndpointSettings, UtteranceEnded
from convod.speech.file_texts import FileDecodeJob, texts, uncovered
from convod.speech.hallucination import HallucinationFilter, Verdict
from convod.speech.pcm import Frames
from convod.speech.vad import Vad

JOINED_S: Final = EndpointSettings().longest_ms / 1000
"""Longest window of joined utterances: as long as the longest utterance, and short of Whisper's 30 s."""

GAP_S: Final = 1.0
"""A shorter silence between two of them is kept. Words missing of 1,505 in ten recorded talks, tiny.en: 53
with it, 66 without."""


class FileSettings(msgspec.Struct, frozen=True):
    """How a recording is transcribed.

    Args:
        rate: Samples a second.
        joined: Whether the model decodes every window as 30 s, so that utterances are joined.
        words: Whether segments have the times of their words.
        language: The language, or None to detect it.
        session: Id of the session.
        owner: Whose session it is.
        options: How to decode; the machine decides on language and words.
        voiceprints: Whether speakers are told apart by their voices.
        patience_s: So long after its last utterance a joined window is decoded, full or not; None waits for more.
    """

    rate: int
    joined: bool = False
    words: bool = False
    language: str | None = None
    session: str = ""
    owner: str = ""
    options: Options = msgspec.field(default_factory=lambda: Options(deterministic=True))
    voiceprints: bool = False
    patience_s: float | None = None


class _Open(msgspec.Struct, eq=False):
    """A window that is not stored: `sent` to the engine or not, then with its result."""

    job: FileDecodeJob
    arrived: float
    sent: bool = False
    decided: bool = False
    hypothesis: Hypothesis | None = None
    trouble: str | None = None


class _Pack(msgspec.Struct):
    """Utterances that will be one window."""

    utterances: list[UtteranceEnded] = msgspec.field(default_factory=list)
    begins: list[int] = msgspec.field(default_factory=list)
    audio: bytearray = msgspec.field(default_factory=bytearray)
    arrived: float = 0.0


class FileTranscriber:
    """The state machine of a file session.

    Args:
        settings: How to transcribe it.
        hallucination_filter: What judges the texts.
        segment: Number of the next segment, after a restart.
        utterance: Number of the next utterance.
        sample: What ends before this sample is stored, too.
        language: The language detected before the restart.
    """

    def __init__(
        self,
        settings: FileSettings,
        hallucination_filter: HallucinationFilter,
        *,
        segment: int = 0,
        utterance: int = 0,
        sample: int = 0,
        language: str | None = None,
    ) -> None:
        self.settings = settings
        self._hallucination_filter = hallucination_filter
        self.segment = segment
        self.language = settings.language or language
        self._skip = utterance
        self._skip_sample = sample
        self._frames = Frames(settings.rate)
        self._vad = Vad(self._frames.vad_rate)
        self._endpointer = Endpointer(settings.rate, EndpointSettings())
        self._buffer = SampleBuffer(settings.rate)
        self._pack = _Pack()
        self._open: deque[_Open] = deque()

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Samples read so far."""
        return self._buffer.end

    @property
    def waiting(self) -> int:
        """Windows that are cut and not committed."""
        return len(self._open)

    @property
    def settled(self) -> int:
        """First sample whose text is not committed yet."""
        if self._open:
            return self._open[0].job.utterances[0].start
        if self._pack.utterances:
            return self._pack.utterances[0].start
        return self._endpointer.open_since if self._endpointer.open_since is not None else self.now

    # --- in -----------------------------------------------------------------------------------------------

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """Add samples (mono s16le), read at `arrived` seconds of the caller's clock."""
        self._buffer.feed(mono, arrived)
        for frame in self._frames.feed(mono):
            speech, level = self._vad.feed(frame.samples)
            for event in self._endpointer.frame(frame.end, speech, level):
                if isinstance(event, UtteranceEnded):
                    self._ended(event, arrived)
        if self._endpointer.open_since is None and self._waits_too_long():
            self._close_pack()
        self._trim()
        return list(self._send())

    def flush(self, arrived: float) -> list[Command]:
        """Take note that the recording ends here."""
        for event in self._endpointer.flush(self.now):
            if isinstance(event, UtteranceEnded):
                self._ended(event, arrived)
        self._close_pack()
        return list(self._send())

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the engine's result for a job."""
        one = self._find(job)
        if hypothesis.text and not (verdict := self._judge(one.job, hypothesis)).keep:
            if len(one.job.utterances) > 1 and not verdict.unrecoverable:
                self._take_apart(one)
                return list(self._send())
            hypothesis = _silent(hypothesis)
        if hypothesis.text and hypothesis.language_probability >= LANGUAGE_SURE and self.language is None:
            self.language = hypothesis.language
        one.decided, one.hypothesis = True, hypothesis
        return [*self._send(), *self._commit()]

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""
        one = self._find(job)
        if len(one.job.utterances) > 1:
            # Only one of them is to blame, so the others are decoded alone.
            self._take_apart(one)
            return list(self._send())
        one.decided, one.trouble = True, trouble
        return [*self._send(), *self._commit()]

    # --- windows ------------------------------------------------------------------------------------------

    def _ended(self, utterance: UtteranceEnded, arrived: float) -> None:
        # Utterances that are stored are packed, too, or others would be joined after a restart.
        pack, rate = self._pack, self.settings.rate
        gap = self._gap(utterance)
        samples = len(pack.audio) // 2 + gap + utterance.end - utterance.start
        if pack.utterances and (not self.settings.joined or samples > JOINED_S * rate):
            self._close_pack()
            pack, gap = self._pack, 0
        pack.begins.append(len(pack.audio) // 2 + gap)
        pack.utterances.append(utterance)
        pack.audio += self._buffer.samples(utterance.start - gap, utterance.end)
        pack.arrived = arrived
        if not self.settings.joined:
            self._close_pack()

    def _gap(self, utterance: UtteranceEnded) -> int:
        """Count the samples kept between the last packed utterance and this one."""
        if not self._pack.utterances:
            return 0
        gap = utterance.start - self._pack.utterances[-1].end
        return gap if gap <= GAP_S * self.settings.rate else 0

    def _close_pack(self) -> None:
        pack, self._pack = self._pack, _Pack()
        if not pack.utterances or self._is_stored(pack.utterances[-1]):
            return
        whole = _Open(self._job(tuple(pack.utterances), tuple(pack.begins), bytes(pack.audio)), pack.arrived)
        if self._is_stored(pack.utterances[0]):  # a part of it is stored: it had been taken apart
            self._open += [part for part in self._parts(whole) if not self._is_stored(part.job.utterances[0])]
        else:
            self._open.append(whole)

    def _waits_too_long(self) -> bool:
        patience_s, waiting = self.settings.patience_s, self._pack.utterances
        return patience_s is not None and bool(waiting) and self.now - waiting[-1].end > patience_s * self.settings.rate

    def _is_stored(self, utterance: UtteranceEnded) -> bool:
        return utterance.number < self._skip or utterance.end <= self._skip_sample

    def _job(self, utterances: tuple[UtteranceEnded, ...], begins: tuple[int, ...], audio: bytes) -> FileDecodeJob:
        settings = self.settings
        # The times of words tell which utterance of a joined window they belong to.
        words = settings.words or settings.joined
        options = msgspec.structs.replace(settings.options, language=settings.language, words=words)
        return FileDecodeJob(
            settings.session,
            Kind.FILE,
            Window(audio=audio, voiceprints=settings.voiceprints),
            settings.rate,
            options,
            owner=settings.owner,
            utterances=utterances,
            begins=begins,
        )

    def _take_apart(self, one: _Open) -> None:
        """Replace a window by one window for each of its utterances."""
        at = self._open.index(one)
        self._open.remove(one)
        for part in reversed(self._parts(one)):
            self._open.insert(at, part)

    def _parts(self, one: _Open) -> list[_Open]:
        """Make a window of each utterance."""
        job = one.job
        parts = []
        for utterance, begin in zip(job.utterances, job.begins, strict=True):
            audio = job.audio[2 * begin : 2 * (begin + utterance.end - utterance.start)]
            parts.append(_Open(self._job((utterance,), (0,), audio), one.arrived))
        return parts

    def _send(self) -> Iterator[Decode]:
        """Send windows to the engine, one by one while the language is not known.

        So it is the first window that decides on the language, not the first answer.
        """
        for one in self._open:
            if not one.sent:
                one.job.window = msgspec.structs.replace(one.job.window, expected=self.language)
                one.sent = True
                yield Decode(one.job)
            if self.language is None and not one.decided:
                return

    def _find(self, job: DecodeJob) -> _Open:
        return next(one for one in self._open if one.job is job)

    def _judge(self, job: FileDecodeJob, hypothesis: Hypothesis) -> Verdict:
        spoken_s = sum(utterance.spoken for utterance in job.utterances) / self.settings.rate
        return self._hallucination_filter.judge_hypothesis(hypothesis, spoken_s)

    def _trim(self) -> None:
        needed = min(self._endpointer.needed_from, self.now)
        if self._pack.utterances and needed - self._pack.utterances[-1].end <= GAP_S * self.settings.rate:
            needed = min(needed, self._pack.utterances[-1].end)
        self._buffer.trim(needed)

    # --- segments -----------------------------------------------------------------------------------------

    def _commit(self) -> Iterator[Commit]:
        while self._open and self._open[0].decided:
            one = self._open.popleft()
            segment, last = self.segment, one.job.utterances[-1]
            segments: tuple[TimedText, ...] = ()
            place = None
            if one.hypothesis is not None:
                settings = self.settings
                segments = tuple(texts(one.job, one.hypothesis, joined=settings.joined, words=settings.words))
                place = uncovered(one.job, one.hypothesis)
            self.segment += len(segments)
            yield Commit(
                checkpoint_sample=last.end,
                checkpoint_utterance=last.number + 1,
                segment=segment,
                texts=segments,
                arrived=one.arrived,
                trouble=one.trouble,
                uncovered=place,
            )


def _silent(hypothesis: Hypothesis) -> Hypothesis:
    return Hypothesis(
        text="", language=hypothesis.language, language_probability=0.0, avg_logprob=hypothesis.avg_logprob,
        no_speech_prob=hypothesis.no_speech_prob,
    )  # fmt: skip
