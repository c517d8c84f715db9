"""Captions of the utterance that is being spoken: which interims to decode, and what to show of them.

In: utterances that begin, the engine's load, hypotheses. Out: `Decode` and `Drop` of interims, `Emit` of partials. They
are sent only for the utterance that is committed next: an earlier one may yet take the segment's number. `partial`
holds the words; this decides when they are decoded and whether they may be shown.
"""

from __future__ import annotations

from typing import Final

from convo.messages import TranscriptPartial
from convod.speech.agreement import Caption
from convod.speech.changes import language_change
from convod.speech.commands import Command, Decode, DecodeRequeued, Drop, Emit, LoadChanged, News
from convod.speech.decoding import DecodeJob, Hypothesis, Interims, Kind
from convod.speech.endpointer import Endpointer
from convod.speech.finals import FinalQueue
from convod.speech.hallucination import HallucinationFilter
from convod.speech.partial import PartialHypothesis
from convod.speech.windows import LiveSettings, WindowCutter

LONG_S: Final = 5.0
"""What was said so long ago is promised though another one may have said it: what is not promised is decoded again."""


class Captions:
    """The captions of one session, one open utterance after the other.

    Args:
        settings: How the session is transcribed.
        windows: Cuts the interims.
        endpointer: Tells which utterance is open.
        finals: Tells which segment comes next.
        hallucination_filter: What judges the texts.
        sample: First sample of the stream.
    """

    def __init__(
        self,
        settings: LiveSettings,
        windows: WindowCutter,
        endpointer: Endpointer,
        finals: FinalQueue,
        hallucination_filter: HallucinationFilter,
        sample: int,
    ) -> None:
        self._settings = settings
        self._windows = windows
        self._endpointer = endpointer
        self._finals = finals
        self._hallucination_filter = hallucination_filter
        self._partial = PartialHypothesis(settings.rate, sample, sample)
        self._interim: DecodeJob | None = None
        self._waits = False  # no worker has begun with it
        self._affordable = Interims.FULL
        self._tells_turns = settings.voiceprints
        self._one_voice_until = sample

    @property
    def committed(self) -> str:
        """The stable words that were shown of the utterance."""
        return self._partial.committed

    @property
    def voiced(self) -> bool:
        """Whether a voice was found in it."""
        return self._partial.voiced

    def begin(self, start: int, onset: int) -> None:
        """Begin with another utterance, or anew with one that begins earlier."""
        self._partial = PartialHypothesis(self._settings.rate, start, onset)
        self._one_voice_until = start

    def one_voice(self, until: int | None) -> None:
        """Take note that one person speaks until a sample: behind it it is not known yet; None: it never will be."""
        self._tells_turns = until is not None
        self._one_voice_until = max(self._one_voice_until, until or 0)

    def tell(self, news: News) -> None:
        """Take note of what changed at the engine."""
        if isinstance(news, LoadChanged):
            self._affordable = news.interims
        elif news.job is self._interim:
            self._waits = isinstance(news, DecodeRequeued)

    def audio(self, now: int) -> list[Command]:
        """Decode an interim of the open utterance, if one is due at sample `now`."""
        before = self._interim
        if not self._settings.interim or (before is not None and not self._waits):
            return []
        # Replacing one that waits costs the engine nothing, however busy it is.
        if not self._partial.is_due(now, self._affordable if before is None else Interims.FULL):
            return []
        self._interim = job = self._windows.cut(
            Kind.INTERIM,
            self._endpointer.number,
            self._partial.begin,
            now,
            check_voice=not self.voiced,
            expected=self._finals.language,
        )
        self._waits = True
        self._partial.asked(now, renewed=before is not None)
        return [Decode(job, before)]

    def drop(self) -> list[Command]:
        """Decode no interim any more: the utterance pauses, ends, or begins earlier."""
        interim, self._interim = self._interim, None
        return [] if interim is None else [Drop(interim)]

    def refused(self, job: DecodeJob) -> None:
        """Take note that a job could not be decoded."""
        if self._interim is job:
            self._interim = None

    def decoded(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Take the result of an interim."""
        if self._interim is not job:
            return []
        self._interim = None
        # A text cut off in a loop says nothing about the words before the loop.
        if hypothesis.truncated or not self._hallucination_filter.judge_hypothesis(hypothesis, job.seconds).keep:
            return []
        safe = self._safe_until(job, hypothesis)
        trim = self._partial.is_long(job.end, self._affordable)
        caption = self._partial.update(
            job.start, job.end, hypothesis, trim=trim, safe=None if job.end <= safe else safe
        )
        return self._show(job, caption)

    def paused(self, job: DecodeJob, hypothesis: Hypothesis) -> list[Command]:
        """Show the text of a pause, perhaps long before the endpoint: it is the best caption there is."""
        if not self._settings.interim or self._affordable is Interims.NONE:
            return []
        until = self._safe_until(job, hypothesis)
        safe = None if job.end <= until else until if self._tells_turns else job.start
        return self._show(job, self._partial.paused(job.start, job.end, hypothesis, safe=safe))

    def _safe_until(self, job: DecodeJob, hypothesis: Hypothesis) -> int:
        """First sample at which the utterance may still be cut.

        It is too long, another language is spoken, or another one begins to speak.
        """
        safe = self._endpointer.safe_until
        if (change := language_change(hypothesis.words or ())) is not None:
            safe = min(safe, job.start + int(change.at * self._settings.rate))
        if not self._tells_turns:
            return safe
        return min(safe, max(self._one_voice_until, job.end - int(LONG_S * self._settings.rate)))

    def _show(self, job: DecodeJob, caption: Caption) -> list[Command]:
        if self._finals.waiting or not self._partial.shows(caption):
            return []
        since, rate = self._endpointer.open_since, self._settings.rate
        partial = TranscriptPartial(
            session=self._settings.session,
            segment=self._finals.segment,
            start=round((job.start if since is None else since) / rate, 3),
            end=round(job.end / rate, 3),
            stable=caption.stable,
            tentative=caption.tentative,
        )
        return [Emit(partial)]
