"""A screen of rows: history and files.

In: what the rows stand for. Out: a list with a line above it, a note below.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.widgets import Input, OptionList, Static

from ..context import Context
from ..widgets.keys import Keys
from ..widgets.rows import Rows
from ..widgets.status import Masthead
from .base import ConvoScreen

RowT = TypeVar("RowT")


class RowsScreen(ConvoScreen, Generic[RowT]):
    """A line to type into, rows of which one is chosen and opened, a note below.

    `rows` are the list's, in order.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.rows: list[RowT] = []

    def compose(self) -> ComposeResult:
        """From the top."""
        yield Masthead(self.context.glyphs)
        yield self.make_line()
        with Container(classes="rows"):
            yield Rows(id="rows")
            yield Static("", id="empty")
        yield Static("", id="note")
        yield Keys()

    def make_line(self) -> Input:
        """What is typed into, with `id="line"`."""
        raise NotImplementedError

    @property
    def line(self) -> Input:
        """The line to type into."""
        return self.query_one("#line", Input)

    @property
    def row_list(self) -> Rows:
        """The list of rows."""
        return self.query_one("#rows", Rows)

    @property
    def here(self) -> RowT | None:
        """What the row stands for that is chosen."""
        at = self.row_list.highlighted
        return self.rows[at] if at is not None and at < len(self.rows) else None

    @property
    def cells(self) -> int:
        """Cells of a row."""
        return self.row_list.scrollable_content_region.width - 2

    def show_note(self, note: str, empty: str) -> None:
        """Say something below the rows, and in the middle why there are none (`empty`); neither if there is nothing."""
        self.query_one("#note", Static).update(Text(f" {note}" if note else ""))
        middle = self.query_one("#empty", Static)
        middle.update(Text(empty))
        middle.display = bool(empty)

    @on(OptionList.OptionSelected, "#rows")
    def _selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Open what is chosen."""
        raise NotImplementedError
