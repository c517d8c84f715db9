"""A summary as text for people. In: a `Summary` or one of its events. Out: lines that are fit to be shown."""

from __future__ import annotations

import os
import sys
import textwrap

from convo.messages import ActionItem, FinalSummary, RollingSummary, Summary

from .output import colours, on_screen
from .text import clean, clean_lines

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

_WIDEST = 100  # columns that an eye follows


def summary_text(
    summary: Summary | FinalSummary | RollingSummary, *, bold: bool = False, columns: int | None = None
) -> str:
    """Title, text, key points, action items, keywords; what is empty is left out.

    `columns`: break lines there, between words; without it a paragraph is a line.
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
    if summary.key_points:
        parts.append(head("Key points") + "".join(map(item, summary.key_points)))
    if summary.action_items:
        parts.append(head("Action items") + "".join(item(_action(action)) for action in summary.action_items))
    if summary.keywords:
        parts.append(_wrapped(f"Keywords: {', '.join(map(clean, summary.keywords))}", columns))
    return "\n".join(parts)


def summary_for_output(summary: Summary | FinalSummary | RollingSummary) -> str:
    """The same as standard output wants it: bold and broken to its width on a terminal, plain in a pipe."""
    columns = None
    if on_screen(sys.stdout):
        try:
            columns = min(_WIDEST, max(20, os.get_terminal_size(sys.stdout.fileno()).columns - 1))
        except OSError:
            columns = 80
    return summary_text(summary, bold=colours(sys.stdout), columns=columns)


def _action(item: ActionItem) -> str:
    more = [part for part in (item.owner, item.due) if part]
    return item.text + (f" ({', '.join(more)})" if more else "")


def _wrapped(line: str, columns: int | None, indent: str = "") -> str:
    if columns is None:
        return f"{line}\n"
    return textwrap.fill(line, columns, subsequent_indent=indent, break_on_hyphens=False) + "\n"
