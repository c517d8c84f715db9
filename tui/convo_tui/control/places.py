"""Where one is: from one of the four places to another, and the screens and windows in front of them.

In: what keys and flags ask for. Out: screens that are pushed and popped. Each screen's module is imported when somebody
goes there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import convo
from convo.messages import ListSessions
from convo.text import clean

from ..model.session import SessionModel
from ..screens.base import ConvoScreen
from ..screens.live import LiveScreen

if TYPE_CHECKING:
    from ..app import ConvoApp

_NAMED = 100  # sessions that begin with the same letters


def place(name: str) -> type[ConvoScreen]:
    """The screen of a place: live, captions, history or files."""
    if name == "captions":
        from ..screens.captions import CaptionsScreen

        return CaptionsScreen
    if name == "history":
        from ..screens.history import HistoryScreen

        return HistoryScreen
    if name == "files":
        from ..screens.files import FilesScreen

        return FilesScreen
    return LiveScreen


class Navigator:
    """Goes there."""

    def __init__(self, app: ConvoApp) -> None:
        self._app = app

    def go(self, name: str) -> None:
        """To one of the four places."""
        app, wanted = self._app, place(name)
        while len(app.screen_stack) > 1:
            if isinstance(app.screen, wanted) and name != "live":
                return
            app.pop_screen()
        if name != "live":
            app.push_screen(wanted())

    def devices(self) -> None:
        """Choose the microphone."""
        from ..screens.devices import DevicesScreen

        self._app.push_screen(DevicesScreen())

    def help(self) -> None:
        """All keys of the screen that is in front."""
        from ..screens.help import HelpScreen

        if not isinstance(self._app.screen, HelpScreen):
            self._app.push_screen(HelpScreen(self._app.screen))

    def ask_play(self) -> None:
        """Ask which recording to play."""
        from ..screens.ask import AskScreen

        def chosen(path: str | None) -> None:
            if path:
                self.go("live")
                self._app.speaking.play(Path(path).expanduser())

        self._app.push_screen(AskScreen("Play a recording", "path of the file", paths=True), chosen)

    def ask_name(self, session: str, title: str) -> None:
        """Ask for a session's title."""
        from ..screens.ask import AskScreen

        def named(wanted: str | None) -> None:
            if wanted is not None:
                self._app.rename(session, wanted)

        self._app.push_screen(AskScreen("Name this session", "a title", value=title), named)

    def open_session(self, model: SessionModel, *, segment: int | None = None) -> None:
        """Open a session's screen, at a segment."""
        from ..screens.session import SessionScreen

        self._app.push_screen(SessionScreen(model, segment=segment))

    async def open_named(self, beginning: str) -> None:
        """Open the session whose id begins so; the list, if there is none or more than one."""
        app = self._app
        try:
            found = (await app.link.request(ListSessions(limit=_NAMED, prefix=beginning))).sessions
        except convo.ConvoError as error:
            app.say(clean(str(error)), "error")
            return
        exact = [info for info in found if info.session == beginning]
        if len(exact or found) != 1:
            problem = "Several sessions begin" if found else "No session begins"
            app.say(f"{problem} with {beginning!r}: choose one here.", "warning")
            self.go("history")
            return
        self.open_session(SessionModel.of((exact or found)[0]))
