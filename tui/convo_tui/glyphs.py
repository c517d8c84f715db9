"""The few symbols that the app draws, for terminals with Unicode and for those without.

In: whether ASCII is wanted. Out: a set of symbols. Transcribed text is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual.scrollbar import ScrollBarRender


@dataclass(frozen=True)
class Glyphs:
    """Symbols by meaning; each is one cell wide."""

    live: str = "●"
    paused: str = "‖"
    idle: str = "○"
    done: str = "✓"
    failed: str = "✗"
    work: str = "◌"
    mark: str = "◆"
    cursor: str = "▌"
    caret: str = "▏"
    bullet: str = "·"
    task: str = "□"
    down: str = "↓"
    dot: str = "·"
    ellipsis: str = "…"
    bar: str = "━"
    bar_half: str = "╸"
    bar_rest: str = "─"
    rule: str = "│"


UNICODE = Glyphs()
ASCII = Glyphs(
    live="*", paused="=", idle="o", done="+", failed="x", work="~", mark="#", cursor="|", caret="_", bullet="-",
    task="-", down="v", dot="-", ellipsis="~", bar="=", bar_half="=", bar_rest="-", rule="|",
)  # fmt: skip


class WholeCells(ScrollBarRender):
    """A scroll bar of whole cells, with no symbol at its ends."""

    VERTICAL_BARS = [" "] * 8
    HORIZONTAL_BARS = [" "] * 8
