"""Captions mode: only the last lines, as large as the terminal allows, for a shared screen or someone hard of hearing.

In: the live session. Out: large letters.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ..glyphs import ASCII
from ..model.session import Change, SessionModel
from ..widgets.captions import BigCaptions
from ..widgets.keys import Keys
from .mixins import LiveKeys


class CaptionsScreen(LiveKeys):
    """Shows the end of the live session."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c", "back", "Back", key_display="esc", tooltip="Back to the transcript"),
        *LiveKeys.START_STOP,
        *LiveKeys.PAUSE_MUTE,
        Binding("plus,equals_sign", "size(1)", "Larger", key_display="+", tooltip="Larger letters"),
        Binding("minus", "size(-1)", "Smaller", key_display="-", tooltip="Smaller letters"),
        Binding("k", "keys", "Keys", tooltip="Show or hide the keys", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the letters and the keys."""
        yield BigCaptions(self.context.live.model, ascii_only=self.context.glyphs is ASCII)
        yield Keys()

    @property
    def captions(self) -> BigCaptions:
        """The large letters."""
        return self.query_one(BigCaptions)

    def on_mount(self) -> None:
        """Draw the current captions."""
        self._draw()

    def session_changed(self, model: SessionModel, change: Change) -> None:
        """Redraw if the live session changed."""
        if model is self.context.live.model and change & ~Change.SPEECH:
            self._draw()
            if change & Change.STATE:
                self.refresh_bindings()

    def _draw(self) -> None:
        captions, live = self.captions, self.context.live
        captions.model = live.model
        if self.trouble:
            captions.note = self.trouble
        elif live.session is None:
            captions.note = "press s to start" if not live.model.lines else ""
        else:
            captions.note = "paused" if live.session.paused else "muted" if live.session.muted else "listening"
        captions.refresh()

    def action_back(self) -> None:
        """Go back to the transcript."""
        self.app.pop_screen()

    def action_size(self, step: int) -> None:
        """Make the letters larger or smaller."""
        self.captions.resize_letters(step)

    def action_keys(self) -> None:
        """Show or hide the keys."""
        footer = self.query_one(Keys)
        footer.display = not footer.display
