"""The keys of a screen, and what they do.

In: the screen below. Out: a table.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.actions import parse
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Static

from ..themes import colour
from ..widgets.transcript import TranscriptView
from .window import Window

_NAMES = {
    "question_mark": "?", "slash": "/", "space": "space", "escape": "esc", "enter": "enter", "pageup": "page up",
    "pagedown": "page down", "left_square_bracket": "[", "right_square_bracket": "]", "left_curly_bracket": "{",
    "right_curly_bracket": "}", "colon": ":", "shift+up": "shift ↑", "shift+down": "shift ↓",
    "ctrl+p": "ctrl p", "f1": "F1",
    "up": "↑", "down": "↓", "ctrl+q": "ctrl q", "comma": ",", "full_stop": ".", "plus": "+", "minus": "-",
    "equals_sign": "=",
}  # fmt: skip


_MORE = (("tab", "Move to the next part of the screen"), ("drag", "Select text with the mouse; ctrl c copies it"))


def _our_actions(kind: type) -> set[str]:
    """The actions that our own classes bind; editing and scrolling keys are the usual ones."""
    return {
        binding.action
        for each in kind.__mro__
        if each.__module__.startswith(__package__.partition(".")[0])
        for binding in each.__dict__.get("BINDINGS", ())
        if isinstance(binding, Binding)
    }


def _applying(node: DOMNode, found: list[Binding]) -> list[Binding]:
    """Of several actions of one key, the one that works now, else the first; an action alone is listed anyway."""
    if len(found) < 2:
        return found
    works = [binding for binding in found if _works(node, binding)]
    return (works or found)[:1]


def _works(node: DOMNode, binding: Binding) -> bool:
    namespace, name, parameters = parse(binding.action)
    return (node.app if namespace == "app" else node).check_action(name, parameters) is not False


def _room(node: object) -> tuple[int, str]:
    """The order and the heading of a node's keys."""
    if isinstance(node, Screen):
        return 0, "On this screen"
    if isinstance(node, App):
        return 2, "Everywhere"
    return 1, "In the transcript" if isinstance(node, TranscriptView) else "In the list"


class HelpScreen(Window[None]):
    """Lists keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1,q", "leave", "Back")]

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__("Keys", "Esc goes back.  Ctrl+P finds any action by name.", tall=True)
        self._about = about

    def content(self) -> ComposeResult:
        """Yield the table."""
        with VerticalScroll():
            yield Static(self._table())

    def _table(self) -> Table:
        """A heading per part of the screen, and a row per action: its keys, what it does."""
        rooms: dict[str, dict[str, list[str]]] = {}
        known: set[tuple[str, str]] = set()
        chain = self._about._modal_binding_chain  # noqa: SLF001 - Textual has no public one
        for node, bindings in sorted(chain, key=lambda pair: _room(pair[0])):
            ours = _our_actions(type(node))
            rows = rooms.setdefault(_room(node)[1], {})
            for key, found in bindings.key_to_bindings.items():
                for binding in _applying(node, found):
                    about = binding.tooltip or binding.description
                    if about and binding.action in ours and (key, about) not in known:
                        known.add((key, about))
                        rows.setdefault(about, []).append(_NAMES.get(key, key))
        rooms.setdefault("Everywhere", {}).update({about: [key] for key, about in _MORE})
        table = Table.grid(padding=(0, 3, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        bold = "bold" if self.app.no_color else f"bold {colour(self.app, 'accent')}"
        ascii_only = self.app.has_class("-ascii")
        for heading, rows in ((heading, rows) for heading, rows in rooms.items() if rows):
            if table.row_count:
                table.add_row()
            table.add_row(Text(""), Text(heading, f"bold {colour(self.app, 'bright')}".strip()))
            for about, keys in rows.items():
                shown = ", ".join(keys)
                if ascii_only:
                    shown = shown.replace("↑", "up").replace("↓", "down")
                table.add_row(Text(shown, bold), Text(about))
        return table
