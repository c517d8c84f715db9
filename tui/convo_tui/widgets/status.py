"""The lines above and below a session: what it is, and how it is doing.

In: plain values. Out: one row of cells each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App
from textual.reactive import reactive
from textual.widget import Widget

from convo.text import clean, clock, size, width

from ..glyphs import UNICODE, Glyphs
from ..model.pace import Pace
from ..themes import colour

FLOOR_DBFS = -60.0


@dataclass(frozen=True)
class Heading:
    """What the masthead shows. `tone` is live, work, done, bad or idle."""

    title: str = ""
    badge: str = ""
    tone: str = "idle"
    clock_s: float | None = None
    trouble: str = ""


class Masthead(Widget):
    """The first row: the app's name, what is open, its state and clock."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "masthead--brand",
        "masthead--title",
        "masthead--faint",
        "masthead--live",
        "masthead--work",
        "masthead--done",
        "masthead--bad",
        "masthead--idle",
    }

    heading: reactive[Heading] = reactive(Heading())

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs

    def render(self) -> Text:
        """Draw the title on the left and the state on the right; the title is cut if need be."""
        heading = self.heading
        style = self.get_component_rich_style
        signs = {
            "live": self._glyphs.live,
            "work": self._glyphs.work,
            "done": self._glyphs.done,
            "bad": self._glyphs.failed,
            "idle": self._glyphs.idle,
        }
        right = Text(no_wrap=True, end="")
        if heading.trouble:
            right.append(heading.trouble + "  ", style("masthead--bad"))
        if heading.badge:
            right.append(f"{signs[heading.tone]} {heading.badge}", style(f"masthead--{heading.tone}"))
        if heading.clock_s is not None:
            right.append(f"  {clock(heading.clock_s)}", style("masthead--title"))
        right.append(" ")
        left = Text(" convo", style("masthead--brand"), no_wrap=True, end="")
        room = self.size.width - left.cell_len - right.cell_len - 4
        if heading.title and room >= 4:
            title = clean(heading.title)
            left.append("   ")
            left.append(cut(title, room, self._glyphs.ellipsis), style("masthead--title"))
        gap = max(1, self.size.width - left.cell_len - right.cell_len)
        return Text.assemble(left, " " * gap, right, no_wrap=True, end="")


@dataclass(frozen=True)
class StatusLine:
    """What the meter shows. `level` is in dBFS, None without a microphone; `activity` is one word."""

    activity: str = ""
    speech: bool = False
    level: float | None = None
    lag_ms: float | None = None
    pace: Pace | None = None
    source: str = ""
    note: str = ""


class Meter(Widget):
    """The row below a session: level and voice activity, lag, pace, source."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "meter--speech",
        "meter--quiet",
        "meter--rest",
        "meter--faint",
        "meter--good",
        "meter--bad",
        "meter--loud",
    }

    status: reactive[StatusLine] = reactive(StatusLine())

    def __init__(self, glyphs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs

    def render(self) -> Text:
        """Draw as much as fits, from the left."""
        status, style = self.status, self.get_component_rich_style
        text = Text(" ", no_wrap=True, end="")
        size = self.size.width
        if status.level is not None:
            cells = 24 if size >= 100 else 16 if size >= 70 else 8
            tone = "loud" if status.level > -3 else "speech" if status.speech else "quiet"
            on, off = style(f"meter--{tone}"), style("meter--rest")
            text.append_text(bar(level_fraction(status.level), cells, self._glyphs, on, off))
            text.append("  ")
        if status.activity:
            text.append(status.activity.ljust(7), style("meter--speech" if status.speech else "meter--faint"))
        parts: list[tuple[str, str]] = []
        if status.lag_ms is not None:
            parts.append((f"{status.lag_ms / 1000:.1f} s behind", "meter--faint"))
        if status.pace is not None:
            parts.append((status.pace.value, "meter--good" if status.pace is Pace.GOOD else "meter--bad"))
        if status.note:
            parts.append((status.note, "meter--faint"))
        for said, name in parts:
            if text.cell_len + len(said) + 3 <= size:
                text.append("   " if text.cell_len > 1 else "")
                text.append(said, style(name))
        source = clean(status.source)
        room = size - text.cell_len - 4
        if source and room >= 8:
            shown = cut(source, room, self._glyphs.ellipsis)
            text.append(" " * (size - text.cell_len - width(shown) - 1))
            text.append(shown, style("meter--faint"))
        return text


def level_fraction(dbfs: float) -> float:
    """A level as a fraction of the meter, 0 to 1."""
    return max(0.0, min(1.0, 1 - dbfs / FLOOR_DBFS))


def bar(fraction: float, cells: int, glyphs: Glyphs, on: object, off: object) -> Text:
    """Draw a thin bar in steps of half a cell."""
    halves = round(max(0.0, min(1.0, fraction)) * cells * 2)
    text = Text(glyphs.bar * (halves // 2) + (glyphs.bar_half if halves % 2 else ""), on, no_wrap=True, end="")  # type: ignore[arg-type]
    text.append(glyphs.bar_rest * (cells - text.cell_len), off)  # type: ignore[arg-type]
    return text


def progress_text(app: App[Any], name: str, done_bytes: int, total_bytes: int | None, glyphs: Glyphs) -> Text:
    """Draw a download: its name, a bar if the total is known, how much of it is there."""
    text = Text(f"downloading {clean(name)}  ", no_wrap=True, end="")
    if total_bytes:
        text.append_text(bar(done_bytes / total_bytes, 12, glyphs, colour(app, "accent"), colour(app, "rule")))
        text.append(f"  {size(done_bytes)} of {size(total_bytes)}", colour(app, "faint"))
    else:
        text.append(size(done_bytes), colour(app, "faint"))
    return text


def cut(text: str, columns: int, ellipsis: str) -> str:
    """Cut a text to `columns` cells."""
    if width(text) <= columns:
        return text
    kept, used = "", 0
    for char in text:
        used += width(char)
        if used > columns - 1:
            break
        kept += char
    return kept.rstrip() + ellipsis
