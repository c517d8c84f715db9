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

import dataclasses
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from convo.messages import Word
from convod.speech.commands import Decode
from convod.speech.cues import Cue, cues
from convod.speech.decoding import CHUNK_S, DecodeJob, Hypothesis, Kind, Options, TimedWord, Window
from convod.speech.endpointer import Endpointer, EndpointSettings, UtteranceEnded
from convod.speech.hallucination import HallucinationFilter, Verdict
from convod.speech.live import LANGUAGE_SURE, UNCOVERED_S
from convod.speech.pcm import Frames
from convod.speech.vad import Vad

JOINED_S: Final = 28.0
"""Longest window of joined utterances: as long as the longest utterance, and short of Whisper's 30 s."""

GAP_S: Final = 1.0
"""A shorter silence between two of them is kept. Words missing of 1,505 in ten recorded talks, tiny.en: 53
with it, 66 without."""

FAINT_PROBABILITY: Final = 0.7
"""Words of an utterance without a voice are believed from this probability on: it may be a whisper."""

FRAME_MS: Final = 30


class Settings(msgspec.Struct, frozen=True):
    """How a recording is transcribed.

    Args:
        rate: Samples a second.
        joined: Whether the model decodes every window as 30 s, so that utterances are joined.
        words: Whether segments have the times of their words.
        language: The language, or None to detect it.
        session: Id of the session.
        owner: Whose session it is.
        options: How to decode; the machine decides on language and words.
    """

    rate: int
    joined: bool = False
    words: bool = False
    language: str | None = None
    session: str = ""
    owner: str = ""
    options: Options = msgspec.field(default_factory=lambda: Options(deterministic=True))


@dataclasses.dataclass(eq=False, slots=True)
class FileJob(DecodeJob):
    """A window of a recording: the `utterances`, each from the sample of the window that `begins` tells."""

    utterances: tuple[UtteranceEnded, ...] = ()
    begins: tuple[int, ...] = ()


class TimedText(msgspec.Struct, frozen=True):
    """A segment to be, in seconds of the recording."""

    start: float
    end: float
    text: str
    language: str
    confidence: float
    words: list[Word] | None


class Commit(msgspec.Struct, frozen=True):
    """The segments of a window, to be stored with the marks at once.

    Args:
        mark_sample: Where to go on after a restart: a sample,
        mark_utterance: and the number of an utterance.
        segment: Number of the first piece.
        pieces: The segments.
        arrived: When the audio was read.
        trouble: A sentence about audio that could not be decoded.
        uncovered: From which to which second of the recording a voice has no words.
    """

    mark_sample: int
    mark_utterance: int
    segment: int
    pieces: tuple[TimedText, ...]
    arrived: float
    trouble: str | None = None
    uncovered: tuple[float, float] | None = None


Command = Decode | Commit


class _Open(msgspec.Struct, eq=False):
    """A window that is not stored: `sent` to the engine or not, then with its result."""

    job: FileJob
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
        language: The language detected before the restart.
    """

    def __init__(
        self,
        settings: Settings,
        hallucination_filter: HallucinationFilter,
        *,
        segment: int = 0,
        utterance: int = 0,
        language: str | None = None,
    ) -> None:
        self.settings = settings
        self.hallucination_filter = hallucination_filter
        self.segment = segment
        self.language = settings.language or language
        self._skip = utterance
        self._frames = Frames(settings.rate, FRAME_MS)
        self._vad = Vad(self._frames.vad_rate, frame_ms=FRAME_MS)
        self._endpoint = Endpointer(settings.rate, EndpointSettings())
        self._buffer = bytearray()
        self._buffer_start = 0
        self._now = 0
        self._pack = _Pack()
        self._open: deque[_Open] = deque()

    # --- what it knows ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Samples read so far."""
        return self._now

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
        return self._endpoint.open_since if self._endpoint.open_since is not None else self._now

    # --- in -----------------------------------------------------------------------------------------------

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """Add samples (mono s16le), read at `arrived` seconds of the caller's clock."""
        self._buffer += mono
        self._now += len(mono) // 2
        for frame in self._frames.feed(mono):
            speech, level = self._vad.feed(frame.samples)
            for happening in self._endpoint.frame(frame.end, speech, level):
                if isinstance(happening, UtteranceEnded):
                    self._closed(happening, arrived)
        self._trim()
        return list(self._send())

    def flush(self, arrived: float) -> list[Command]:
        """Take note that the recording ends here."""
        for happening in self._endpoint.flush(self._now):
            if isinstance(happening, UtteranceEnded):
                self._closed(happening, arrived)
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
        return [*self._send(), *self._keep()]

    def refused(self, job: DecodeJob, trouble: str) -> list[Command]:
        """Take note that the engine could not decode a job, and why (a sentence)."""
        one = self._find(job)
        if len(one.job.utterances) > 1:
            # Only one of them is to blame, so the others are decoded alone.
            self._take_apart(one)
            return list(self._send())
        one.decided, one.trouble = True, trouble
        return [*self._send(), *self._keep()]

    # --- windows ------------------------------------------------------------------------------------------

    def _closed(self, closed: UtteranceEnded, arrived: float) -> None:
        # Utterances that are stored are packed, too, or others would be joined after a restart.
        pack, rate = self._pack, self.settings.rate
        gap = self._gap(closed)
        samples = len(pack.audio) // 2 + gap + closed.end - closed.start
        if pack.utterances and (not self.settings.joined or samples > JOINED_S * rate):
            self._close_pack()
            pack, gap = self._pack, 0
        pack.begins.append(len(pack.audio) // 2 + gap)
        pack.utterances.append(closed)
        offset = 2 * (closed.start - gap - self._buffer_start)
        pack.audio += self._buffer[offset : offset + 2 * (gap + closed.end - closed.start)]
        pack.arrived = arrived
        if not self.settings.joined:
            self._close_pack()

    def _gap(self, closed: UtteranceEnded) -> int:
        """Count the samples kept between the last packed utterance and this one."""
        if not self._pack.utterances:
            return 0
        gap = closed.start - self._pack.utterances[-1].end
        return gap if gap <= GAP_S * self.settings.rate else 0

    def _close_pack(self) -> None:
        pack, self._pack = self._pack, _Pack()
        if not pack.utterances or pack.utterances[-1].number < self._skip:
            return
        whole = _Open(self._job(tuple(pack.utterances), tuple(pack.begins), bytes(pack.audio)), pack.arrived)
        if pack.utterances[0].number < self._skip:  # a part of it is stored: it had been taken apart
            self._open += [part for part in self._parts(whole) if part.job.utterances[0].number >= self._skip]
        else:
            self._open.append(whole)

    def _job(self, utterances: tuple[UtteranceEnded, ...], begins: tuple[int, ...], audio: bytes) -> FileJob:
        settings = self.settings
        # The times of words tell which utterance of a joined window they belong to.
        words = settings.words or settings.joined
        options = msgspec.structs.replace(settings.options, language=settings.language, words=words)
        return FileJob(
            settings.session,
            Kind.FILE,
            Window(audio=audio),
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

    def _judge(self, job: FileJob, hypothesis: Hypothesis) -> Verdict:
        return self.hallucination_filter.judge(
            hypothesis.text,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            spoken_s=sum(utterance.spoken for utterance in job.utterances) / self.settings.rate,
            voice_s=hypothesis.voice_s,
        )

    def _trim(self) -> None:
        needed = min(self._endpoint.needed_from, self._now)
        if self._pack.utterances and needed - self._pack.utterances[-1].end <= GAP_S * self.settings.rate:
            needed = min(needed, self._pack.utterances[-1].end)
        if needed - self._buffer_start > self.settings.rate:
            del self._buffer[: 2 * (needed - self._buffer_start)]
            self._buffer_start = needed

    # --- segments -----------------------------------------------------------------------------------------

    def _keep(self) -> Iterator[Commit]:
        while self._open and self._open[0].decided:
            one = self._open.popleft()
            pieces = tuple(self._pieces(one.job, one.hypothesis)) if one.hypothesis is not None else ()
            first, last = self.segment, one.job.utterances[-1]
            self.segment += len(pieces)
            place = self._uncovered(one.job, one.hypothesis) if one.hypothesis is not None else None
            yield Commit(last.end, last.number + 1, first, pieces, one.arrived, one.trouble, place)

    def _uncovered(self, job: FileJob, hypothesis: Hypothesis) -> tuple[float, float] | None:
        place = hypothesis.uncovered
        if place is None or place[1] - place[0] < UNCOVERED_S:
            return None
        clock = _Clock(job, self.settings.rate)
        return clock.at(place[0], last=False)[1], clock.at(place[1], last=True)[1]

    def _pieces(self, job: FileJob, hypothesis: Hypothesis) -> Iterator[TimedText]:
        if not hypothesis.text:
            return
        rate = self.settings.rate
        clock = _Clock(job, rate)
        confidence = round(min(1.0, math.exp(hypothesis.avg_logprob)), 3)
        words = hypothesis.words or [
            TimedWord(start=0.0, end=len(job.audio) / 2 / rate, word=hypothesis.text, probability=1.0)
        ]
        latest = 0.0
        for cue in (
            cues(hypothesis.text, words, clock.ends) if self.settings.joined else [Cue(0, hypothesis.text, list(words))]
        ):
            if len(job.utterances) > 1 and not _is_believed(cue, clock.voice_s(cue.utterance, hypothesis.voiced)):
                continue
            # Not before the previous piece, and never without length, whatever times a model gives.
            start, end = clock.begin(cue.words[0].start), clock.end(cue.words[-1].end)
            if not self.settings.joined:
                start, end = clock.begin(0.0), clock.end(math.inf)
            start = max(latest, start)
            end = latest = max(end, round(start + 0.02, 3))
            timed = (
                _timed(cue.words, clock, start, end) if self.settings.words and hypothesis.words is not None else None
            )
            yield TimedText(start, end, cue.text, hypothesis.language, confidence, timed)


def _is_believed(cue: Cue, voice_s: float) -> bool:
    """Whether a part of a joined text may be shown: without a voice it may be what the model makes of noise."""
    if voice_s > 0.0:
        return True
    return sum(word.probability for word in cue.words) >= FAINT_PROBABILITY * len(cue.words)


class _Clock:
    """Converts seconds of a window to seconds of the recording: long silences between utterances were left out."""

    def __init__(self, job: FileJob, rate: int) -> None:
        self._utterances = job.utterances
        self._rate = rate
        self._begins = [begin / rate for begin in job.begins]

    @property
    def ends(self) -> list[float]:
        """Seconds of the window at which its utterances but the last end: in the middle of the pause behind them."""
        spans = zip(self._begins, self._begins[1:], self._utterances, strict=False)
        return [(begin + (one.end - one.start) / self._rate + following) / 2 for begin, following, one in spans]

    def voice_s(self, utterance: int, voiced: bytes | None) -> float:
        """Count the seconds of voice in an utterance, by a byte for each chunk of the window; all of them if None."""
        one, begin = self._utterances[utterance], self._begins[utterance]
        length = (one.end - one.start) / self._rate
        if voiced is None:
            return length
        return voiced[int(begin / CHUNK_S) : math.ceil((begin + length) / CHUNK_S)].count(1) * CHUNK_S

    def at(self, time: float, *, last: bool) -> tuple[UtteranceEnded, float]:
        """Find the utterance at a time of the window, and the recording's time; on a border the `last` or the next."""
        place = bisect_right(self._begins, time - 1e-6 if last else time + 1e-6) - 1
        utterance = self._utterances[min(max(place, 0), len(self._utterances) - 1)]
        begin = self._begins[min(max(place, 0), len(self._utterances) - 1)]
        moment = utterance.start / self._rate + max(0.0, time - begin)
        return utterance, min(moment, utterance.end / self._rate)

    def begin(self, time: float) -> float:
        """When a piece begins that begins at `time` in the window: not before its first speech."""
        utterance, moment = self.at(time, last=False)
        return round(max(moment, utterance.onset / self._rate), 3)

    def end(self, time: float) -> float:
        """When a piece ends that ends at `time` in the window."""
        return round(self.at(time, last=True)[1], 3)


def _timed(words: list[TimedWord], clock: _Clock, start: float, end: float) -> list[Word]:
    """Put words on the recording's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return min(end, max(start, time))

    return [
        Word(
            start=within(round(clock.at(word.start, last=False)[1], 3)),
            end=within(clock.end(word.end)),
            word=word.word,
            confidence=word.probability,
        )
        for word in words
    ]


def _silent(hypothesis: Hypothesis) -> Hypothesis:
    return Hypothesis(
        text="", language=hypothesis.language, language_probability=0.0, avg_logprob=hypothesis.avg_logprob,
        no_speech_prob=hypothesis.no_speech_prob,
    )  # fmt: skip
