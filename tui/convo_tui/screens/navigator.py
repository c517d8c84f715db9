"""Navigation between the five places, and the screens and windows in front of them.

In: where to go. Out: screens pushed and popped. Each screen's module is imported on first use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App

import convo
from convo.languages import codes_in
from convo.messages import ListSessions

from ..context import Context
from ..messages import Notice, SettingChanged, StartRequested
from ..model.session import SessionModel
from .base import ConvoScreen
from .live import LiveScreen

_NAMED = 100  # sessions listed for a prefix


def place(name: str) -> type[ConvoScreen]:
    """The screen of a place: live, captions, history, files or questions."""
    if name == "captions":
        from .captions import CaptionsScreen

        return CaptionsScreen
    if name == "history":
        from .history import HistoryScreen

        return HistoryScreen
    if name == "files":
        from .files import FilesScreen

        return FilesScreen
    if name == "questions":
        from .questions import QuestionsScreen

        return QuestionsScreen
    return LiveScreen


class Navigator:
    """Pushes and pops screens."""

    def __init__(self, app: App[Any], context: Context) -> None:
        self._app = app
        self._context = context

    def go(self, name: str) -> None:
        """Go to one of the five places."""
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

    def models(self) -> None:
        """Choose or download a speech model."""
        from .models import ModelsScreen

        self._app.push_screen(ModelsScreen(self._context))

    def languages(self) -> None:
        """Ask which languages may be spoken."""
        from .ask import AskScreen

        settings = self._context.settings

        def chosen(text: str | None) -> None:
            if text is None:
                return
            try:
                codes = codes_in(text)
            except ValueError as error:
                self._app.post_message(Notice(str(error), "error"))
                return
            self._app.post_message(SettingChanged("languages", ",".join(codes)))
            if settings.language:  # of an earlier version, or written by hand: one setting says it
                self._app.post_message(SettingChanged("language", None))

        question = "Which languages may be spoken? Codes, such as de,ko,en"
        self._app.push_screen(AskScreen(question, "any: it is detected", value=",".join(settings.spoken)), chosen)

    def settings(self) -> None:
        """Look at the settings and change them."""
        from .settings import SettingsScreen

        if not isinstance(self._app.screen, SettingsScreen):
            self._app.push_screen(SettingsScreen(self._context))

    def help(self) -> None:
        """Show the keys of the screen in front."""
        from .help import HelpScreen

        if not isinstance(self._app.screen, HelpScreen):
            self._app.push_screen(HelpScreen(self._app.screen))

    def welcome(self) -> None:
        """Ask what to do without a daemon."""
        from .welcome import WelcomeScreen

        self._app.push_screen(WelcomeScreen(self._context.daemon))

    def ask_recording(self) -> None:
        """Ask for a recording to play."""
        from .ask import AskScreen

        def chosen(path: str | None) -> None:
            if path:
                self._app.post_message(StartRequested(Path(path).expanduser()))

        self._app.push_screen(AskScreen("Play a recording", "path of a file", paths=True), chosen)

    def open_session(self, model: SessionModel, segment: int | None = None) -> None:
        """Open a session, at a segment; the live session opens on the live screen."""
        from .session import SessionScreen

        if self._context.live.is_live(model.session):
            self.go("live")
        else:
            self._app.push_screen(SessionScreen(self._context, model, segment=segment))

    async def open_named(self, beginning: str) -> None:
        """Open the session whose id starts with `beginning`; the list if none or several do."""
        request = ListSessions(limit=_NAMED, prefix=beginning)
        try:
            found = (await self._context.daemon.link.request(request)).sessions
        except convo.ConvoError as error:
            self._app.post_message(Notice(str(error), "error"))
            return
        exact = [info for info in found if info.session == beginning]
        if len(exact or found) != 1:
            problem = "Several session ids start" if found else "No session id starts"
            self._app.post_message(Notice(f"{problem} with {beginning!r}: choose one here.", "warning"))
            self.go("history")
            return
        self.open_session(SessionModel.of((exact or found)[0]))
