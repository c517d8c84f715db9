"""Print a session's events as they happen, for people or for programs.

In: events in order. Out: finished lines (or JSON) on standard output; the sentence that is still being spoken, redrawn
in one line, on a terminal's standard error; warnings there too. This module asks the daemon for nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from convo.messages import (
    AudioAck,
    Event,
    FinalSummary,
    RollingSummary,
    SegmentCorrected,
    SessionState,
    SessionWarning,
    SpeakerLabel,
    SpeakerRenamed,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convo.vocabulary import Vocabulary

from .errors import Exit, Problem, failed
from .output import Lines, colours, json_line, note, on_screen
from .summaries import DIM, PLAIN, Preview, summary_for_output
from .text import clean, clock, tail


class Interim:
    """The line at the bottom of a terminal that is redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dim, self._plain = (DIM, PLAIN) if colours(stream) else ("", "")
        self._shown = False

    def draw(self, stamp: str, stable: str, tentative: str) -> None:
        """Show the sentence so far: its end, if it is longer than the line; words that may change are dim."""
        stable, tentative = clean(stable), clean(tentative)
        text = f"{stable} {tentative}" if stable and tentative else stable or tentative
        if not text:
            return
        line = tail(text, self._columns() - 1 - len(stamp))
        changing = min(len(tentative), len(line))
        kept, rest = line[: len(line) - changing], line[len(line) - changing :]
        self._write(f"\r{stamp}{kept}{self._dim}{rest}{self._plain}\x1b[K")
        self._shown = True

    def erase(self) -> None:
        """Clear the line for what is printed next."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _columns(self) -> int:
        try:
            return max(20, os.get_terminal_size(self._stream.fileno()).columns)
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal may be gone; the words still go to standard output
            self._stream.write(text)
            self._stream.flush()


class Captions:
    """Shows one session; `outcome` raises what the command ends with. `summary`: print one that comes. `name_of`: what
    a speaker is called, where segments come with labels. `vocabulary`: rules of the session, which the daemon applies
    just behind each segment.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        times: bool = False,
        json: bool = False,
        summary: bool = True,
        name_of: Callable[[int], str] | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self._vocabulary = vocabulary or Vocabulary([])
        self._name_of = name_of
        self._names: dict[int, str] = {}
        self._unlabelled: TranscriptSegment | None = None
        self._lines = lines
        self._times = times
        self._json = json
        self._summary = summary
        self._interim = Interim(sys.stderr) if on_screen(sys.stderr) and not json else None
        self._spoken = 0
        self._starts: dict[int, float] = {}
        self._texts: dict[int, str] = {}
        self._preview = Preview(self._interim)
        self.state: SessionState | None = None

    @property
    def wants_interims(self) -> bool:
        """Whether interim captions are shown at all."""
        return self._json or self._interim is not None

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, SessionState):
            self.state = event
        if self._unlabelled is not None and not isinstance(event, SpeakerLabel | TranscriptPartial | AudioAck):
            self._say(self._unlabelled)
        if self._json:
            if not isinstance(event, AudioAck):
                self._lines.put(json_line(event))
            return
        match event:
            case TranscriptPartial() if self._interim is not None:
                self._interim.draw(self._stamp(event.start), event.stable, event.tentative)
            case TranscriptSegment() if clean(event.text):
                self._starts[event.segment] = event.start
                if self._name_of is None:
                    self._say(event)
                else:
                    self._unlabelled = event  # its label is the next event
            case SegmentCorrected() if clean(event.text) != self._texts.get(event.segment):
                self._texts[event.segment] = clean(event.text)
                at = clock(self._starts.get(event.segment, 0.0))
                self.note(f"Corrected at {at}: {clean(event.text) or '(nothing was said)'}")
            case SpeakerRenamed() if self._name_of is not None:
                self._names[event.speaker] = event.name
            case SpeakerLabel() if self._unlabelled is not None and self._unlabelled.segment == event.segment:
                self._say(self._unlabelled, event.speaker)
            case FinalSummary() if self._summary:
                gap = "\n" if self._spoken else ""
                self._print(gap + summary_for_output(event, self._starts))
            case RollingSummary() if self._summary and clean(event.summary):
                self.note(f"So far: {clean(event.summary)}")
            case SummaryDelta() if self.state is not None and self.state.state is State.TRANSCRIBED:
                self._preview.show(event)  # before that, the line belongs to what is being said
            case SessionWarning():
                self.note(event.message)

    def _say(self, event: TranscriptSegment, speaker: int | None = None) -> None:
        name = "" if speaker is None or self._name_of is None else f"{self._called(speaker)}: "
        self._unlabelled = None
        text = self._texts[event.segment] = self._vocabulary.apply(clean(event.text))
        if text:
            self._print(f"{self._stamp(event.start)}{name}{text}\n")
            self._spoken += 1

    def _called(self, speaker: int) -> str:
        assert self._name_of is not None
        return clean(self._names.get(speaker) or self._name_of(speaker))

    def note(self, sentence: str) -> None:
        """Print a sentence on standard error, and not into the line that is being redrawn."""
        self.erase()
        note(sentence)

    def erase(self) -> None:
        """Clear the interim caption."""
        if self._interim is not None:
            self._interim.erase()

    def outcome(self) -> None:
        """Raise Problem if the session failed or was cancelled."""
        self.erase()
        if self.state is None:
            return
        if self.state.state is State.FAILED:
            raise failed(self.state.code, self.state.message)
        if self.state.state is State.CANCELLED:
            raise Problem(Exit.FAILED, "The session was cancelled; what was transcribed is kept.")

    def _print(self, text: str) -> None:
        self.erase()
        self._lines.put(text)

    def _stamp(self, start: float) -> str:
        return f"{clock(start)}  " if self._times else ""
