"""The rows of a transcript: paragraphs and the current sentence, wrapped to a width, and which line stands where.

In: a `SessionModel` that others change, a width in terminal cells. Out: rows, lines, places in texts. Nothing here
draws or scrolls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convo.text import width

from .layout import Layout, spans
from .paragraphs import Flow, Paragraphs, joint
from .session import SessionModel


@dataclass(frozen=True, slots=True)
class Tail:
    """What ends in the current sentence: it alone, or the last paragraph with it, without empty rows above."""

    flow: Flow | None
    text: str
    rows: Sequence[tuple[int, int]]
    said: int  # where the current sentence begins in the text
    stable: int  # where its stable words end
    lead: int


class Place(NamedTuple):
    """What stands in a row: a paragraph's lines (None: none, or the current sentence alone), its text and its rows, and
    which of these it is; negative above the first of them.
    """

    flow: Flow | None
    text: str
    rows: Sequence[tuple[int, int]]
    within: int


class Page:
    """All rows of `model`; call `extend` after a change. `tail` is None while nobody speaks."""

    def __init__(self, model: SessionModel) -> None:
        self.model = model
        self.tail: Tail | None = None
        self.paragraphs = Paragraphs(model.lines)
        self.layout = Layout(self.paragraphs.text, self.paragraphs.lead)

    def reread(self) -> None:
        """Forget the rows of lines that read otherwise now or have another speaker, and of what follows them."""
        self.layout.truncate(self.paragraphs.reread())

    def extend(self) -> None:
        """Lay out new lines and the current sentence, which flows on in the last paragraph unless a pause ended it."""
        paragraphs, layout, partial = self.paragraphs, self.layout, self.model.partial
        layout.truncate(paragraphs.extend())
        count = len(paragraphs)
        self.tail = None
        if partial is not None:
            flows = paragraphs.takes(partial)
            count -= flows
            layout.truncate(count)
            flow = paragraphs.flow(count) if flows else None
            before = flow.text if flow is not None else ""
            said = f"{partial.stable} {partial.tentative}".strip()
            text = before + joint(before, said) + said
            at = len(text) - len(said)
            lead = paragraphs.lead(count) if flows else int(bool(count))
            self.tail = Tail(flow, text, spans(text, layout.width), at, at + len(partial.stable), lead)
        layout.extend(count)

    @property
    def height(self) -> int:
        """The rows of all text."""
        return self.layout.height + (self.tail.lead + len(self.tail.rows) if self.tail is not None else 0)

    def place(self, row: int) -> Place:
        """What stands in a row."""
        if row < self.layout.height:
            index, within = self.layout.at(row)
            flow = self.paragraphs.flow(index)
            return Place(flow, flow.text, self.layout.rows(index), within)
        tail = self.tail
        if tail is None or row >= self.height:
            return Place(None, "", (), -1)
        return Place(tail.flow, tail.text, tail.rows, row - self.layout.height - tail.lead)

    def tail_at(self, row: int) -> Tail | None:
        """What ends in the current sentence, if the row is of it."""
        return self.tail if row >= self.layout.height else None

    def line_at(self, row: int, column: int = 0) -> int:
        """The line at a row and a cell of its text; the last one below all lines."""
        flow, text, rows, within = self.place(max(0, row))
        if flow is None:
            return len(self.model.lines) - 1
        start, end = rows[max(0, within)]
        return min(flow.line_at(start + chars(text[start:end], column)), len(self.model.lines) - 1)

    def rows_of(self, line: int) -> tuple[int, int]:
        """The first row of a line, and the one after its last."""
        index = self.paragraphs.of(line)
        flow = self.paragraphs.flow(index)
        if index < self.layout.count:
            top, rows = self.layout.start(index), self.layout.rows(index)
        else:
            assert self.tail is not None
            top, rows = self.layout.height + self.tail.lead, list(self.tail.rows)
        start, end = flow.span(line)
        starts = [row[0] for row in rows]
        first = max(0, bisect_left(starts, start + 1) - 1)
        last = max(first, bisect_left(starts, end) - 1)
        return top + first, top + last + 1


def lines_in(flow: Flow | None, start: int, end: int) -> range:
    """The lines that have text between two places; none where only the current sentence has."""
    if flow is None or start >= flow.bounds[-1]:
        return range(0)
    return range(flow.line_at(start), flow.line_at(max(start, end - 1)) + 1)


def chars(text: str, cells: int) -> int:
    """The number of characters that begin in the first `cells` cells of a text."""
    if text.isascii():
        return max(0, min(len(text), cells))
    at = 0
    for place, char in enumerate(text):
        if at >= cells:
            return place
        at += width(char)
    return len(text)
