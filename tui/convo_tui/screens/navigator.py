"""Where one is: from one of the four places to another, and the screens and windows in front of them.

In: what keys and flags ask for. Out: screens that are pushed and popped. Each screen's module is imported when somebody
goes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

import convo
from convo.messages import ListSessions

from ..context import Context
from ..messages import Notice, StartRequested
from ..model.session import SessionModel
from .base import ConvoScreen
from .live import LiveScreen

_NAMED = 100  # sessions that begin with the same letters


def place(name: str) -> type[ConvoScreen]:
    """The screen of a place: live, captions, history or files."""
    if name == "captions":
        from .captions import CaptionsScreen

        return CaptionsScreen
    if name == "history":
        from .history import HistoryScreen

        return HistoryScreen
    if name == "files":
        from .files import FilesScreen

        return FilesScreen
    return LiveScreen


class Navigator:
    """Goes there."""

    def __init__(self, app: App[Any], context: Context) -> None:
        self._app = app
        self._context = context

    def go(self, name: str) -> None:
        """To one of the four places."""
        app, wanted = self._app, place(name)
        while len(app.screen_stack) > 1:
            if isinstance(app.screen, wanted) and name != "live":
                return
            app.pop_screen()
        if name != "live":
            app.push_screen(wanted(self._context))

    def devices(self) -> None:
        """Choose the microphone."""
        from .devices import DevicesScreen

        def chosen(name: str | None) -> None:
            if name is not None:
                self._context.live.choose_device(name)

        self._app.push_screen(DevicesScreen(self._context), chosen)

    def help(self) -> None:
        """All keys of the screen that is in front."""
        from .help import HelpScreen

        if not isinstance(self._app.screen, HelpScreen):
            self._app.push_screen(HelpScreen(self._app.screen))

    def welcome(self) -> None:
        """What can be done where there is no daemon."""
        from .welcome import WelcomeScreen

        self._app.push_screen(WelcomeScreen(self._context.daemon))

    def ask_recording(self) -> None:
        """Ask which recording to play."""
        from .ask import AskScreen

        def chosen(path: str | None) -> None:
            if path:
                self._app.post_message(StartRequested(Path(path).expanduser()))

        self._app.push_screen(AskScreen("Play a recording", "path of the file", paths=True), chosen)

    def open_session(self, model: SessionModel, segment: int | None = None) -> None:
        """Open a session's screen, at a segment; the live screen for the session that is spoken."""
        from .session import SessionScreen

        if self._context.live.speaks(model.session):
            self.go("live")
        else:
            self._app.push_screen(SessionScreen(self._context, model, segment=segment))

    async def open_named(self, beginning: str) -> None:
        """Open the session whose id begins so; the list, if there is none or more than one."""
        request = ListSessions(limit=_NAMED, prefix=beginning)
        try:
            found = (await self._context.daemon.link.request(request)).sessions
        except convo.ConvoError as error:
            self._app.post_message(Notice(str(error), "error"))
            return
        exact = [info for info in found if info.session == beginning]
        if len(exact or found) != 1:
            problem = "Several sessions begin" if found else "No session begins"
            self._app.post_message(Notice(f"{problem} with {beginning!r}: choose one here.", "warning"))
            self.go("history")
            return
        self.open_session(SessionModel.of((exact or found)[0]))
