"""What all full screens have: the masthead, the footer, and the way by which they hear of sessions and the link.

In: calls of the app. Out: nothing by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.screen import Screen
from textual.widgets import Static

from ..model.pace import Health
from ..model.session import Change, SessionModel
from ..widgets.status import Masthead

if TYPE_CHECKING:
    from convo.resume import LinkState

    from ..app import ConvoApp


class ConvoScreen(Screen[None]):
    """A screen of this app."""

    app: ConvoApp

    @property
    def masthead(self) -> Masthead:
        """The first row."""
        return self.query_one(Masthead)

    def heard(self, model: SessionModel, change: Change, level: float | None, health: Health) -> None:
        """A session changed, or how loud it is."""

    def link_changed(self, state: LinkState) -> None:
        """The connection is up, or it is not."""

    def job_changed(self) -> None:
        """A file on its way made progress."""

    def deleted(self, session: str | None) -> None:
        """A session is gone; None: one is about to go, or was taken back."""

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, in two words."""
        phase = self.app.connecting.state.phase.name
        return {"LOST": "reconnecting", "ABSENT": "no daemon", "REFUSED": "not allowed"}.get(phase, "")

    def on_resize(self) -> None:
        """Another size has room for more, or for less."""
        if self.is_mounted:
            self._draw()

    def notify_style_update(self) -> None:
        """The theme changed: its colours are in the text."""
        super().notify_style_update()
        if self.is_mounted:
            self.call_later(self._draw)

    def _draw(self) -> None:
        raise NotImplementedError


class TalkScreen(ConvoScreen):
    """A screen from which a talk is begun, held and ended."""

    def action_start(self) -> None:
        """Begin with the microphone."""
        self.app.speaking.listen()

    def action_stop(self) -> None:
        """End the session."""
        self.app.speaking.stop()

    def action_pause(self) -> None:
        """Pause, or go on."""
        self.app.speaking.pause()

    def action_mute(self) -> None:
        """Mute, or not."""
        self.app.speaking.mute()


class RowsScreen(ConvoScreen):
    """A screen of rows."""

    def show_empty(self, text: str) -> None:
        """Say in the middle why there are no rows, and what to do; nothing if there are some."""
        empty = self.query_one("#empty", Static)
        empty.update(Text(text))
        empty.display = bool(text)
