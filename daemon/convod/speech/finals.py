"""Utterances that ended: decoded in any order, committed in theirs.

In: utterances with the jobs that decode them, and what came of these. Out: `Commit` commands. The language is detected
here, and the end of the last utterance is kept for the next one to be decoded behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from convo.messages import Word
from convod.speech.agreement import joined, pieces
from convod.speech.buffer import SampleBuffer
from convod.speech.commands import Commit, TimedText
from convod.speech.committed import merge_committed
from convod.speech.cues import Cue, changes, cues
from convod.speech.decoding import LANGUAGE_SURE, UNCOVERED_S, DecodeJob, Hypothesis, Lead, TimedWord
from convod.speech.endpointer import UtteranceEnded
from convod.speech.hallucination import HallucinationFilter
from convod.speech.segment_bounds import begin_of, end_of, with_bounds
from convod.speech.voice import voice_of
from convod.speech.windows import LiveSettings

LEAD_S: Final = 8.0
LEAD_GAP_S: Final = 2.0
"""An utterance that begins within LEAD_GAP_S of the last one is decoded with LEAD_S of that one before it, whose text
is given: of half a sentence a model guesses. Words wrong in ten recorded talks, tiny.en: 11.8 % without, 10.8 % with
up to 12 s where the pause was below 1 s, 10.4 % below 2 s. As a prompt alone the last text does not help (12.4 %)."""


class PendingFinal(msgspec.Struct):
    """An utterance that ended and is not committed yet.

    `job` is what the engine decodes of it. `committed` are the stable words that were shown of it: if its final is
    rejected, they are what remains. Once `decided`, there is a `hypothesis` or a `trouble`.
    """

    utterance: UtteranceEnded
    job: DecodeJob
    arrived: float
    committed: str
    decided: bool = False
    hypothesis: Hypothesis | None = None
    trouble: str | None = None


class _Previous(msgspec.Struct, frozen=True):
    """The last words of the last utterance: `text` is said in samples `start` to `end` of the stream."""

    start: int
    end: int
    text: str


class FinalQueue:
    """The utterances of one session that wait for their text, or for that of an earlier one.

    Args:
        settings: How the session is transcribed.
        buffer: Its samples.
        hallucination_filter: What judges the texts.
        segment: Number of the next segment.
        utterance: Number of the next utterance.
        language: The language, if it is known.
    """

    def __init__(
        self,
        settings: LiveSettings,
        buffer: SampleBuffer,
        hallucination_filter: HallucinationFilter,
        *,
        segment: int,
        utterance: int,
        language: str | None,
    ) -> None:
        self.segment = segment
        self.language = language
        self._settings = settings
        self._rate = settings.rate
        self._buffer = buffer
        self._hallucination_filter = hallucination_filter
        self._next = utterance
        self._pending: dict[int, PendingFinal] = {}
        self._previous: _Previous | None = None

    @property
    def waiting(self) -> int:
        """Utterances that are not committed."""
        return len(self._pending)

    def __iter__(self) -> Iterator[PendingFinal]:
        return iter(self._pending.values())

    def first_sample(self, otherwise: int) -> int:
        """Return the first sample of what waits; `otherwise` if that comes earlier, or nothing waits."""
        return min([otherwise, *(final.utterance.start for final in self)])

    def find(self, utterance: int) -> PendingFinal | None:
        """Return an utterance that waits, by its number."""
        return self._pending.get(utterance)

    def of(self, job: DecodeJob) -> PendingFinal | None:
        """Return the utterance that waits for a job."""
        final = self._pending.get(job.utterance)
        return final if final is not None and final.job is job else None

    def add(self, utterance: UtteranceEnded, job: DecodeJob, committed: str) -> None:
        """Add an utterance that ended, with the job that decodes it and the stable words that were shown of it."""
        arrived = self._buffer.arrival(utterance.end)
        self._pending[utterance.number] = PendingFinal(utterance, job, arrived, committed)

    def decide(self, job: DecodeJob, hypothesis: Hypothesis | None, trouble: str | None) -> list[Commit]:
        """Take what came of a job, and commit the utterances that wait no longer."""
        final = self.of(job)
        if final is None:
            return []
        final.decided, final.hypothesis, final.trouble = True, hypothesis, trouble
        commits = []
        while (ready := self._pending.get(self._next)) is not None and ready.decided:
            del self._pending[self._next]
            self._next += 1
            commits.append(self._commit(ready))
        return commits

    def lead(self, utterance: int, start: int) -> Lead | None:
        """Return the end of the utterance before this one, if it is near and its text is known."""
        previous = self._previous
        if previous is None or utterance != self._next or previous.start < self._buffer.start:
            return None
        if not 0 <= start - previous.end <= LEAD_GAP_S * self._rate:
            return None
        return Lead(audio=self._buffer.samples(previous.start, start), text=previous.text)

    def needed_from(self, needed: int) -> int:
        """Return the first sample that is needed here, at most `needed`, from which on all others are."""
        # Speech may have gone on behind an utterance that is not decoded yet, and its end may become a lead.
        undecided = [final.utterance for final in self if not final.decided]
        needed = min([needed, *(max(one.start, one.end - int(LEAD_S * self._rate)) for one in undecided)])
        if (previous := self._previous) is not None:
            if needed - previous.end <= LEAD_GAP_S * self._rate:
                return min(needed, previous.start)
            self._previous = None
        return needed

    def _commit(self, final: PendingFinal) -> Commit:
        hypothesis, utterance = final.hypothesis, final.utterance
        uncovered = self._uncovered(final)
        if hypothesis is not None:
            spoken_s = max(utterance.spoken / self._rate, hypothesis.voice_s or 0.0)
            if not self._hallucination_filter.judge_hypothesis(hypothesis, spoken_s).keep:
                hypothesis = None
        # Nothing of a rejected text is kept: a language detected in noise would be expected of every later window.
        # It takes more than that to find another language than the expected one.
        if hypothesis is not None and (self.language or hypothesis.language_probability >= LANGUAGE_SURE):
            last = hypothesis.words[-1].language if hypothesis.words else None
            self.language = self._settings.language or last or hypothesis.language
        self._previous = None
        texts = tuple(self._texts(final, hypothesis))
        segment = self.segment
        self.segment += len(texts)
        return Commit(
            checkpoint_sample=utterance.end,
            checkpoint_utterance=utterance.number + 1,
            segment=segment,
            texts=texts,
            arrived=final.arrived,
            trouble=final.trouble,
            uncovered=uncovered,
        )

    def _texts(self, final: PendingFinal, hypothesis: Hypothesis | None) -> Iterator[TimedText]:
        """Yield the texts of an utterance, one for each passage in one language, by one speaker.

        If the hypothesis was rejected, yield what was committed of it.
        """
        utterance = final.utterance
        if hypothesis is None:
            if final.committed:
                start, end = (round(sample / self._rate, 3) for sample in (utterance.onset, utterance.end))
                yield TimedText(start, end, final.committed, self.language or "", 0.0, None)
            return
        text, timed = merge_committed(final.committed, hypothesis.text, hypothesis.words)
        if not text:
            return
        parts = cues(text, timed or (), is_end=changes) or [Cue(0, text, [])]
        while len(parts) > 1 and len(pieces(parts[0].text)) < len(pieces(final.committed)):
            # What was promised of a segment is all in it.
            head, following, *rest = parts
            parts = [Cue(0, joined([head.text, following.text]), [*head.words, *following.words]), *rest]
        self._previous = self._last_words(utterance, parts[-1].words, of=len(timed or ()))
        begin = utterance.start / self._rate
        first, last = self._bounds(utterance, hypothesis)
        confidence = round(min(1.0, math.exp(hypothesis.avg_logprob)), 3)
        latest = first
        for place, part in enumerate(parts):
            start = first if place == 0 else max(latest, begin + part.words[0].start)
            end = last if place + 1 == len(parts) else begin + part.words[-1].end
            # Not before the one before it, and never without length, whatever times a model gives.
            end = latest = max(end, start + 0.02)
            words, voice = None, None
            if self._settings.words:
                words = _words(part.words, begin, start, end)
                words = words if hypothesis.voiced is None else with_bounds(words, start, end)
            if self._settings.voiceprints:
                voice = voice_of(hypothesis.voiceprints, start - begin, end - begin, hypothesis.voiced)
            language = (part.words[0].language if part.words else None) or hypothesis.language
            yield TimedText(round(start, 3), round(end, 3), part.text, language, confidence, words, voice)

    def _bounds(self, utterance: UtteranceEnded, hypothesis: Hypothesis) -> tuple[float, float]:
        """When the voice of an utterance begins and ends, where the worker looked for it."""
        start, end = utterance.onset / self._rate, utterance.end / self._rate
        words = hypothesis.words
        if hypothesis.voiced is None or not words:
            return start, end
        begin = utterance.start / self._rate
        first = begin_of(max(start, begin + words[0].start), utterance, self._rate)
        last = end_of(min(utterance.end / self._rate, begin + words[-1].end), utterance, self._rate)
        return (first, last) if first < last else (start, end)

    def _uncovered(self, final: PendingFinal) -> tuple[float, float] | None:
        place = final.hypothesis.uncovered if final.hypothesis is not None else None
        if place is None or place[1] - place[0] < UNCOVERED_S:
            return None
        at = final.utterance.start / self._rate
        return at + place[0], at + place[1]

    def _last_words(self, utterance: UtteranceEnded, words: Sequence[TimedWord], *, of: int) -> _Previous | None:
        """Take the last words of a committed utterance `of` so many, all in one language, for the next one to be
        decoded behind.
        """
        latest = (utterance.end - utterance.start) / self._rate - LEAD_S
        last = [word for word in words if word.start >= latest]
        if not last or self._next != utterance.number + 1:
            return None
        start = utterance.start + int(last[0].start * self._rate) if len(last) < of else utterance.start
        text = joined(piece for word in last for piece in pieces(word.word))
        return _Previous(start, utterance.end, text)


def _words(words: Sequence[TimedWord], offset: float, start: float, end: float) -> list[Word]:
    """Put words on the session's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return round(min(end, max(start, offset + time)), 3)

    return [
        Word(start=within(word.start), end=within(word.end), word=word.word, confidence=word.probability)
        for word in words
    ]
