"""What all full screens share.

In: a `Context`, calls of the app. Out: messages about what the user wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen

from convo.messages import Request, UpdateSession

from ..context import Context
from ..messages import DaemonRequest, Notice
from ..themes import colour
from ..widgets.status import Masthead
from .hooks import Hooks


class ConvoScreen(Hooks, Screen[None]):
    """A full screen, with a masthead. `_draw` redraws what depends on the size, the theme or the link."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    @property
    def masthead(self) -> Masthead:
        """The masthead, its first row."""
        return self.query_one(Masthead)

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, in two words; empty if nothing is."""
        phase = self.context.daemon.state.phase.name
        return {"LOST": "reconnecting", "ABSENT": "no daemon", "REFUSED": "not allowed"}.get(phase, "")

    def colour(self, name: str) -> str:
        """A colour of the theme as a Rich style."""
        return colour(self.app, name)

    # --- drawing ------------------------------------------------------------------------------------------

    def link_changed(self) -> None:
        """Redraw."""
        self._draw()

    def on_resize(self) -> None:
        """Redraw for the new size."""
        if self.is_mounted:
            self._draw()

    def notify_style_update(self) -> None:
        """Redraw: the theme's colours are part of the text."""
        super().notify_style_update()
        if self.is_mounted:
            self.call_later(self._draw)

    def _draw(self) -> None:
        raise NotImplementedError

    # --- what the user wants ------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell the user something."""
        self.post_message(Notice(text))

    def show_error(self, problem: str) -> None:
        """Tell the user what went wrong."""
        self.post_message(Notice(problem, "error"))

    def ask_daemon(self, request: Request[Any], done: str = "", then: Callable[[], object] | None = None) -> None:
        """Have the app send a request and tell the user how it went."""
        self.post_message(DaemonRequest(request, done, then))

    def ask_name(self, session: str, title: str) -> None:
        """Ask for a title, and rename a session."""
        from .ask import AskScreen

        def named(wanted: str | None) -> None:
            if wanted is not None:
                self.ask_daemon(UpdateSession(session=session, title=wanted))

        self.app.push_screen(AskScreen("Name this session", "title", value=title), named)
