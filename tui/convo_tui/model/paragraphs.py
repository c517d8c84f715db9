"""Groups lines into paragraphs: what a breath cut flows on, until a pause, another speaker, or enough of it.

In: the lines of a session, which only ever get more. Out: the text of each paragraph, and where its lines begin in it.
Nothing here draws.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
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
    """The text of a paragraph; `bounds` are where its lines begin in it, and where the text ends."""

    first: int
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
    """The paragraphs of `lines`, a list that others append to; call `extend` after that."""

    def __init__(self, lines: list[Line]) -> None:
        self._lines = lines
        self._firsts: list[int] = []
        self._taken = 0
        self._length = 0  # characters of the last paragraph
        self._known: dict[int, Flow] = {}

    def __len__(self) -> int:
        return len(self._firsts)

    def extend(self) -> int:
        """Take new lines. Returns the first paragraph that is new or changed."""
        changed = len(self)
        for at in range(self._taken, len(self._lines)):
            line = self._lines[at]
            if at and self._flows_on(line, self._lines[at - 1]):
                changed = min(changed, len(self) - 1)
                self._length += len(line.text) + 1
            else:
                self._firsts.append(at)
                self._length = len(line.text)
        self._taken = len(self._lines)
        for index in [index for index in self._known if index >= changed]:
            del self._known[index]
        return changed

    def _flows_on(self, line: Line, before: Line) -> bool:
        if line.turn or line.speaker != before.speaker or self._length >= 3 * LONG:
            return False
        return self._length < LONG or not _ends_sentence(before.text)

    def takes(self, partial: Partial) -> bool:
        """Whether the current sentence flows on in the last paragraph."""
        if not self._taken:
            return False
        before = self._lines[self._taken - 1]
        follows = Line(partial.number, partial.start, partial.end, "", is_turn(before, partial.start), before.speaker)
        return self._flows_on(follows, before)

    def of(self, line: int) -> int:
        """The paragraph of a line."""
        return bisect_right(self._firsts, line) - 1

    def lead(self, index: int) -> int:
        """The number of empty rows above a paragraph: none above one that is only there because of its length."""
        first = self._firsts[index]
        if not first:
            return 0
        return int(self._lines[first].turn or self._lines[first].speaker != self._lines[first - 1].speaker)

    def flow(self, index: int) -> Flow:
        """The text of a paragraph."""
        flow = self._known.get(index)
        if flow is None:
            last = self._firsts[index + 1] if index + 1 < len(self) else self._taken
            text, bounds = "", []
            for at in range(self._firsts[index], last):
                text += joint(text, self._lines[at].text)
                bounds.append(len(text))
                text += self._lines[at].text
            flow = Flow(self._firsts[index], text, (*bounds, len(text)))
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[index] = flow
        return flow

    def text(self, index: int) -> str:
        """The text of a paragraph."""
        return self.flow(index).text

    def joined(self, first: int, last: int) -> str:
        """The text of lines `first` to `last`: a row per paragraph."""
        rows: list[str] = []
        for index in range(self.of(first), self.of(last) + 1):
            flow = self.flow(index)
            start = flow.span(max(first, flow.first))[0]
            end = flow.span(min(last, flow.first + len(flow.bounds) - 2))[1]
            rows.append(flow.text[start:end])
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


def _ends_sentence(text: str) -> bool:
    return text.rstrip(_CLOSERS).endswith(_ENDS)
