"""A small window in front of a screen, with a title and a hint.

In: its content. Out: a result, None if the user left it.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import ModalScreen, ScreenResultType
from textual.widgets import Static

from .hooks import Hooks


class Window(Hooks, ModalScreen[ScreenResultType]):
    """A small window; its result is None if the user leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]

    def __init__(self, title: str, hint: str = "", *, tall: bool = False) -> None:
        super().__init__()
        self._head = title
        self._hint = Static(classes="window-hint")
        self.hint(hint)
        self._tall = tall

    def compose(self) -> ComposeResult:
        """Lay out the title, the content and the hint."""
        with Container(classes="window -tall" if self._tall else "window"):
            yield Static(Text(self._head), classes="window-title")
            yield from self.content()
            yield self._hint

    def content(self) -> ComposeResult:
        """Yield the content."""
        raise NotImplementedError

    def hint(self, text: str) -> None:
        """Change the hint, its last row."""
        self._hint.update(Text(text))
        self._hint.display = bool(text)

    def action_leave(self) -> None:
        """Leave without a result."""
        self.dismiss(None)
