"""Windows that ask for a line of text or a choice.

In: a question. Out: the answer, None if the user left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.suggester import Suggester
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from ..themes import colour
from .window import Window

_HINT = "Enter confirms, Esc cancels."


class PathSuggester(Suggester):
    """Completes paths of existing files."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """Suggest the first name in the directory with this prefix."""
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


class AskScreen(Window[str | None]):
    """Asks for a line of text."""

    def __init__(self, question: str, placeholder: str = "", *, value: str = "", paths: bool = False) -> None:
        super().__init__(question, f"Right completes the path.  {_HINT}" if paths else _HINT)
        self._placeholder = placeholder
        self._value = value
        self._suggester = PathSuggester() if paths else None

    def content(self) -> ComposeResult:
        """Yield the input line."""
        yield Input(self._value, placeholder=self._placeholder, suggester=self._suggester, select_on_focus=False)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


class ChooseScreen(Window[str | None]):
    """Asks for one of `choices`: each is a value, its name, and a few words about it."""

    def __init__(self, question: str, choices: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(question, _HINT)
        self._choices = choices

    def content(self) -> ComposeResult:
        """Yield the choices."""
        wide, faint = max(len(name) for _, name, _ in self._choices) + 2, colour(self.app, "faint")
        yield OptionList(
            *[
                Option(Text.assemble(name.ljust(wide), (about, faint)), id=value)
                for value, name, about in self._choices
            ]
        )  # fmt: skip

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
