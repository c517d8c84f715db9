"""A summary as text for people. In: a `Summary` or one of its events. Out: lines that are safe to show."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Protocol

from convo.messages import ActionItem, FinalSummary, RollingSummary, Segment, Summary, SummaryDelta

from .output import colours, on_screen
from .text import clean, clean_lines, clock

Starts = Mapping[int, float]
"""When each segment began, in seconds, by its number."""

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

_WIDEST = 100  # columns of a line that is easy to read
_CITED = 3  # times that are named after a point
_PREVIEW = 2000  # characters that are kept of a summary being written: a line shows its end


class Line(Protocol):
    """One line of a terminal that is redrawn in place; see `captions.Interim`."""

    def draw(self, stamp: str, stable: str, tentative: str) -> None:
        """Show the end of a text, instead of the last one."""

    def erase(self) -> None:
        """Leave an empty line."""


class Preview:
    """The end of a summary that is being written, in one line of a terminal; nothing without one."""

    def __init__(self, line: Line | None) -> None:
        self._line = line
        self._text = ""

    def show(self, piece: SummaryDelta) -> None:
        """Show the next piece."""
        if self._line is not None:
            self._text = ("" if piece.restart else self._text)[-_PREVIEW:] + piece.text
            if self._text:
                self._line.draw("", "", self._text)
            else:
                self._line.erase()  # it broke off

    def erase(self) -> None:
        """Leave an empty line."""
        if self._line is not None:
            self._line.erase()


def starts_of(segments: Iterable[Segment]) -> dict[int, float]:
    """When each segment began."""
    return {segment.segment: segment.start for segment in segments}


def summary_text(
    summary: Summary | FinalSummary | RollingSummary,
    starts: Starts | None = None,
    *,
    bold: bool = False,
    columns: int | None = None,
) -> str:
    """Title, text, key points, action items, keywords; what is empty is left out.

    `starts`: say behind each point when that was said. `columns`: break lines there, between words; without it a
    paragraph is a line.
    """

    def head(line: str) -> str:
        return f"{BOLD}{line}{PLAIN}\n" if bold else f"{line}\n"

    def item(text: str) -> str:
        return _wrapped(f"  - {clean(text)}", columns, "    ")

    parts = []
    if title := clean(summary.title):
        parts.append(head(title))
    if text := clean_lines(summary.summary).strip():
        parts.append("".join(_wrapped(line, columns) for line in text.split("\n")))
    if points := summary.key_points:
        sources = summary.key_point_sources
        if sources is None or len(sources) != len(points):
            sources = None
        cited = [_cited(sources[at] if sources is not None else None, starts) for at in range(len(points))]
        parts.append(head("Key points") + "".join(map(item, map("".join, zip(points, cited, strict=True)))))
    if summary.action_items:
        actions = [_action(action) + _cited(action.sources, starts) for action in summary.action_items]
        parts.append(head("Action items") + "".join(map(item, actions)))
    if summary.keywords:
        parts.append(_wrapped(f"Keywords: {', '.join(map(clean, summary.keywords))}", columns))
    if summary.unverified:
        parts.append(_wrapped(f"Not in the transcript: {', '.join(map(clean, summary.unverified))}", columns))
    return "\n".join(parts)


def summary_for_output(summary: Summary | FinalSummary | RollingSummary, starts: Starts | None = None) -> str:
    """Render a summary for standard output: bold and wrapped on a terminal, plain in a pipe."""
    columns = None
    if on_screen(sys.stdout):
        try:
            columns = min(_WIDEST, max(20, os.get_terminal_size(sys.stdout.fileno()).columns - 1))
        except OSError:
            columns = 80
    return summary_text(summary, starts, bold=colours(sys.stdout), columns=columns)


def _cited(sources: list[int] | None, starts: Starts | None) -> str:
    """Return when the sources of a point were said; or that it has none; or nothing, if neither is known."""
    if sources is None or starts is None:
        return ""
    if not sources:
        return " [no source]"
    times = [clock(starts[number]) for number in sources if number in starts]
    return f" [{', '.join(dict.fromkeys(times[:_CITED]))}]" if times else ""


def _action(item: ActionItem) -> str:
    more = [part for part in (item.owner, item.due) if part]
    return item.text + (f" ({', '.join(more)})" if more else "")


def _wrapped(line: str, columns: int | None, indent: str = "") -> str:
    if columns is None:
        return f"{line}\n"
    return textwrap.fill(line, columns, subsequent_indent=indent, break_on_hyphens=False) + "\n"
