"""A transcript of any length: finished lines, the current sentence, times, marks, a selected line, hits.

In: a `SessionModel` that others change. Out: the rows in view (only those are ever drawn), and `Behind` when new lines
come below them. It follows the end until the user scrolls up.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
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

from convo.text import clock, width

from ..glyphs import UNICODE, Glyphs
from ..model.layout import Layout, wrap
from ..model.session import SessionModel

_MEASURE = 88
"""The most cells of a row: longer ones are hard to read."""


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
    }

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_up", "Up", show=False),
        Binding("down", "scroll_down", "Down", show=False),
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home,g", "scroll_home", "Beginning", tooltip="Go to the first line", show=False),
        Binding("end,G", "follow", "Newest", tooltip="Go to the newest line and follow", show=False),
        Binding("k", "select(-1)", "Select the line above", show=False),
        Binding("j", "select(1)", "Select the line below", show=False),
        Binding("left_square_bracket", "jump_mark(-1)", "Previous mark", tooltip="Go to the previous mark", show=False),
        Binding("right_square_bracket", "jump_mark(1)", "Next mark", tooltip="Go to the next mark", show=False),
    ]

    times: reactive[bool] = reactive(False)
    selected: reactive[int | None] = reactive(None)

    @dataclass
    class Behind(Message):
        """The number of new lines below the view; 0 if the end is in view again."""

        lines: int

        def can_replace(self, message: Message) -> bool:
            """The last number counts."""
            return isinstance(message, TranscriptView.Behind)

    class Selected(Message):
        """Another line was selected."""

    def __init__(self, model: SessionModel, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:
        """With `grounded` set, a short transcript stands at the bottom, so that the newest words stay in one place."""
        super().__init__(id=id)
        self.model = model
        self.following = True
        self.grounded = False
        self.needle = ""
        self._glyphs = glyphs
        self._layout = Layout(self._said, self._lead)
        self._partial: list[tuple[str, int]] = []  # its rows, and the number of stable characters in each
        self._seen = 0
        self._known_styles: dict[str, Style] = {}

    # --- what changed -------------------------------------------------------------------------------------

    def show(self, model: SessionModel) -> None:
        """Show another model, following its end."""
        self.model = model
        self._layout = Layout(self._said, self._lead)
        self.following, self.selected, self._seen, self.needle = True, None, 0, ""
        self._lay_out()

    def refresh_model(self) -> None:
        """Redraw after a change of the model."""
        self._layout.extend(len(self.model.lines))
        self._wrap_partial()
        self._resize_virtual()
        if self.following:
            self._seen = len(self.model.lines)
            self._to_end()
        else:
            self._tell_behind()
        self.refresh()

    def reread(self) -> None:
        """Lay all lines out anew: some of them read otherwise now."""
        self._layout = Layout(self._said, self._lead)
        self._lay_out()

    @property
    def margin_cells(self) -> int:
        """Width of the margin left of the text, in cells."""
        if not self.times:
            return 3
        return 3 + (8 if self.model.duration_s < 3600 else 10) - 1

    def _said(self, index: int) -> str:
        return self.model.lines[index].text

    def _lead(self, index: int) -> int:
        return 1 if self.model.lines[index].turn else 0

    def _lay_out(self) -> None:
        if self.size.width == 0:
            return
        room = self.scrollable_content_region.width - self.margin_cells - 1
        self._layout.resize(min(room, _MEASURE))
        self._layout.extend(len(self.model.lines))
        self._wrap_partial()
        self._resize_virtual()
        if self.following:
            self._seen = len(self.model.lines)
            self._to_end()
        self.refresh()

    def _wrap_partial(self) -> None:
        partial = self.model.partial
        self._partial = []
        if partial is None:
            return
        whole = f"{partial.stable} {partial.tentative}".strip()
        at = 0
        for row in wrap(whole, self._layout.width):
            at = max(at, whole.find(row, at))
            self._partial.append((row, max(0, min(len(row), len(partial.stable) - at))))
            at += len(row)

    def _resize_virtual(self) -> None:
        # One empty row at the end, so that the current sentence does not stick to the edge.
        self.virtual_size = Size(self.scrollable_content_region.width, self._layout.height + len(self._partial) + 1)

    def _row_at(self, y: int) -> int:
        """The row of the transcript at a row of the view; negative above the first."""
        row = y + round(self.scroll_y)
        if self.grounded:
            row -= max(0, self.scrollable_content_region.height - self.virtual_size.height)
        return row

    def _to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)

    def _tell_behind(self) -> None:
        self.post_message(self.Behind(len(self.model.lines) - self._seen))

    def on_mount(self) -> None:
        """Hide the horizontal scroll bar."""
        self.show_horizontal_scrollbar = False

    def on_resize(self, event: events.Resize) -> None:
        """Wrap again, with the same line at the top."""
        top = None if self.following or not self._layout.count else self._layout.at(round(self.scroll_y))[0]
        self._lay_out()
        if top is not None:
            self.scroll_to(y=self._layout.start(top), animate=False, force=True, immediate=True)

    def watch_times(self) -> None:
        """Wrap again: the gutter has another width."""
        self._lay_out()

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

    # --- actions ------------------------------------------------------------------------------------------

    def action_follow(self) -> None:
        """Go to the end and follow it."""
        self.following = True
        self._seen = len(self.model.lines)
        self._to_end()
        self._tell_behind()
        self.refresh()

    def action_select(self, step: int) -> None:
        """Select the line below or above."""
        if not self.model.lines:
            return
        if self.selected is None:
            top = self._layout.at(round(self.scroll_y))[0] if not self.following else len(self.model.lines) - 1
            self.go_to(top)
        else:
            self.go_to(self.selected + step)

    def action_jump_mark(self, step: int) -> None:
        """Go to the next or previous mark."""
        marked = sorted({self.model.line_of(mark) for mark in self.model.marks})
        here = self.selected
        if here is None:  # start with the first, or the last
            here = -1 if step > 0 else len(self.model.lines)
        others = [place for place in marked if (place > here if step > 0 else place < here)]
        if others:
            self.go_to(others[0] if step > 0 else others[-1])

    def go_to(self, line: int, *, top: bool = False) -> None:
        """Select a line and scroll it into view."""
        if not self.model.lines:
            return
        line = max(0, min(line, len(self.model.lines) - 1))
        self._layout.extend(len(self.model.lines))
        self.selected = line
        start, end = self._layout.start(line), self._layout.end(line)
        height = self.scrollable_content_region.height
        if top or start < self.scroll_y or end > self.scroll_y + height:
            self.following = False
            self._seen = len(self.model.lines)
            target = start - height // 3
            self.scroll_to(y=max(0, min(target, self.max_scroll_y)), animate=False, force=True, immediate=True)
        self.post_message(self.Selected())

    def line_of(self, number: int) -> int:
        """The line of a segment, by its number."""
        return bisect_left(self.model.lines, number, key=lambda line: line.number)

    def find(self, needle: str, step: int = 1) -> int:
        """Highlight a text, and go to its next or previous line. Returns the number of lines with it."""
        self.needle = needle.casefold()
        self.refresh()
        if not self.needle:
            return 0
        found = [place for place, line in enumerate(self.model.lines) if self.needle in line.text.casefold()]
        if found:
            here = self.selected if self.selected is not None else -1
            if step > 0:
                self.go_to(next((place for place in found if place > here), found[0]))
            else:
                self.go_to(next((place for place in reversed(found) if place < here), found[-1]))
        return len(found)

    def on_click(self, event: events.Click) -> None:
        """Select the clicked line."""
        row = self._row_at(event.y)
        if self.model.lines and 0 <= row < self._layout.height:
            self.go_to(self._layout.at(row)[0])

    # --- drawing ------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draw one row of the view."""
        row = self._row_at(y)
        room = self.size.width
        segments = self._row(row) if row >= 0 else []
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

    def _row(self, row: int) -> list[Segment]:
        if row < self._layout.height:
            index, within = self._layout.at(row)
            if within < 0:
                return []
            return self._line_row(index, within)
        row -= self._layout.height
        if row < len(self._partial):
            return self._partial_row(row)
        return []

    def _line_row(self, index: int, within: int) -> list[Segment]:
        line = self.model.lines[index]
        here = index == self.selected
        style = self._style("cursor" if here else "final")
        gutter = self._gutter(line.start if within == 0 else None, within == 0 and self.model.marked(index), here)
        text = self._layout.rows(index)[within]
        if self.needle and self.needle in line.text.casefold():
            return [*gutter, *self._with_hits(text, style)]
        return [*gutter, Segment(text, style)]

    def _with_hits(self, text: str, style: Style) -> list[Segment]:
        folded = text.casefold()
        if len(folded) != len(text):  # case folding changed the length: positions would be wrong
            return [Segment(text, style)]
        segments: list[Segment] = []
        at = 0
        while (found := folded.find(self.needle, at)) >= 0:
            segments.append(Segment(text[at:found], style))
            segments.append(Segment(text[found : found + len(self.needle)], self._style("hit")))
            at = found + len(self.needle)
        segments.append(Segment(text[at:], style))
        return segments

    def _partial_row(self, row: int) -> list[Segment]:
        partial = self.model.partial
        assert partial is not None
        text, stable = self._partial[row]
        segments = self._gutter(partial.start if row == 0 else None, row == 0 and self.model.mark_ahead, False)
        if stable:
            segments.append(Segment(text[:stable], self._style("stable")))
        if text[stable:]:
            segments.append(Segment(text[stable:], self._style("tentative")))
        if row == len(self._partial) - 1:
            segments.append(Segment(self._glyphs.caret, self._style("caret")))
        return segments

    def _gutter(self, start: float | None, marked: bool, here: bool) -> list[Segment]:
        side = self._glyphs.cursor if here else " "
        segments = [
            Segment(side, self._style("caret")),
            Segment(self._glyphs.mark if marked else " ", self._style("mark")),
            Segment(" ", None),
        ]
        if self.times:
            said = clock(start) if start is not None else ""
            segments.append(
                Segment(said.rjust(self.margin_cells - 5).ljust(self.margin_cells - 3), self._style("time"))
            )
        return segments

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text selected with the mouse."""
        height = self._layout.height + len(self._partial)
        first = selection.start.y if selection.start is not None else 0
        last = min(selection.end.y if selection.end is not None else height, height)
        rows = []
        for row in range(first, last + 1):
            said = "".join(segment.text for segment in self._row(row)) if row < height else ""
            span = selection.get_span(row)
            if span is None:
                continue
            start, end = span
            piece = _cells(said, start, width(said) if end == -1 else end)
            rows.append(piece if start else piece[self.margin_cells :])
        return "\n".join(rows), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Redraw the selection."""
        self.refresh()


def _cells(text: str, start: int, end: int) -> str:
    """The part of a text that lies in a range of cells."""
    at, kept = 0, []
    for char in text:
        size = width(char)
        if start <= at < end:
            kept.append(char)
        at += size
    return "".join(kept)
