"""The segments of a recording's window: its text, divided by utterance and sentence, on the recording's clock.

In: a `FileDecodeJob` and its hypothesis. Out: texts with times. Nothing here is kept from one window to the next.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from convo.messages import Word
from convod.speech.commands import TimedText
from convod.speech.cues import Cue, cues
from convod.speech.decoding import CHUNK_S, UNCOVERED_S, DecodeJob, Hypothesis, TimedWord
from convod.speech.endpointer import UtteranceEnded
from convod.speech.segment_bounds import begin_of, end_of, with_bounds
from convod.speech.voice import reaching, voice_of, voiced_between

FAINT_PROBABILITY: Final = 0.7
"""Words of an utterance without a voice are believed from this probability on: it may be a whisper."""


@dataclasses.dataclass(eq=False, slots=True)
class FileDecodeJob(DecodeJob):
    """A window of a recording: the `utterances`, each from the sample of the window that `begins` tells."""

    utterances: tuple[UtteranceEnded, ...] = ()
    begins: tuple[int, ...] = ()


def texts(job: FileDecodeJob, hypothesis: Hypothesis, *, joined: bool, words: bool) -> Iterator[TimedText]:
    """Divide the text of a window into segments.

    Args:
        job: The window.
        hypothesis: Its text.
        joined: Whether the times of its words tell which utterance they belong to; else it has one utterance.
        words: Whether segments have the times of their words.
    """
    if not hypothesis.text:
        return
    clock = _Clock(job)
    confidence = round(min(1.0, math.exp(hypothesis.avg_logprob)), 3)
    timed = hypothesis.words or [TimedWord(start=0.0, end=job.seconds, word=hypothesis.text, probability=1.0)]
    latest = 0.0
    found = list(cues(hypothesis.text, timed, clock.ends)) if joined else [Cue(0, hypothesis.text, list(timed))]
    for place, cue in enumerate(found):
        if len(job.utterances) > 1 and not _is_believed(cue, clock.voice_s(cue.utterance, hypothesis.voiced)):
            continue
        begin_s, end_s = cue.words[0].start, cue.words[-1].end
        if job.window.voiceprints:  # who speaks when is told by these times, and a pause is nobody's
            earliest_s = found[place - 1].words[-1].end if place else 0.0
            latest_s = found[place + 1].words[0].start if place + 1 < len(found) else job.seconds
            begin_s, end_s = voiced_between(hypothesis.voiced, begin_s, end_s)
            begin_s, end_s = reaching(hypothesis.voiced, begin_s, end_s, earliest_s, latest_s)
        start, end = clock.begin(cue.utterance, begin_s), clock.end(cue.utterance, end_s)
        if not joined:
            start, end = clock.begin(0, 0.0), clock.end(0, math.inf)
        elif hypothesis.voiced is not None and not job.window.voiceprints:
            utterance = job.utterances[cue.utterance]
            if place == 0 or found[place - 1].utterance != cue.utterance:
                start = begin_of(start, utterance, job.rate)
            if place + 1 == len(found) or found[place + 1].utterance != cue.utterance:
                end = end_of(end, utterance, job.rate)
        # Not before the previous segment, and never without length, whatever times a model gives.
        start = max(latest, start)
        end = latest = max(end, round(start + 0.02, 3))
        own = _timed(cue, clock, start, end) if words and hypothesis.words is not None else None
        if own is not None and hypothesis.voiced is not None:
            own = with_bounds(own, start, end)
        voice = voice_of(hypothesis.voiceprints, begin_s, end_s, hypothesis.voiced) if job.window.voiceprints else None
        language = cue.words[0].language or hypothesis.language
        yield TimedText(start, end, cue.text, language, confidence, own, voice)


def uncovered(job: FileDecodeJob, hypothesis: Hypothesis) -> tuple[float, float] | None:
    """Return from which to which second of the recording a voice has no words, if that is worth a warning."""
    place = hypothesis.uncovered
    if place is None or place[1] - place[0] < UNCOVERED_S:
        return None
    clock = _Clock(job)
    return clock.at(place[0], last=False), clock.at(place[1], last=True)


def _is_believed(cue: Cue, voice_s: float) -> bool:
    """Whether a part of a joined text may be shown: without a voice it may be what the model makes of noise."""
    if voice_s > 0.0:
        return True
    return sum(word.probability for word in cue.words) >= FAINT_PROBABILITY * len(cue.words)


class _Clock:
    """Converts seconds of a window to seconds of the recording: long silences between utterances were left out."""

    def __init__(self, job: FileDecodeJob) -> None:
        self._utterances = job.utterances
        self._rate = job.rate
        self._begins = [begin / job.rate for begin in job.begins]

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

    def at(self, time: float, *, last: bool) -> float:
        """Convert a time of the window; on a border it belongs to the `last` utterance or the next."""
        place = bisect_right(self._begins, time - 1e-6 if last else time + 1e-6) - 1
        return self.within(min(max(place, 0), len(self._utterances) - 1), time)

    def within(self, utterance: int, time: float) -> float:
        """Convert a time of the window at which something is said in an utterance: it may seem to lie outside of it."""
        one = self._utterances[utterance]
        moment = one.start / self._rate + max(0.0, time - self._begins[utterance])
        return min(moment, one.end / self._rate)

    def begin(self, utterance: int, time: float) -> float:
        """When a piece begins that begins at `time` in the window: not before the first speech of its utterance."""
        return round(max(self.within(utterance, time), self._utterances[utterance].onset / self._rate), 3)

    def end(self, utterance: int, time: float) -> float:
        """When a piece ends that ends at `time` in the window."""
        return round(self.within(utterance, time), 3)


def _timed(cue: Cue, clock: _Clock, start: float, end: float) -> list[Word]:
    """Put words on the recording's clock, within their segment: alignment gives silence to the word beside it."""

    def within(time: float) -> float:
        return min(end, max(start, time))

    return [
        Word(
            start=within(round(clock.within(cue.utterance, word.start), 3)),
            end=within(clock.end(cue.utterance, word.end)),
            word=word.word,
            confidence=word.probability,
        )
        for word in cue.words
    ]
