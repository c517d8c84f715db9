"""Cut a stream into utterances from per-frame speech decisions: where one begins, ends, or is cut because it is long.

In: for each frame its end on the sample clock, whether it is speech, and its level. Out: what happened, as small frozen
values. A state machine without audio, wall clock or I/O.

It has two states. SILENT: the last frames are kept in a short ring; enough speech in it starts an utterance, which
begins a pre-roll before the ring's first speech frame (never before the last utterance's end). SPEAKING: silence is
counted from the last speech frame; when it reaches the endpoint, the utterance ends a little after its last speech.
One that reaches its greatest length is cut at the quietest frame of its last part, and the next one starts at that very
sample: nothing is lost, nothing doubled. So is one that is told where to be cut. The same happens when a better
detector finds a voice at the end of an utterance, however late it says so: the frames took speech for silence there.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

SILENT: Final = float("-inf")

CLEAR_DB: Final = 25.0
"""An onset so far below the loudest speech of its utterance, or less, is that of a voice. The hiss with which a
recording begins, and breaths, are some 30 dB below a voice."""


class EndpointSettings(msgspec.Struct, frozen=True):
    """When utterances begin and end, in milliseconds.

    Args:
        endpoint_ms: Silence that ends an utterance.
        patient_ms: Silence that ends it in mid-sentence.
        pause_ms: Silence that counts as a pause.
        preroll_ms: Audio before the first speech that belongs to an utterance.
        tail_ms: Audio after the last speech that belongs to it.
        ring_ms: Length of the ring,
        onset_ms: and how much of it must be speech to start an utterance.
        longest_ms: Greatest length of an utterance.
        cut_from_ms: Length from which a place to cut is looked for.
        doubt_ms: How much audio at most counts as missed speech behind an utterance that ended in mid-speech.
    """

    endpoint_ms: int = 500
    patient_ms: int = 1000
    pause_ms: int = 200
    preroll_ms: int = 300
    tail_ms: int = 200
    ring_ms: int = 180
    onset_ms: int = 90
    longest_ms: int = 28_000
    cut_from_ms: int = 18_000
    doubt_ms: int = 2000


class UtteranceStarted(msgspec.Struct, frozen=True):
    """Utterance `number` starts at sample `start`; its first speech is at `onset`."""

    number: int
    start: int
    onset: int


class UtteranceEnded(msgspec.Struct, frozen=True):
    """Utterance `number` is the samples `start` to `end`.

    Its first speech is at sample `onset`, its last one ends at `last_speech`, and `spoken` samples were speech. `cut`
    if the speaker went on; `clear` if its onset was loud, by CLEAR_DB.
    """

    number: int
    start: int
    onset: int
    end: int
    spoken: int
    cut: bool = False
    last_speech: int = 0
    clear: bool = False


class Paused(msgspec.Struct, frozen=True):
    """The speaker paused at sample `at`, the end of the last speech: perhaps for good."""

    number: int
    at: int


class Resumed(msgspec.Struct, frozen=True):
    """The speaker went on after `Paused`."""

    number: int


EndpointEvent = UtteranceStarted | UtteranceEnded | Paused | Resumed


class Endpointer:
    """The state machine of one stream.

    Args:
        rate: Samples a second.
        settings: When utterances begin and end.
        first: Number of the first utterance.
        begin: Sample the stream starts at.
    """

    def __init__(self, rate: int, settings: EndpointSettings | None = None, *, first: int = 0, begin: int = 0) -> None:
        self.settings = settings or EndpointSettings()
        self._rate = rate
        self._number = first
        self._free = begin  # no utterance may begin before this sample: it belongs to the last one
        self._now = begin
        self._ring: deque[tuple[int, int, bool, float]] = deque()  # (frame start, end, speech, level)
        self._open = False
        self._resumed = False  # the next utterance begins with the next frame, whatever is in it
        self._start = 0
        self._onset = 0
        self._last_speech = 0
        self._spoken = 0
        self._onset_dbfs = self._loudest_dbfs = SILENT
        self._paused = False
        self._patient = False  # the pause is in mid-sentence
        self._levels: deque[tuple[int, float, bool]] = deque()  # (frame end, level, speech) of the part to cut in

    @property
    def open_since(self) -> int | None:
        """First sample of the open utterance, or None in silence."""
        return self._start if self._open else None

    @property
    def number(self) -> int:
        """Number of the open utterance, or of the next one."""
        return self._number

    @property
    def needed_from(self) -> int:
        """First sample that may still be needed."""
        if self._open:
            return self._start
        first = self._ring[0][0] if self._ring else self._now
        return max(self._free, first - self._samples(self.settings.preroll_ms))

    @property
    def safe_until(self) -> int:
        """First sample at which the open utterance may still be cut."""
        # A place that comes later is taken only if it is quieter.
        at = self._quietest()
        return self._start + self._samples(self.settings.cut_from_ms) if at is None else self._levels[at][0]

    @property
    def _endpoint_ms(self) -> int:
        settings = self.settings
        return max(settings.endpoint_ms, settings.patient_ms) if self._patient else settings.endpoint_ms

    def _samples(self, ms: int) -> int:
        return ms * self._rate // 1000

    def frame(self, end: int, speech: bool, level: float) -> list[EndpointEvent]:
        """Add the frame that ends at sample `end` and return what happened, oldest first."""
        start, self._now = self._now, end
        if self._resumed and end > self._free:
            opened = self._begin_again(self._free)
            return [opened, *self._speaking(max(start, self._free), end, speech, level)]
        if self._open:
            return self._speaking(start, end, speech, level)
        return self._silent(start, end, speech, level)

    def voiced(self, until: int) -> None:
        """Take note that a better detector found a voice up to sample `until`; if that is news, there was no pause."""
        until = min(until, self._now)
        if self._open and until > self._last_speech:
            self._spoken += until - self._last_speech
            self._last_speech = until
            self._paused = False

    def wait(self, at: int) -> None:
        """Be patient with the pause at sample `at`: the sentence is not over there."""
        if self._open and at == self._last_speech:
            self._patient = True

    def resume(self, at: int) -> list[EndpointEvent]:
        """Start the next utterance at sample `at`, where the last one ended: a better detector found a voice up to it.

        If none is open, one starts, with the next frame at the latest. One that is open starts earlier, unless that
        makes it too long.
        """
        if at != self._free:
            return []
        settings = self.settings
        if self._open:
            # Before it is cut, another frame may come, and a flush within the next one.
            if at < self._start and self._now - at <= self._samples(settings.longest_ms - settings.pause_ms):
                self._start = self._onset = at
                self._onset_dbfs = SILENT
                self._paused = False  # what was decoded at the pause was not all of it
            return []
        if at >= self._now:
            self._resumed = True
            return []
        # All audio since then may be missed speech, up to a bound: the answer may come minutes late.
        doubt = min(settings.doubt_ms, settings.cut_from_ms)
        until = min(self._now, at + self._samples(doubt))
        if self._now - until >= self._samples(settings.endpoint_ms):
            ring = self._ring.copy()
            opened = self._begin_again(at, until)
            closed = self._close(min(self._now, until + self._samples(settings.tail_ms)))
            self._ring.extend(frame for frame in ring if frame[1] > closed.end)
            return [opened, closed]
        return [self._begin_again(at, max([until, *(end for _, end, speech, _ in self._ring if speech)]))]

    def cut(self, at: int) -> list[EndpointEvent]:
        """Cut the open utterance at sample `at`, where something else begins; not before its speech or behind it."""
        if not self._open or not self._onset < at < self._last_speech:
            return []
        return self._cut_at(at, min(self._spoken, self._last_speech - at))

    def flush(self, now: int) -> list[EndpointEvent]:
        """End the open utterance at sample `now`, less than a frame after the last one: no more audio comes for now."""
        events: list[EndpointEvent] = []
        if not self._open:
            # A word shorter than the onset may be all there was.
            spoken = sum(end - start for start, end, speech, _ in self._ring if speech)
            if 2 * spoken < self._samples(self.settings.onset_ms):
                self._ring.clear()
                return events
            events.append(self._begin())
        events.append(self._close(now))
        return events

    def _silent(self, start: int, end: int, speech: bool, level: float) -> list[EndpointEvent]:
        self._ring.append((start, end, speech, level))
        while self._ring and end - self._ring[0][0] > self._samples(self.settings.ring_ms):
            self._ring.popleft()
        if not speech:
            return []
        spoken = sum(end - start for start, end, speech, _ in self._ring if speech)
        return [self._begin()] if spoken >= self._samples(self.settings.onset_ms) else []

    def _begin(self) -> UtteranceStarted:
        onset = next(start for start, _, speech, _ in self._ring if speech)
        self._open = True
        self._paused = False
        # A flush inside a frame gave the frame's beginning to the last utterance.
        onset = max(self._free, onset)
        self._onset = onset
        self._start = max(self._free, onset - self._samples(self.settings.preroll_ms))
        self._last_speech = max(end for _, end, speech, _ in self._ring if speech)
        self._spoken = sum(end - start for start, end, speech, _ in self._ring if speech)
        self._onset_dbfs = self._loudest_dbfs = max(level for _, _, speech, level in self._ring if speech)
        self._ring.clear()
        self._levels.clear()
        return UtteranceStarted(self._number, self._start, onset)

    def _begin_again(self, at: int, until: int | None = None) -> UtteranceStarted:
        """Start at sample `at`, with speech up to sample `until`, if any."""
        self._open, self._paused, self._resumed = True, False, False
        self._start = self._onset = at
        self._last_speech = at if until is None else until
        self._spoken = self._last_speech - at
        self._onset_dbfs = self._loudest_dbfs = SILENT
        self._ring.clear()
        self._levels.clear()
        return UtteranceStarted(self._number, at, at)

    def _speaking(self, start: int, end: int, speech: bool, level: float) -> list[EndpointEvent]:
        events: list[EndpointEvent] = []
        settings = self.settings
        if end - self._start > self._samples(settings.cut_from_ms):
            self._levels.append((end, level, speech))
        if speech:
            self._patient = False
            self._loudest_dbfs = max(self._loudest_dbfs, level)
            if not self._spoken:
                self._onset = max(self._start, start)  # it was resumed, and began with silence
            self._last_speech = end
            self._spoken += end - start
            if self._paused:
                self._paused = False
                events.append(Resumed(self._number))
        silence = end - self._last_speech
        if not self._paused and silence >= self._samples(settings.pause_ms):
            self._paused = True
            events.append(Paused(self._number, self._last_speech))
        if silence >= self._samples(self._endpoint_ms):
            events.append(self._close(min(end, self._last_speech + self._samples(settings.tail_ms))))
        elif end - self._start + (end - start) > self._samples(settings.longest_ms):
            events += self._cut(end)  # another frame, or a flush within it, would be too long
        return events

    def _close(self, end: int) -> UtteranceEnded:
        closed = self._ended(end, self._spoken, last_speech=min(end, self._last_speech))
        self._number += 1
        self._free = end
        self._open = self._patient = False
        self._levels.clear()
        return closed

    def _ended(self, end: int, spoken: int, *, last_speech: int, cut: bool = False) -> UtteranceEnded:
        clear = SILENT < self._onset_dbfs >= self._loudest_dbfs - CLEAR_DB
        return UtteranceEnded(
            self._number, self._start, self._onset, end, spoken, cut=cut, last_speech=last_speech, clear=clear
        )

    def _cut(self, now: int) -> list[EndpointEvent]:
        frames = list(self._levels)
        at = self._quietest()
        if at is None:
            return [self._close(min(now, self._last_speech + self._samples(self.settings.tail_ms)))]
        cut = frames[at][0]
        after = frames[at + 1 :]
        spoken_after = 0
        begin = cut
        for end, _, speech in after:
            if speech:
                spoken_after += end - begin
            begin = end
        return self._cut_at(cut, spoken_after)

    def _cut_at(self, at: int, spoken_after: int) -> list[EndpointEvent]:
        closed = self._ended(at, max(0, self._spoken - spoken_after), cut=True, last_speech=at)
        self._number += 1
        self._free = self._start = self._onset = at
        self._spoken = spoken_after
        self._onset_dbfs = self._loudest_dbfs = SILENT
        self._paused = self._patient = False  # a pause that lasts is the next utterance's
        self._levels.clear()
        return [closed, UtteranceStarted(self._number, at, at)]

    def _quietest(self) -> int | None:
        """Choose the frame of the last part to cut after; None if there is no place.

        A frame is judged with its neighbours, so that one quiet frame inside a vowel does not win; of equals the
        latest is taken, so that the next utterance is short. Speech must follow, or the next utterance would hold
        nothing but the end of this one's last pause.
        """
        frames = list(self._levels)
        smooth = [
            sum(level for _, level, _ in frames[max(0, i - 1) : i + 2]) / len(frames[max(0, i - 1) : i + 2])
            for i in range(len(frames))
        ]
        places = [i for i, (end, _, _) in enumerate(frames) if end < self._last_speech]
        return min(places, key=lambda i: (smooth[i], -i), default=None)
