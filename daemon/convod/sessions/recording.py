"""From a recording's samples to its segments: what to decode together, what to keep, in which order. Sans-IO.

In: mono samples from the recording's first on, results of the engine. Out: `Decode` and `Keep` commands. No clock, no
tasks. Nothing depends on when a result comes: the same samples and results give the same segments, also for one that
goes on after a restart and passes over the utterances that are stored.

Utterances are cut where the speaker pauses, silence between them is left out. A model with a short context hears each
utterance for itself. One that hears 30 s at a time whatever it is given hears as many in a row as fit, joined without
the silence; its answer comes in pieces with times, which become the segments. Should the joined text be none to
believe in, its utterances are heard one by one; not where it is one guess from end to end, for so would they be.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from convo.messages import Word
from convod.captions import Guard, Verdict
from convod.engine.wire import Heard, HeardPiece, HeardWord
from convod.hearing import Closed, Endpointer, EndpointSettings, Frames, Vad
from convod.sessions.transcriber import LANGUAGE_SURE

JOINED_S: Final = 28.0
"""Longest window of joined utterances: as long as the longest utterance, and short of Whisper's 30 s."""

FRAME_MS: Final = 30


class Settings(msgspec.Struct, frozen=True):
    """How a recording is heard: `rate` in Hz; `joined` for a model that hears every window as 30 s."""

    rate: int
    joined: bool = False
    words: bool = False
    language: str | None = None


class Window(msgspec.Struct, frozen=True, eq=False):
    """Audio to decode: the utterances' samples in a row, mono s16le."""

    utterances: tuple[Closed, ...]
    audio: bytes
    language: str | None
    words: bool
    pieces: bool


class Decode(msgspec.Struct, frozen=True):
    """Give the window to the engine."""

    window: Window


class Piece(msgspec.Struct, frozen=True):
    """A segment to be: seconds on the recording's clock."""

    start: float
    end: float
    text: str
    language: str
    confidence: float
    words: list[Word] | None


class Keep(msgspec.Struct, frozen=True):
    """What came of a window, to be stored with the marks as one. `segment` is the number of the first piece.

    `arrived` is when its audio was decoded, `trouble` a sentence about audio that could not be heard.
    """

    mark_sample: int
    mark_utterance: int
    segment: int
    pieces: tuple[Piece, ...]
    arrived: float
    trouble: str | None = None


Command = Decode | Keep


class _Open(msgspec.Struct, eq=False):
    """A window that is not stored: `sent` to the engine or not, then with its result."""

    window: Window
    arrived: float
    sent: bool = False
    decided: bool = False
    heard: Heard | None = None
    trouble: str | None = None


class _Pack(msgspec.Struct):
    """Utterances that will be one window."""

    utterances: list[Closed] = msgspec.field(default_factory=list)
    audio: bytearray = msgspec.field(default_factory=bytearray)
    arrived: float = 0.0


class Recording:
    """`segment` and `utterance` are where to go on after a restart, `language` what was heard till then."""

    def __init__(
        self, settings: Settings, guard: Guard, *, segment: int = 0, utterance: int = 0, language: str | None = None
    ) -> None:
        self.settings = settings
        self.guard = guard
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
        """Windows that are cut and not stored."""
        return len(self._open)

    @property
    def settled(self) -> int:
        """The first sample whose text is not stored yet."""
        if self._open:
            return self._open[0].window.utterances[0].start
        if self._pack.utterances:
            return self._pack.utterances[0].start
        return self._endpoint.open_since if self._endpoint.open_since is not None else self._now

    # --- in -----------------------------------------------------------------------------------------------

    def audio(self, mono: bytes, arrived: float) -> list[Command]:
        """More samples (mono s16le), read at `arrived` (seconds of the caller's clock)."""
        self._buffer += mono
        self._now += len(mono) // 2
        for frame in self._frames.feed(mono):
            speech, level = self._vad.feed(frame.samples)
            for happening in self._endpoint.frame(frame.end, speech, level):
                if isinstance(happening, Closed):
                    self._closed(happening, arrived)
        self._trim()
        return list(self._send())

    def flush(self, arrived: float) -> list[Command]:
        """That was all of it."""
        for happening in self._endpoint.flush(self._now):
            if isinstance(happening, Closed):
                self._closed(happening, arrived)
        self._close_pack()
        return list(self._send())

    def heard(self, window: Window, heard: Heard) -> list[Command]:
        """The engine's result for a window."""
        one = self._find(window)
        if heard.text and not (verdict := self._judge(window, heard)).keep:
            if len(window.utterances) > 1 and not verdict.hopeless:
                self._take_apart(one)
                return list(self._send())
            heard = _silent(heard)
        if self.language is None and heard.text and heard.language_probability >= LANGUAGE_SURE:
            self.language = heard.language
        one.decided, one.heard = True, heard
        return [*self._send(), *self._keep()]

    def refused(self, window: Window, trouble: str) -> list[Command]:
        """The engine could not decode a window, and why (a sentence)."""
        one = self._find(window)
        if len(window.utterances) > 1:
            # One of them is to blame; the others need not be lost with it.
            self._take_apart(one)
            return list(self._send())
        one.decided, one.trouble = True, trouble
        return [*self._send(), *self._keep()]

    # --- windows ------------------------------------------------------------------------------------------

    def _closed(self, closed: Closed, arrived: float) -> None:
        # Also what is stored already is packed, or after a restart other utterances would be heard together.
        pack = self._pack
        samples = len(pack.audio) // 2 + closed.end - closed.start
        if pack.utterances and (not self.settings.joined or samples > JOINED_S * self.settings.rate):
            self._close_pack()
            pack = self._pack
        pack.utterances.append(closed)
        offset = 2 * (closed.start - self._buffer_start)
        pack.audio += self._buffer[offset : offset + 2 * (closed.end - closed.start)]
        pack.arrived = arrived
        if not self.settings.joined:
            self._close_pack()

    def _close_pack(self) -> None:
        pack, self._pack = self._pack, _Pack()
        if not pack.utterances or pack.utterances[-1].number < self._skip:
            return
        whole = _Open(self._window(tuple(pack.utterances), bytes(pack.audio)), pack.arrived)
        if pack.utterances[0].number < self._skip:  # a part of it is stored: it had been taken apart
            self._open += [part for part in self._parts(whole) if part.window.utterances[0].number >= self._skip]
        else:
            self._open.append(whole)

    def _window(self, utterances: tuple[Closed, ...], audio: bytes) -> Window:
        return Window(utterances, audio, None, self.settings.words, pieces=self.settings.joined)

    def _take_apart(self, one: _Open) -> None:
        """Put a window for each of its utterances in the place of one for all of them."""
        at = self._open.index(one)
        self._open.remove(one)
        for part in reversed(self._parts(one)):
            self._open.insert(at, part)

    def _parts(self, one: _Open) -> list[_Open]:
        """A window for each utterance of one."""
        parts, begin = [], 0
        for utterance in one.window.utterances:
            end = begin + 2 * (utterance.end - utterance.start)
            parts.append(_Open(self._window((utterance,), one.window.audio[begin:end]), one.arrived))
            begin = end
        return parts

    def _send(self) -> Iterator[Decode]:
        """Windows for the engine. While the language is not known they go one by one, so that whichever answer comes
        first, it is the first window that decides.
        """
        for one in self._open:
            if not one.sent:
                window = one.window = Window(
                    one.window.utterances, one.window.audio, self.language, one.window.words, one.window.pieces
                )
                one.sent = True
                yield Decode(window)
            if self.language is None and not one.decided:
                return

    def _find(self, window: Window) -> _Open:
        return next(one for one in self._open if one.window is window)

    def _judge(self, window: Window, heard: Heard) -> Verdict:
        return self.guard.judge(
            heard.text,
            avg_logprob=heard.avg_logprob,
            no_speech_prob=heard.no_speech_prob,
            spoken_s=sum(utterance.spoken for utterance in window.utterances) / self.settings.rate,
            voice_s=heard.voice_s,
        )

    def _trim(self) -> None:
        needed = min(self._endpoint.needed_from, self._now)
        if needed - self._buffer_start > self.settings.rate:
            del self._buffer[: 2 * (needed - self._buffer_start)]
            self._buffer_start = needed

    # --- segments -----------------------------------------------------------------------------------------

    def _keep(self) -> Iterator[Keep]:
        while self._open and self._open[0].decided:
            one = self._open.popleft()
            pieces = tuple(self._pieces(one.window, one.heard)) if one.heard is not None else ()
            first, last = self.segment, one.window.utterances[-1]
            self.segment += len(pieces)
            yield Keep(last.end, last.number + 1, first, pieces, one.arrived, one.trouble)

    def _pieces(self, window: Window, heard: Heard) -> Iterator[Piece]:
        if not heard.text:
            return
        clock = _Clock(window.utterances, self.settings.rate)
        words = deque(heard.words or ())
        confidence = round(min(1.0, math.exp(heard.avg_logprob)), 3)
        latest = 0.0
        for piece in heard.pieces or [HeardPiece(start=0.0, end=math.inf, text=heard.text)]:
            # Not before the piece before it, and never without length, whatever times a model gives.
            start = max(latest, clock.begin(piece.start))
            end = latest = max(clock.end(piece.end), round(start + 0.02, 3))
            mine = list(_words_of(piece.text, words)) if heard.words is not None else None
            yield Piece(start, end, piece.text, heard.language, confidence, _timed(mine, clock, start, end))


class _Clock:
    """Seconds in a window to seconds in the recording: the silence between utterances was left out."""

    def __init__(self, utterances: tuple[Closed, ...], rate: int) -> None:
        self._utterances = utterances
        self._rate = rate
        self._begins = [0.0]
        for utterance in utterances:
            self._begins.append(self._begins[-1] + (utterance.end - utterance.start) / rate)

    def at(self, time: float, *, last: bool) -> tuple[Closed, float]:
        """The utterance at a time of the window, and the time of the recording; on a border the `last` or the next."""
        place = bisect_right(self._begins, time - 1e-6 if last else time + 1e-6) - 1
        utterance = self._utterances[min(max(place, 0), len(self._utterances) - 1)]
        begin = self._begins[min(max(place, 0), len(self._utterances) - 1)]
        moment = utterance.start / self._rate + max(0.0, time - begin)
        return utterance, min(moment, utterance.end / self._rate)

    def begin(self, time: float) -> float:
        """When a piece begins that the window has at `time`: not before speech was seen."""
        utterance, moment = self.at(time, last=False)
        return round(max(moment, utterance.onset / self._rate), 3)

    def end(self, time: float) -> float:
        """When a piece ends that the window has end at `time`."""
        return round(self.at(time, last=True)[1], 3)


def _words_of(text: str, words: deque[HeardWord]) -> Iterator[HeardWord]:
    """The next words, as many as make up the text."""
    letters = len("".join(text.split()))
    while words and letters > 0:
        letters -= len("".join(words[0].word.split()))
        yield words.popleft()


def _timed(words: list[HeardWord] | None, clock: _Clock, start: float, end: float) -> list[Word] | None:
    """The words on the recording's clock, within their segment: alignment gives silence to the word beside it."""
    if words is None:
        return None

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


def _silent(heard: Heard) -> Heard:
    return Heard(
        text="", language=heard.language, language_probability=0.0, avg_logprob=heard.avg_logprob,
        no_speech_prob=heard.no_speech_prob,
    )  # fmt: skip
