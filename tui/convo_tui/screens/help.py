"""All keys that work on a screen, and what they do.

In: the screen below. Out: text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

if TYPE_CHECKING:
    from ..app import ConvoApp

_NAMES = {
    "question_mark": "?", "slash": "/", "space": "space", "escape": "esc", "enter": "enter", "pageup": "page up",
    "pagedown": "page down", "left_square_bracket": "[", "right_square_bracket": "]", "ctrl+p": "ctrl p", "f1": "F1",
    "up": "↑", "down": "↓", "ctrl+q": "ctrl q",
}  # fmt: skip


def _order(node: object) -> int:
    return 0 if isinstance(node, Screen) else 1 if isinstance(node, App) else 2


class HelpScreen(ModalScreen[None]):
    """Lists keys."""

    app: ConvoApp

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q", "leave", "Back"),
    ]

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        """A table."""
        with Container(classes="window -tall"):
            yield Static(Text("Keys"), classes="window-title")
            with VerticalScroll():
                yield Static(self._table())
            yield Static(Text("Esc goes back.  ctrl p finds any action by its name."), classes="window-hint")

    def _table(self) -> Table:
        # One row for each action: its keys, its name, what it does.
        rows: dict[tuple[int, str], tuple[list[str], str]] = {}
        # The screen's own first, then the app's, then those of the widget that has the focus.
        chain = sorted(self._about._modal_binding_chain, key=lambda pair: _order(pair[0]))
        for node, bindings in chain:
            if not type(node).__module__.startswith(__package__.partition(".")[0]):
                continue  # a list scrolls as every list does
            for key, found in bindings.key_to_bindings.items():
                for binding in found:
                    if binding.description and not binding.system:
                        said = rows.setdefault(
                            (id(node), binding.description), ([], binding.tooltip or binding.description)
                        )
                        said[0].append(_NAMES.get(key, key))
        table = Table.grid(padding=(0, 3, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        seen: set[str] = set()
        bold = "bold" if self.app.no_color else f"bold {self.app.colour('accent')}"
        ascii_only = self.app.has_class("-ascii")
        for (_, name), (keys, about) in rows.items():
            shown = ", ".join(keys)
            if ascii_only:
                shown = shown.replace("↑", "up").replace("↓", "down")
            if f"{shown}{name}" not in seen:
                seen.add(f"{shown}{name}")
                table.add_row(Text(shown, bold), Text(about if about != name else name))
        return table

    def action_leave(self) -> None:
        """Back."""
        self.dismiss(None)
