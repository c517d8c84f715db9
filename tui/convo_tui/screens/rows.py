"""A screen with a list of rows, for history and files.

In: the items of the rows. Out: the list, with an input line above it and a note below.
"""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.suggester import Suggester
from textual.widgets import Input, OptionList, Static

from ..context import Context
from ..model.layout import wrap
from ..widgets.keys import Keys
from ..widgets.rows import Rows
from ..widgets.status import Masthead, cut
from .base import ConvoScreen

RowT = TypeVar("RowT")

_PROBLEM_ROWS = 3  # of a sentence on why something failed


class RowsScreen(ConvoScreen, Generic[RowT]):
    """An input line, a list of rows that can be opened, and a note. `rows` are the items in order."""

    LINE: ClassVar[type[Input]] = Input
    PLACEHOLDER: ClassVar[str]

    def __init__(self, context: Context, suggester: Suggester | None = None) -> None:
        super().__init__(context)
        self._suggester = suggester
        self.rows: list[RowT] = []

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield Masthead(self.context.glyphs)
        yield self.LINE(placeholder=self.PLACEHOLDER, suggester=self._suggester, id="line")
        with Container(classes="rows"):
            yield Rows(id="rows")
            yield Static("", id="empty")
        yield Static("", id="note")
        yield Keys()

    @property
    def line(self) -> Input:
        """The input line."""
        return self.query_one("#line", Input)

    @property
    def row_list(self) -> Rows:
        """The list of rows."""
        return self.query_one("#rows", Rows)

    @property
    def here(self) -> RowT | None:
        """The item of the highlighted row."""
        at = self.row_list.highlighted
        return self.rows[at] if at is not None and at < len(self.rows) else None

    @property
    def cells(self) -> int:
        """The width of a row in cells."""
        return self.row_list.scrollable_content_region.width - 2

    def with_failure(self, text: Text, problem: str, remedy: str) -> Text:
        """Add below a row why it failed, and a command that may help; either may be empty."""
        for row in wrap(problem, max(20, self.cells - 4))[:_PROBLEM_ROWS] if problem else ():
            text.append(f"\n  {row}", self.colour("error"))
        if remedy:
            text.append("\n  This may help: ", self.colour("faint"))
            text.append(cut(remedy, max(10, self.cells - 19), self.context.glyphs.ellipsis))
        return text

    def show_note(self, note: str, empty: str) -> None:
        """Show a note below the rows, and in the middle why there are none (`empty`)."""
        self.query_one("#note", Static).update(Text(note))
        middle = self.query_one("#empty", Static)
        middle.update(Text(empty))
        middle.display = bool(empty)

    @on(OptionList.OptionSelected, "#rows")
    def _selected(self) -> None:
        self.action_open()

    def action_type(self) -> None:
        """Focus the input line."""
        self.line.focus()

    def action_open(self) -> None:
        """Open the highlighted row."""
        raise NotImplementedError
