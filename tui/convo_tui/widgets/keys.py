"""The footer: the keys that work here, as many as fit.

In: the bindings of the screen. Out: one row. Keys that do not fit are left out from the right, but never help, which
lists all keys, or undo, which is there for seconds only.
"""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from convo.text import width

_ALWAYS = ("help", "undo")
_AROUND = 3  # cells around a key and between it and its label


class Keys(Footer):
    """Textual's footer, without truncated keys."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)
        self._composed_for = 0
        self._composed_of: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """Yield the keys that fit."""
        self._composed_for = self.screen.size.width
        self._composed_of = self._bindings_shown()
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        # The last one needs no space after it.
        room = self._composed_for + 1 - sum(_cells(key) for key in keys if key.action in _ALWAYS)
        full = False
        for key in keys:
            if key.action not in _ALWAYS:
                full = full or _cells(key) > room
                if full:
                    continue
                room -= _cells(key)
            yield key

    async def recompose(self) -> None:
        """Rebuild the row only if it would differ: Textual reports changed bindings at every move of the focus."""
        if not self.is_attached:
            return
        if self._composed_for != self.screen.size.width or self._composed_of != self._bindings_shown():
            await super().recompose()

    def _bindings_shown(self) -> tuple[object, ...]:
        if not self._bindings_ready:
            return ()
        active = self.screen.active_bindings.values()
        return tuple((binding, enabled, tooltip) for _, binding, enabled, tooltip in active if binding.show)

    def on_resize(self, event: events.Resize) -> None:
        """Fit the keys to the new width."""
        if self._composed_for and self.screen.size.width != self._composed_for:
            self.refresh(recompose=True)


def _cells(key: FooterKey) -> int:
    return width(key.key_display) + width(key.description) + _AROUND
