"""A small window that asks for a line of text, or for a choice.

In: a question. Out: the answer, None if it was closed. What is typed is data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

if TYPE_CHECKING:
    from ..app import ConvoApp


class PathSuggester(Suggester):
    """The rest of a path that is there."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The first name in the directory that begins so."""
        return await asyncio.to_thread(_completed, value)


def _completed(value: str) -> str | None:
    path = Path(value).expanduser()
    directory, beginning = (path, "") if value.endswith("/") else (path.parent, path.name)
    try:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir())
    except OSError:
        return None
    for name in names:
        if name.startswith(beginning) and (beginning or not name.startswith(".")):
            return value[: len(value) - len(beginning)] + name
    return None


class AskScreen(ModalScreen[str | None]):
    """Asks for a line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave it")]

    def __init__(self, question: str, placeholder: str = "", *, value: str = "", paths: bool = False) -> None:
        super().__init__()
        self._question = question
        self._placeholder = placeholder
        self._value = value
        self._paths = paths

    def compose(self) -> ComposeResult:
        """The question, a line, what the keys do."""
        with Container(classes="window"):
            yield Static(Text(self._question), classes="window-title")
            yield Input(
                self._value,
                placeholder=self._placeholder,
                suggester=PathSuggester() if self._paths else None,
                select_on_focus=False,
            )
            about = "Right completes the path.  " if self._paths else ""
            yield Static(Text(f"{about}Enter takes it, Esc leaves it."), classes="window-hint")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class ChooseScreen(ModalScreen[str | None]):
    """Asks for one of several: `choices` are a value, what it is called, and a word about it."""

    app: ConvoApp

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave it")]

    def __init__(self, question: str, choices: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self._question = question
        self._choices = choices

    def compose(self) -> ComposeResult:
        """The question and its answers."""
        with Container(classes="window"):
            yield Static(Text(self._question), classes="window-title")
            wide = max(len(name) for _, name, _ in self._choices) + 2
            yield OptionList(
                *[
                    Option(Text.assemble(name.ljust(wide), (about, self.app.colour("faint"))), id=value)
                    for value, name, about in self._choices
                ]
            )
            yield Static(Text("Enter takes it, Esc leaves it."), classes="window-hint")

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
