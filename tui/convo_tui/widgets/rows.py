"""A list of rows that Enter opens.

In: options. Out: `OptionList`'s messages. Unlike Textual's own list, it says in the footer what Enter does.
"""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList


class Rows(OptionList):
    """An `OptionList` whose footer key is Open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", key_display="enter", tooltip="Read it; a live one updates as it is spoken"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer Open only if there are rows."""
        return self.option_count > 0 if action == "select" else super().check_action(action, parameters)
