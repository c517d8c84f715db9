"""Groups lines into paragraphs: what a breath cut flows on, until a pause, another speaker, or enough of it.

In: the lines of a session, which get more, and read otherwise later. Out: the text of each paragraph, and where its
lines begin in it. A hidden line takes no room: what surrounds it flows on. Nothing here draws.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .layout import UNSPACED
from .session import Line, Partial, is_turn

LONG = 120
"""Characters from which on the end of a sentence ends a paragraph, so that times are not far apart; at three times as
many any line does."""

_ENDS = tuple(".!?…。！？؟۔।॥")
_CLOSERS = "\"')]}»”’」』）】"
_KEPT = 64  # paragraphs whose text is cached


@dataclass(frozen=True, slots=True)
class Flow:
    """The text of a paragraph; `bounds` are where its lines begin in it, and where the text ends. `head` is the first
    of them that is seen.
    """

    first: int
    head: int
    text: str
    bounds: tuple[int, ...]

    def line_at(self, place: int) -> int:
        """The line of a character."""
        return self.first + max(0, min(bisect_right(self.bounds, place) - 1, len(self.bounds) - 2))

    def span(self, line: int) -> tuple[int, int]:
        """Where a line's text starts and ends."""
        start, end = self.bounds[line - self.first], self.bounds[line - self.first + 1]
        return start, start + len(self.text[start:end].rstrip())


class Paragraphs:
    """The paragraphs of `lines`, a list that others change; call `extend` or `reread` after that."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines
        self._firsts: list[int] = []
        self._taken: list[Line] = []
        self._length = 0  # characters of the last paragraph
        self._before: int | None = None  # the last line that is seen
        self._known: dict[int, Flow] = {}

    def __len__(self) -> int:
        return len(self._firsts)

    def extend(self) -> int:
        """Take new lines. Returns the first paragraph that is new or changed."""
        changed = len(self)
        for at in range(len(self._taken), len(self._lines)):
            line = self._lines[at]
            if self._firsts and (not line.text or self._flows_on(line.start, line.speaker)):
                changed = min(changed, len(self) - 1)
            else:
                self._firsts.append(at)
                self._length = 0
            if line.text:
                self._length += len(line.text) + 1
                self._before = at
            self._taken.append(line)
        for index in [index for index in self._known if index >= changed]:
            del self._known[index]
        return changed

    def reread(self) -> int:
        """Take new lines, and those that read otherwise now. Returns the first paragraph that is new or changed."""
        pairs = enumerate(zip(self._taken, self._lines, strict=False))
        changed = next((at for at, (before, now) in pairs if before is not now), None)
        if changed is None:
            return self.extend()
        # The paragraph before may go on now: it is read again, too.
        index = max(0, self.of(changed) - 1)
        taken = self._taken[: self._firsts[index]]
        self._firsts[index:] = []
        self._before = self._seen_before(len(taken))
        self._length = sum(len(line.text) + 1 for line in taken[self._firsts[-1] :] if line.text) if index else 0
        self._taken = taken
        return min(index, self.extend())

    def _seen_before(self, line: int) -> int | None:
        return next((at for at in range(line - 1, -1, -1) if self._lines[at].text), None)

    def _flows_on(self, start: float, speaker: int | None) -> bool:
        """Whether something that is seen flows on in the last paragraph."""
        if self._before is None:  # all before it is hidden
            return True
        before = self._lines[self._before]
        if _pauses(self._taken[self._before :], start) or speaker != before.speaker or self._length > 3 * LONG:
            return False
        return self._length <= LONG or not _ends_sentence(before.text)

    def takes(self, partial: Partial) -> bool:
        """Whether the current sentence flows on in the last paragraph."""
        if self._before is None:
            return False
        return self._flows_on(partial.start, self._lines[self._before].speaker)

    def of(self, line: int) -> int:
        """The paragraph of a line."""
        return bisect_right(self._firsts, line) - 1

    def lead(self, index: int) -> int:
        """The number of empty rows above a paragraph: none above one that is only there because of its length."""
        if not index:
            return 0
        first = self._firsts[index]
        before = self._seen_before(first)
        assert before is not None
        line = self._lines[first]
        return int(self._lines[before].speaker != line.speaker or _pauses(self._lines[before:first], line.start))

    def flow(self, index: int) -> Flow:
        """The text of a paragraph."""
        flow = self._known.get(index)
        if flow is None:
            first = self._firsts[index]
            last = self._firsts[index + 1] if index + 1 < len(self) else len(self._taken)
            text, bounds = "", []
            for at in range(first, last):
                text += joint(text, self._lines[at].text)
                bounds.append(len(text))
                text += self._lines[at].text
            head = next((at for at in range(first, last) if self._lines[at].text), first)
            flow = Flow(first, head, text, (*bounds, len(text)))
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[index] = flow
        return flow

    def text(self, index: int) -> str:
        """The text of a paragraph."""
        return self.flow(index).text

    def joined(self, first: int, last: int, speakers: Mapping[int, str]) -> str:
        """The text of lines `first` to `last`: a row per paragraph, with the names of speakers if there are several."""
        several = len({line.speaker for line in self._lines[first : last + 1] if line.text}) > 1
        rows: list[str] = []
        before: int | None = None
        for index in range(self.of(first), self.of(last) + 1):
            flow = self.flow(index)
            start = flow.span(max(first, flow.first))[0]
            end = flow.span(min(last, flow.first + len(flow.bounds) - 2))[1]
            speaker = self._lines[flow.head].speaker
            if start < end:
                name = f"{speakers[speaker]}: " if several and speaker is not None and speaker != before else ""
                rows.append(name + flow.text[start:end])
                before = speaker
        return "\n".join(rows)


def joint(before: str, after: str) -> str:
    """What goes between two pieces of text: a space, but none in scripts that are written without."""
    if not before or not after or (_is_unspaced(before[-1]) and _is_unspaced(after[0])):
        return ""
    return " "


def _is_unspaced(char: str) -> bool:
    return any(low <= char <= high for low, high in UNSPACED) or (
        unicodedata.east_asian_width(char) in "WF" and unicodedata.category(char).startswith("P")
    )


def _pauses(lines: Sequence[Line], start: float) -> bool:
    """Whether there is a pause within lines or behind them, before something that starts at `start`."""
    starts = [*(line.start for line in lines[1:]), start]
    return any(is_turn(line, begins) for line, begins in zip(lines, starts, strict=True))


def _ends_sentence(text: str) -> bool:
    return text.rstrip(_CLOSERS).endswith(_ENDS)
