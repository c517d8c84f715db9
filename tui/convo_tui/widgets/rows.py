"""A list of rows of which one is chosen and opened.

In: options. Out: `OptionList`'s messages. It says in the footer what Enter does, which Textual's own list does not.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList


class Rows(OptionList):
    """Rows that Enter opens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", key_display="enter", tooltip="Read it; a running one as it is written"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nothing can be opened where nothing is."""
        return self.option_count > 0 if action == "select" else super().check_action(action, parameters)
