"""A session as a screen shows it: lines, the current sentence, marks, summary, state, lag.

In: the session's events, in order. Out: plain values, and which of them an event changed. All text is cleaned on the
way in; invalid times become 0. Nothing here draws, or asks the daemon.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from math import isfinite

from convo.messages import (
    ActionItem,
    AudioAck,
    Bookmark,
    DurableEvent,
    Event,
    FinalSummary,
    Label,
    Mark,
    Progress,
    RollingSummary,
    Segment,
    SegmentCorrected,
    SessionInfo,
    SessionRenamed,
    SessionState,
    SessionWarning,
    Speaker,
    SpeakerLabel,
    SpeakerRenamed,
    SpeakersMerged,
    SpeakersRevised,
    SpeechEnded,
    SpeechStarted,
    State,
    Summary,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)
from convo.text import clean, clean_lines
from convo.transcript import place_of

TURN_S = 1.5
"""A pause this long starts a new turn: silence says that somebody stopped, where nothing tells who speaks."""

DOUBTFUL = 0.5
"""Words, lines and labels of speakers of less confidence than this are in doubt."""

_LONGEST_DELTA = 1 << 16  # characters of an unfinished summary
_MOST_WARNINGS = 50
_MOST_SUMMARIES = 100  # final ones, to page through


class Change(Flag):
    """What an event changed on the screen."""

    NOTHING = 0
    LINES = auto()
    PARTIAL = auto()
    SPEECH = auto()
    SUMMARY = auto()
    STATE = auto()
    TITLE = auto()
    MARKS = auto()
    WARNING = auto()
    PROGRESS = auto()
    TEXTS = auto()
    SPEAKERS = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """A finished segment as it reads now, empty if it was hidden; `original`: what was heard, if it was corrected.
    `speaker` is a number, None while nobody is named; `sure`: that it is this one.

    `doubts` are the places in its text of words that the model was not sure of; without words, the whole text is one.
    """

    number: int
    start: float
    end: float
    text: str
    speaker: int | None = None
    sure: bool = True
    original: str | None = None
    doubts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Partial:
    """The current, unfinished sentence."""

    number: int
    start: float
    end: float
    stable: str
    tentative: str


@dataclass(frozen=True, slots=True)
class Item:
    """A key point or action item; `sources` are the segments that support it, None if unknown."""

    text: str
    sources: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class SummaryText:
    """A summary ready to show. Each of `sections` is a heading and its text; `created` is in Unix seconds."""

    title: str
    text: str
    key_points: tuple[Item, ...]
    action_items: tuple[Item, ...]
    keywords: tuple[str, ...]
    source: str
    final: bool
    sections: tuple[tuple[str, str], ...] = ()
    unverified: tuple[str, ...] = ()
    style: str = ""
    created: float | None = None


@dataclass
class SessionModel:
    """Everything that a screen shows of one session."""

    session: str = ""
    kind: str = "live"
    title: str = ""
    created: float | None = None
    state: State | None = None
    failure: str = ""
    lines: list[Line] = field(default_factory=list)
    words: int = 0  # in all lines
    partial: Partial | None = None
    speaking: bool = False
    duration_s: float = 0.0
    stored_bytes: int = 0
    lag_ms: float | None = None
    summary: SummaryText | None = None
    summaries: list[SummaryText] = field(default_factory=list)  # the final ones, oldest first
    writing: str = ""
    marks: list[Bookmark] = field(default_factory=list)  # in order of time
    warnings: list[str] = field(default_factory=list)
    speakers: dict[int, str] = field(default_factory=dict)  # names by number, in the order in which they first spoke
    seq: int = 0

    @classmethod
    def of(cls, info: SessionInfo) -> SessionModel:
        """A model with what a list knows of a session."""
        return cls(
            session=info.session,
            kind=info.kind,
            title=clean(info.title),
            created=info.created,
            state=info.state,
            duration_s=_time(info.duration_s),
        )

    @property
    def name(self) -> str:
        """The name to show: its title, its summary's title, or the start of its id."""
        return self.title or (self.summary.title if self.summary else "") or self.session[:8]

    @property
    def over(self) -> bool:
        """Whether the session is in a final state."""
        return self.state is not None and self.state.final

    @property
    def summing_up(self) -> bool:
        """Whether the final summary is being written."""
        return self.state is State.TRANSCRIBED

    def apply(self, event: Event) -> Change:
        """Apply an event and return what changed. A stored event seen before changes nothing."""
        if isinstance(event, DurableEvent):
            if event.seq <= self.seq:
                return Change.NOTHING
            self.seq = event.seq
        match event:
            case TranscriptSegment():
                return self._segment(event)
            case TranscriptPartial():
                return self._partial(event)
            case SegmentCorrected():
                return self._correct(event)
            case SpeakerLabel():
                return self._label([event])
            case SpeakersRevised():
                return self._label(event.labels)
            case SpeakersMerged():
                return self._merge(event)
            case SpeakerRenamed():
                return self.name_speakers([Speaker(speaker=event.speaker, name=event.name)])
            case SpeechStarted() | SpeechEnded():
                self.speaking = isinstance(event, SpeechStarted)
                self._reached(event.time)
                return Change.SPEECH
            case AudioAck():
                self.stored_bytes = max(self.stored_bytes, event.offset)
                return Change.NOTHING
            case SessionState():
                return self._state(event)
            case SummaryDelta():
                before = "" if event.restart else self.writing
                self.writing = (before + clean_lines(event.text))[-_LONGEST_DELTA:]
                return Change.SUMMARY
            case RollingSummary() | FinalSummary():
                self.summary = summary_text(event, final=isinstance(event, FinalSummary))
                if self.summary.final:
                    self.summaries = [*self.summaries, self.summary][-_MOST_SUMMARIES:]
                self.writing = ""
                return Change.SUMMARY | Change.TITLE
            case Progress():
                self._reached(event.done_s)
                return Change.PROGRESS
            case SessionRenamed():
                self.title = clean(event.title)
                return Change.TITLE
            case Mark():
                mark = Bookmark(time=_time(event.time), text=clean(event.text))
                insort(self.marks, mark, key=lambda each: each.time)
                return Change.MARKS
            case SessionWarning():
                self.warnings = [*self.warnings, clean(event.message)][-_MOST_WARNINGS:]
                return Change.WARNING
        return Change.NOTHING

    def marked(self, line: int) -> bool:
        """Whether a line has a mark."""
        return bool(self.marks_of(line))

    def marks_of(self, line: int) -> list[Bookmark]:
        """The marks set during a line or in the pause before it, where hidden lines may be; the last line also has
        those after it.
        """
        if not self.marks or not 0 <= line < len(self.lines) or not self.lines[line].text:
            return []
        before = line - 1
        while before >= 0 and not self.lines[before].text:
            before -= 1
        begins = self.lines[before].end if before >= 0 else -1.0
        last = self.over and not any(self.lines[at].text for at in range(line + 1, len(self.lines)))
        ends = float("inf") if last else self.lines[line].end
        first = bisect_right(self.marks, begins, key=lambda mark: mark.time)
        return self.marks[first : bisect_right(self.marks, ends, key=lambda mark: mark.time)]

    def line_of(self, mark: Bookmark) -> int:
        """The line that a mark belongs to (the last if it lies after it); -1 if there are no lines."""
        at = min(place_of(mark.time, self.lines), len(self.lines) - 1)
        return next((seen for seen in range(max(0, at), len(self.lines)) if self.lines[seen].text), at)

    @property
    def mark_ahead(self) -> bool:
        """Whether a mark belongs to the current sentence."""
        return bool(self.marks) and (not self.lines or self.marks[-1].time > self.lines[-1].end)

    def name_speakers(self, speakers: Iterable[Speaker]) -> Change:
        """Call speakers by their names."""
        self.speakers.update({each.speaker: clean(each.name) or f"Speaker {each.speaker}" for each in speakers})
        return Change.SPEAKERS

    def said_at(self, number: int) -> float | None:
        """When a segment starts, in seconds; None if there is no such segment."""
        at = bisect_left(self.lines, number, key=lambda line: line.number)
        return self.lines[at].start if at < len(self.lines) and self.lines[at].number == number else None

    # --- events -------------------------------------------------------------------------------------------

    def _segment(self, event: TranscriptSegment | Segment) -> Change:
        if self.lines and event.segment <= self.lines[-1].number:
            return Change.NOTHING
        start, end = _time(event.start), _time(event.end)
        text = clean(event.text)
        self.lines.append(Line(event.segment, start, max(start, end), text, doubts=doubts(text, event)))
        self.words += len(text.split())
        self._reached(end)
        change = Change.LINES
        if isinstance(event, TranscriptSegment):
            self.lag_ms = max(0.0, event.lag_ms) if isfinite(event.lag_ms) else None
        if self.partial is not None and self.partial.number <= event.segment:
            self.partial = None
            change |= Change.PARTIAL
        return change

    def _correct(self, event: SegmentCorrected) -> Change:
        at = bisect_left(self.lines, event.segment, key=lambda line: line.number)
        if at == len(self.lines) or self.lines[at].number != event.segment:
            return Change.NOTHING
        line, text = self.lines[at], clean(event.text)
        self.words += len(text.split()) - len(line.text.split())
        original = line.text if line.original is None else line.original
        self.lines[at] = replace(line, text=text, original=original, doubts=())  # whoever corrects is sure
        return Change.TEXTS

    def _label(self, labels: Iterable[SpeakerLabel | Label]) -> Change:
        change = Change.NOTHING
        for label in labels:
            at = bisect_left(self.lines, label.segment, key=lambda line: line.number)
            if at == len(self.lines) or self.lines[at].number != label.segment:
                continue
            self._met(label.speaker)
            line = replace(self.lines[at], speaker=label.speaker, sure=label.confidence >= DOUBTFUL)
            if line != self.lines[at]:
                self.lines[at] = line
                change |= Change.SPEAKERS
        return change

    def _merge(self, event: SpeakersMerged) -> Change:
        self._met(event.into)
        for at, line in enumerate(self.lines):
            if line.speaker == event.speaker:
                self.lines[at] = replace(line, speaker=event.into)
        return Change.SPEAKERS

    def _met(self, speaker: int) -> None:
        self.speakers.setdefault(speaker, f"Speaker {speaker}")

    def _partial(self, event: TranscriptPartial) -> Change:
        if self.lines and event.segment <= self.lines[-1].number:
            return Change.NOTHING
        partial = Partial(
            event.segment, _time(event.start), _time(event.end), clean(event.stable), clean(event.tentative)
        )
        self._reached(partial.end)
        if partial == self.partial:
            return Change.NOTHING
        self.partial = partial
        return Change.PARTIAL

    def _state(self, event: SessionState) -> Change:
        self.state = event.state
        self.failure = clean(event.message or event.code or "") if event.state is State.FAILED else ""
        change = Change.STATE
        if event.state not in (State.PENDING, State.PROCESSING):
            self.speaking = False
            if self.partial is not None:
                self.partial = None
                change |= Change.PARTIAL
        return change

    def _reached(self, at: float) -> None:
        self.duration_s = max(self.duration_s, _time(at))


def is_turn(before: Line, start: float) -> bool:
    """Whether what starts at `start` follows a line after a pause."""
    return start - before.end >= TURN_S


def doubts(text: str, segment: Segment | TranscriptSegment) -> tuple[tuple[int, int], ...]:
    """The places of words of low confidence in a cleaned text; the whole text if only its own confidence is known."""
    if not segment.words:
        return ((0, len(text)),) if text and segment.confidence < DOUBTFUL else ()
    found: list[tuple[int, int]] = []
    at = 0
    for word in segment.words:
        said = clean(word.word)
        place = text.find(said, at) if said else -1
        if place < 0:
            continue
        at = place + len(said)
        if word.confidence < DOUBTFUL:
            if found and not text[found[-1][1] : place].strip():
                found[-1] = (found[-1][0], at)
            else:
                found.append((place, at))
    return tuple(found)


def summary_text(summary: Summary | RollingSummary | FinalSummary, *, final: bool = True) -> SummaryText:
    """A cleaned summary, with action items as sentences."""
    cited = summary.key_point_sources or []
    points = [
        Item(clean(point), tuple(cited[place]) if place < len(cited) else None)
        for place, point in enumerate(summary.key_points)
    ]
    sections = [(clean(section.label), clean_lines(section.text).strip()) for section in summary.sections or []]
    return SummaryText(
        title=clean(summary.title),
        text=clean_lines(summary.summary).strip(),
        key_points=tuple(item for item in points if item.text),
        action_items=tuple(item for item in map(_task, summary.action_items) if item.text),
        keywords=tuple(filter(None, map(clean, summary.keywords))),
        source=clean(f"{summary.provider} {summary.model}".strip()),
        final=final,
        sections=tuple((label, text) for label, text in sections if text),
        unverified=tuple(filter(None, map(clean, summary.unverified or []))),
        style=clean(summary.origin.style) if summary.origin else "",
        created=summary.origin.created if summary.origin else None,
    )


def _task(item: ActionItem) -> Item:
    about = ", ".join(clean(part) for part in (item.owner, item.due) if part and clean(part))
    text = clean(item.text) + (f" ({about})" if about else "")
    return Item(text, None if item.sources is None else tuple(item.sources))


def _time(seconds: float) -> float:
    return seconds if isfinite(seconds) and 0 <= seconds < 1e8 else 0.0
