"""A small window in front of a screen, with a title and a hint.

In: what it is about. Out: an answer, None if it was left.
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
    """A small window in front of a screen; None is what comes out of it if it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]

    def __init__(self, title: str, hint: str = "", *, tall: bool = False) -> None:
        super().__init__()
        self._head = title
        self._hint = Static(Text(hint), classes="window-hint")
        self._tall = tall

    def compose(self) -> ComposeResult:
        """A title, what it is about, what its keys do."""
        with Container(classes="window -tall" if self._tall else "window"):
            yield Static(Text(self._head), classes="window-title")
            yield from self.content()
            yield self._hint

    def content(self) -> ComposeResult:
        """What it is about."""
        raise NotImplementedError

    def hint(self, text: str) -> None:
        """Say something in its last row."""
        self._hint.update(Text(text))

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
