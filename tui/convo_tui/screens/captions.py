"""Captions mode: the last lines only, as large as the terminal allows, for a shared screen or someone hard of hearing.

In: the app's live session, or another that is watched. Out: large letters.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from convo.resume import LinkState

from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.captions import BigCaptions
from ..widgets.keys import Keys
from .base import TalkScreen


class CaptionsScreen(TalkScreen):
    """Shows the end of `app.speaking.live`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,c", "back", "Back", key_display="esc", tooltip="To the transcript"),
        Binding("s", "start", "Start", tooltip="Start a session with the microphone"),
        Binding("s", "stop", "Stop", tooltip="End the session"),
        Binding("space", "pause", "Pause", key_display="space", tooltip="Switch the microphone off, or on again"),
        Binding("m", "mute", "Mute", tooltip="Send silence in place of what is heard"),
        Binding("plus,equals_sign", "size(1)", "Larger", key_display="+", tooltip="Larger letters"),
        Binding("minus", "size(-1)", "Smaller", key_display="-", tooltip="Smaller letters"),
        Binding("k", "keys", "Keys", tooltip="Show the keys, or hide them", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Letters, and the keys until they are hidden."""
        yield BigCaptions(self.app.speaking.live, ascii_only=self.app.has_class("-ascii"))
        yield Keys()

    @property
    def captions(self) -> BigCaptions:
        """The letters."""
        return self.query_one(BigCaptions)

    def on_mount(self) -> None:
        """Draw what is there."""
        self._draw()

    def heard(self, model: SessionModel, change: Change, level: float | None, health: Health) -> None:
        """The live session changed."""
        if model is self.app.speaking.live and self.is_mounted and change & ~Change.SPEECH:
            self._draw()
            if change & Change.STATE:
                self.refresh_bindings()

    def link_changed(self, state: LinkState) -> None:
        """Show it."""
        if self.is_mounted:
            self._draw()

    def _draw(self) -> None:
        captions = self.captions
        captions.model = self.app.speaking.live
        talk = self.app.speaking.talk
        if self.trouble:
            captions.note = self.trouble
        elif talk is None:
            captions.note = "press s to start" if not self.app.speaking.live.lines else ""
        else:
            captions.note = "paused" if talk.paused else "muted" if talk.muted else "listening"
        captions.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        talk = self.app.speaking.talk
        if action == "start":
            return talk is None
        if action in ("stop", "pause", "mute"):
            return talk is not None and not talk.stopped
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """To the transcript."""
        self.app.pop_screen()

    def action_size(self, step: int) -> None:
        """Larger or smaller letters."""
        self.captions.resize_letters(step)

    def action_keys(self) -> None:
        """Show the keys, or hide them."""
        footer = self.query_one(Keys)
        footer.display = not footer.display
