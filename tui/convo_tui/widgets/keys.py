"""The footer: the keys that work here, as many as fit whole.

In: the bindings of the screen. Out: one row. What does not fit is left out from the right, but never the help, which
lists all of them, nor the undo, which is there for seconds only.
"""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from convo.text import width

_ALWAYS = ("help", "undo")
_AROUND = 3  # cells around and between a key and what it does


class Keys(Footer):
    """Textual's footer, without keys that are cut in two."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._composed_for = 0

    def compose(self) -> ComposeResult:
        """The keys that fit."""
        self._composed_for = self.screen.size.width
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        # Behind the last one there need not be a space.
        room = self._composed_for + 1 - sum(_cells(key) for key in keys if key.action in _ALWAYS)
        full = False
        for key in keys:
            if key.action not in _ALWAYS:
                full = full or _cells(key) > room
                if full:
                    continue
                room -= _cells(key)
            yield key

    def on_resize(self, event: events.Resize) -> None:
        """Others fit now."""
        if self._composed_for and self.screen.size.width != self._composed_for:
            self.refresh(recompose=True)


def _cells(key: FooterKey) -> int:
    return width(key.key_display) + width(key.description) + _AROUND
