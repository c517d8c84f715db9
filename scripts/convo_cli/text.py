"""Tables and lines for a terminal, made of text that is safe to show (`convo.text`).

In: cells and texts. Out: aligned lines. This module prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from convo.text import clean, clean_json, clean_lines, clock, columns_of, file_name, moment, size, width

__all__ = ["clean", "clean_json", "clean_lines", "clock", "file_name", "moment", "size", "table", "tail", "width"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, screen: bool) -> str:
    """Align columns under a head for a screen; for a pipe, return only the cells, separated by tabs for `cut`."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if not screen:
        return "".join("\t".join(row) + "\n" for row in cells)
    wide = [max(width(row[place]) for row in [list(head), *cells]) for place in range(len(head))]
    lines = []
    for row in [list(head), *cells]:
        padded = [cell + " " * (wide[place] - width(cell)) for place, cell in enumerate(row)]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def tail(text: str, columns: int) -> str:
    """Return as much of the text's end as fits, after an ellipsis if something was cut."""
    if width(text) <= columns:
        return text
    room = columns - 1
    start = len(text)
    while start > 0 and room >= columns_of(text[start - 1]):
        start -= 1
        room -= columns_of(text[start])
    return "…" + text[start:] if columns > 0 else ""
