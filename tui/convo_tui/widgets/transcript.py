"""A transcript of any length: paragraphs, the current sentence, times, speakers, marks, a passage, hits, doubts.

In: a `SessionModel` that others change. Out: the rows in view (only those are ever drawn), `Behind` when new lines come
below them, `MarkWanted` and `NameWanted` when the margin is clicked. It follows the end until the user scrolls up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from ..glyphs import UNICODE, Glyphs
from ..model.page import Page, Tail, chars, lines_in
from ..model.paragraphs import Flow
from ..model.session import SessionModel
from ..model.speakers import COLOURS
from .margin import SIGNS, Margin
from .status import cut

_MEASURE = 88
"""The most cells of a row: longer ones are hard to read."""

_HANG = 2  # cells by which a paragraph's rows are indented below its first, where no times do that


class TranscriptView(ScrollView, can_focus=True):
    """Draws `model`; call `refresh_model` after a change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--final",
        "transcript--stable",
        "transcript--tentative",
        "transcript--time",
        "transcript--mark",
        "transcript--cursor",
        "transcript--hit",
        "transcript--caret",
        "transcript--doubt",
        "transcript--unsure",
        *(f"transcript--speaker-{number}" for number in range(1, COLOURS + 1)),
    }

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False),
        Binding("down", "scroll_down", "Down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home,g", "scroll_home", "Beginning", tooltip="Go to the first line", show=False),
        Binding("end,G", "follow", "Newest", tooltip="Go to the newest line and follow", show=False),
        Binding("k", "select(-1)", "Select the sentence above", show=False),
        Binding("j", "select(1)", "Select the sentence below", show=False),
        Binding("K,shift+up", "select(-1, True)", "Extend the selection up", show=False),
        Binding("J,shift+down", "select(1, True)", "Extend the selection down", show=False),
        Binding("left_curly_bracket", "jump_mark(-1)", "Previous mark", tooltip="Go to the previous mark", show=False),
        Binding("right_curly_bracket", "jump_mark(1)", "Next mark", tooltip="Go to the next mark", show=False),
    ]

    times: reactive[bool] = reactive(False)
    doubts: reactive[bool] = reactive(False)
    selected: reactive[int | None] = reactive(None)
    facts: reactive[tuple[tuple[str, str], ...]] = reactive(())

    @dataclass
    class Behind(Message):
        """The number of new lines below the view; 0 if the end is in view again."""

        lines: int

        def can_replace(self, message: Message) -> bool:
            """The last number counts."""
            return isinstance(message, TranscriptView.Behind)

    class Selected(Message):
        """Another line was selected."""

    @dataclass
    class MarkWanted(Message):
        """The margin beside a line was clicked."""

        line: int

    @dataclass
    class NameWanted(Message):
        """The name of a speaker was clicked."""

        speaker: int

    def __init__(self, model: SessionModel, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        """With `grounded` set, a short transcript stands at the bottom, so that the newest words stay in one place; the
        empty space above it holds `facts`, a label and a text each.
        """
        super().__init__(id=id)
        self.following = True
        self.grounded = False
        self.needle = ""
        self._glyphs = glyphs
        self._known_styles: dict[str, Style] = {}
        self._take(model)

    # --- what changed -------------------------------------------------------------------------------------

    def _take(self, model: SessionModel) -> None:
        self.model = model
        self.page = Page(model)
        self._anchor: int | None = None  # the other end of a selected passage
        self._seen = 0
        self._margin = Margin(model, self._glyphs, self._style)

    def show(self, model: SessionModel) -> None:
        """Show another model, following its end."""
        self._take(model)
        self.following, self.selected, self.needle = True, None, ""
        self._lay_out()

    def refresh_model(self) -> None:
        """Redraw after a change of the model."""
        self._extend()
        if self.following:
            self._seen = len(self.model.lines)
            self._to_end()
        else:
            self._tell_behind()
        self.refresh()

    def reread(self) -> None:
        """Lay out lines that read otherwise now or have another speaker, and what follows them."""
        self.page.reread()
        self._lay_out()

    @property
    def margin_cells(self) -> int:
        """Width of the margin left of the text, in cells."""
        return self._margin.cells

    @property
    def _hang(self) -> int:
        return 0 if self._margin or self.size.width < 60 else _HANG

    def _recolour(self) -> None:
        self._margin.call_speakers(self.size.width)
        self.refresh()

    def _lay_out(self) -> None:
        if self.size.width == 0:
            return
        self._margin.times = self.times
        self._margin.call_speakers(self.size.width)
        room = self.scrollable_content_region.width - self.margin_cells - 1
        self.page.layout.resize(min(room, _MEASURE) - self._hang)
        self._extend()
        if self.following:
            self._seen = len(self.model.lines)
            self._to_end()
        self.refresh()

    def _extend(self) -> None:
        """Lay out what is new."""
        self.page.extend()
        # One empty row at the end, so that the current sentence does not stick to the edge.
        self.virtual_size = Size(self.scrollable_content_region.width, self.page.height + 1)

    @property
    def _free(self) -> int:
        """The empty rows above a short transcript."""
        return max(0, self.scrollable_content_region.height - self.virtual_size.height) if self.grounded else 0

    def _row_at(self, y: int) -> int:
        """The row of the transcript at a row of the view; negative above the first."""
        return y + round(self.scroll_y) - self._free

    def _to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)

    def _tell_behind(self) -> None:
        self.post_message(self.Behind(len(self.model.lines) - self._seen))

    def on_mount(self) -> None:
        """Hide the horizontal scroll bar."""
        self.show_horizontal_scrollbar = False

    def on_resize(self, event: events.Resize) -> None:
        """Wrap again, with the same line at the top."""
        top = None if self.following or not self.model.lines else self.page.line_at(round(self.scroll_y))
        self._lay_out()
        if top is not None:
            self.scroll_to(y=self.page.rows_of(top)[0], animate=False, force=True, immediate=True)

    def watch_times(self) -> None:
        """Wrap again: the margin has another width."""
        self._lay_out()

    def watch_doubts(self) -> None:
        """Draw the doubts."""
        self.refresh()

    def watch_selected(self) -> None:
        """Draw the selection."""
        self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow the end once it is scrolled to; stop when scrolled away from it."""
        super().watch_scroll_y(old_value, new_value)
        at_end = new_value >= self.max_scroll_y
        if at_end and not self.following:
            self.following = True
            self._seen = len(self.model.lines)
            self._tell_behind()
        elif not at_end and new_value < old_value:
            if self.following:
                self._seen = len(self.model.lines)
            self.following = False

    def notify_style_update(self) -> None:
        """Forget the styles of the old theme."""
        self._known_styles.clear()
        super().notify_style_update()
        self.call_later(self._recolour)

    # --- actions ------------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """Go to the end and follow it."""
        self.following = True
        self._seen = len(self.model.lines)
        self._to_end()
        self._tell_behind()
        self.refresh()

    def action_select(self, step: int, extend: bool = False) -> None:
        """Select the line below or above; with `extend`, the passage up to it."""
        if not self.model.lines:
            return
        if self.selected is None:
            self.go_to(self.page.line_at(round(self.scroll_y)) if not self.following else len(self.model.lines) - 1)
        else:
            anchor, at = self.selected if self._anchor is None else self._anchor, self.selected + step
            while 0 <= at < len(self.model.lines) and not self.model.lines[at].text:  # hidden
                at += step
            self.go_to(at if 0 <= at < len(self.model.lines) else self.selected)
            self._anchor = anchor if extend else None

    def action_jump_mark(self, step: int) -> None:
        """Go to the next or previous mark."""
        marked = sorted({self.model.line_of(mark) for mark in self.model.marks})
        here = self.selected
        if here is None:  # start with the first, or the last
            here = -1 if step > 0 else len(self.model.lines)
        others = [place for place in marked if (place > here if step > 0 else place < here)]
        if others:
            self.go_to(others[0] if step > 0 else others[-1])

    @property
    def passage(self) -> tuple[int, int] | None:
        """The first and last of the selected lines."""
        if self.selected is None or self.selected >= len(self.model.lines):
            return None
        anchor = self.selected if self._anchor is None else self._anchor
        return min(anchor, self.selected), max(anchor, self.selected)

    def text_of(self, first: int, last: int) -> str:
        """The text of lines `first` to `last`, a row per paragraph, and who says it if there are several speakers."""
        return self.page.paragraphs.joined(first, last, self.model.speakers)

    def go_to(self, line: int, *, top: bool = False) -> None:
        """Select a line and scroll it into view."""
        if not self.model.lines:
            return
        line = max(0, min(line, len(self.model.lines) - 1))
        self._extend()
        self._anchor = None
        self.selected = line
        start, end = self.page.rows_of(line)
        height = self.scrollable_content_region.height
        if top or start < self.scroll_y or end > self.scroll_y + height:
            self.following = False
            self._seen = len(self.model.lines)
            target = start - height // 3
            self.scroll_to(y=max(0, min(target, self.max_scroll_y)), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Selected())

    def line_of(self, number: int) -> int:
        """The line of a segment, by its number."""
        return bisect_left(self.model.lines, number, key=lambda line: line.number)

    def find(self, needle: str, step: int = 1) -> tuple[int, int]:
        """Highlight a text, and go to its next or previous line.

        Returns:
            which of the lines with it that is, from 1, and how many there are; zeros if there are none.
        """
        self.needle = needle.casefold()
        self.refresh()
        if not self.needle:
            return 0, 0
        found = [place for place, line in enumerate(self.model.lines) if self.needle in line.text.casefold()]
        if not found:
            return 0, 0
        here = self.selected if self.selected is not None else -1
        if step > 0:
            at = next((at for at, place in enumerate(found) if place > here), 0)
        else:
            at = next((at for at in range(len(found) - 1, -1, -1) if found[at] < here), len(found) - 1)
        self.go_to(found[at])
        return at + 1, len(found)

    def on_click(self, event: events.Click) -> None:
        """Select the clicked line; in the margin, mark it."""
        row = self._row_at(event.y)
        if not self.model.lines or not 0 <= row < self.page.height:
            return
        named = self.margin_cells - self._margin.name_cells
        if named <= event.x < self.margin_cells and (name := self._name_at(row)):
            self.post_message(self.NameWanted(name))
        elif event.x < self.margin_cells:
            self.post_message(self.MarkWanted(self.page.line_at(row)))
        elif not self.text_selection:  # the end of a drag is no click
            anchor = self.selected if self._anchor is None else self._anchor
            self.go_to(self.page.line_at(row, event.x - self.margin_cells))
            self._anchor = anchor if event.shift else None

    # --- drawing ------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draw one row of the view."""
        row = self._row_at(y)
        room = self.size.width
        segments = self._row(row) if row >= 0 else self._fact(y)
        base = self._style("")
        strip = Strip(segments).adjust_cell_length(room, base).apply_style(base)
        selection = self.text_selection
        if selection is not None and (span := selection.get_span(row)) is not None:
            start, end = span
            end = strip.cell_length if end == -1 else end
            marked = self.screen.get_component_rich_style("screen--selection")
            before, inside, behind = strip.divide([start, max(start, end), room])[:3]
            strip = Strip.join(
                [before, Strip([Segment(seg.text, (seg.style or Style()) + marked) for seg in inside]), behind]
            )
        return strip.apply_offsets(0, row)

    def _style(self, name: str) -> Style:
        style = self._known_styles.get(name)
        if style is None:
            # Needed for every row, and slow to compute.
            style = self.get_component_rich_style(f"transcript--{name}") if name else self.rich_style
            self._known_styles[name] = style
        return style

    def _fact(self, y: int) -> list[Segment]:
        """A row of the empty space above the first line."""
        if y >= len(self.facts) or self._free <= len(self.facts):
            return []
        label, text = self.facts[y]
        wide = max(len(label) for label, _ in self.facts) + 2
        said = cut(text, max(1, self.scrollable_content_region.width - SIGNS - wide), self._glyphs.ellipsis)
        return [Segment(" " * SIGNS + label.ljust(wide), self._style("time")), Segment(said, self._style("final"))]

    def _row(self, row: int) -> list[Segment]:
        flow, text, rows, within = self.page.place(row)
        if not 0 <= within < len(rows):
            return []
        start, end = rows[within]
        passage = self.passage
        # Most rows have none of it, and all are drawn at every word.
        lines = lines_in(flow, start, end) if passage is not None or self.model.marks else range(0)
        here = passage is not None and any(passage[0] <= line <= passage[1] for line in lines)
        tail = self.page.tail_at(row)
        # A mark stands at the row in which its line begins.
        marked = any(self.model.marked(line) for line in lines if flow is not None and flow.span(line)[0] >= start)
        if tail is not None and start <= tail.said < max(end, 1):
            marked = marked or self.model.mark_ahead
        time = None
        if within == 0:
            time = self.model.lines[flow.head].start if flow is not None else self._partial_start
        segments = self._margin.row(time, flow if within == 0 else None, marked=marked, here=here)
        if within and self._hang:
            segments.append(Segment(" " * self._hang))
        segments += self._runs(flow, text, start, end, tail)
        if tail is not None and within == len(rows) - 1:
            segments.append(Segment(self._glyphs.caret, self._style("caret")))
        return segments

    @property
    def _partial_start(self) -> float | None:
        return self.model.partial.start if self.model.partial is not None else None

    def _runs(self, flow: Flow | None, text: str, start: int, end: int, tail: Tail | None) -> Iterator[Segment]:
        """The text of a row, cut where its style changes."""
        layers: list[tuple[int, int, Style]] = []
        passage = self.passage
        if flow is not None and (passage is not None or self.doubts or self.needle or self.model.speakers):
            for line in lines_in(flow, start, end):
                at, stop = flow.span(line)
                if not self.model.lines[line].sure:
                    layers.append((at, stop, self._style("unsure")))
                if passage is not None and passage[0] <= line <= passage[1]:
                    # What lies between two lines of a passage belongs to it.
                    layers.append((at, stop + (line < passage[1]), self._style("cursor")))
                if self.doubts:
                    style = self._style("doubt")
                    layers += [(at + first, at + last, style) for first, last in self.model.lines[line].doubts]
                if self.needle:
                    layers += [(at + first, at + last, self._style("hit")) for first, last in self._hits(line)]
        if tail is not None:
            layers.append((tail.said, tail.stable, self._style("stable")))
            layers.append((tail.stable, len(text), self._style("tentative")))
        if not layers:
            yield Segment(text[start:end], self._style("final"))
            return
        places = {start, end}
        for first, last, _ in layers:
            places.update(place for place in (first, last) if start < place < end)
        cuts = sorted(places)
        for at, stop in pairwise(cuts):
            style = self._style("final")
            for first, last, own in layers:
                if first <= at < last:
                    style += own
            yield Segment(text[at:stop], style)

    def _hits(self, line: int) -> Iterator[tuple[int, int]]:
        said = self.model.lines[line].text
        folded = said.casefold()
        if len(folded) != len(said):  # case folding changed the length: positions would be wrong
            return
        at = folded.find(self.needle)
        while at >= 0:
            yield at, at + len(self.needle)
            at = folded.find(self.needle, at + len(self.needle))

    def _name_at(self, row: int) -> int | None:
        """The speaker whose name stands in a row."""
        flow, _, _, within = self.page.place(row)
        return self.model.lines[flow.head].speaker if flow is not None and within == 0 else None

    # --- text selected with the mouse -----------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text selected with the mouse, without the margin; the rows of a paragraph are one line."""
        first = selection.start.y if selection.start is not None else 0
        last = min(selection.end.y if selection.end is not None else self.page.height, self.page.height - 1)
        pieces: list[str] = []
        before = ("", 0)  # the paragraph of the row above, and where that row ends
        for row in range(max(0, first), last + 1):
            _, text, rows, within = self.page.place(row)
            span = selection.get_span(row)
            if span is None or not 0 <= within < len(rows):
                continue
            start, end = rows[within]
            margin = self.margin_cells + (self._hang if within else 0)
            said = text[start:end]
            begin = chars(said, span[0] - margin)
            stop = len(said) if span[1] == -1 else chars(said, span[1] - margin)
            if pieces:
                goes_on = before[0] == text and before[1] <= start
                pieces.append(text[before[1] : start] if goes_on else "\n")
            pieces.append(said[begin:stop])
            before = text, end
        return "".join(pieces), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Redraw the selection."""
        self.refresh()
