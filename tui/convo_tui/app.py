"""The app: what it is made of, and where the messages of its workers go.

In: flags, settings, messages of the workers. Out: screens that are told what changed. What is decided is in `control/`:
the link (connecting), the session that is spoken (speaking), what is deleted (deleting), where one is (places), the
palette (commands). It knows nothing about captions: what is shown was said by the protocol.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

import convo
from convo.messages import UpdateSession
from convo.text import clean

from .arguments import Options
from .control.commands import commands
from .control.connecting import Connecting
from .control.deleting import UndoableDelete
from .control.places import Navigator
from .control.speaking import LiveController
from .glyphs import ASCII, UNICODE, Glyphs, WholeCells
from .model.pace import Health
from .model.session import Change, SessionModel
from .screens.base import ConvoScreen
from .screens.live import LiveScreen
from .settings import Settings, remember, settings_path
from .themes import FALLBACK, THEMES
from .work.messages import Began, Ended, Heard, JobChanged, LinkChanged, QueueChanged, Say
from .work.start import start
from .work.talk import Watch

if TYPE_CHECKING:
    from .work.queue import DaemonQueue
    from .work.uploads import Uploads

_GOODBYE_S = 3.0  # for the last audio and the end of a session when the app is left


class ConvoApp(App[None]):
    """Captions in the terminal."""

    TITLE = "convo"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (96, "-wide")]  # noqa: RUF012 - Textual asks for this

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "go('live')", "Live", tooltip="The session that is being spoken", show=False),
        Binding("2", "go('captions')", "Captions", tooltip="Large captions for a shared screen", show=False),
        Binding("3", "go('history')", "History", tooltip="All sessions, and a search in them", show=False),
        Binding("4", "go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
        Binding("u", "undo", "Undo", tooltip="Take back the session that was just deleted"),
        Binding("d", "devices", "Microphone", tooltip="Choose the microphone", show=False),
        Binding("T", "next_theme", "Next theme", tooltip="Dark, light, high contrast", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?", tooltip="All keys of this screen"),
        Binding(
            "q,ctrl+q", "quit", "Quit", key_display="q", tooltip="Leave; a session that is spoken is ended", show=False
        ),
    ]

    def __init__(
        self, options: Options, settings: Settings | None = None, complaints: Iterable[str] = (), **more: Any
    ) -> None:
        self.settings = settings or Settings()
        self.options = options
        self._complaints = list(complaints)
        # Textual's own answer to NO_COLOR is shades of grey; terminals' own colours it leaves out altogether.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None, **more)
        self.glyphs: Glyphs = ASCII if options.ascii or self.settings.ascii else UNICODE
        self.connecting = Connecting(self, options.connect or self.settings.connect or None, options.token)
        self.speaking = LiveController(self, options.device or self.settings.device or None)
        self.deleting = UndoableDelete(self)
        self.places = Navigator(self)
        self._leaving = False
        self._remembering = False

    # --- beginning and end --------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """The live screen, below all others."""
        return LiveScreen()

    def on_mount(self) -> None:
        """Set the theme and what signals do; the rest waits for the first screen."""
        for theme in THEMES:
            self.register_theme(theme)
        self._set_first_theme()
        self.set_class(self.glyphs is ASCII, "-ascii")
        self.set_class(self.no_color, "-no-color")
        ScrollBar.renderer = WholeCells if self.glyphs is ASCII else ScrollBarRender
        loop = asyncio.get_running_loop()
        for number in () if self.is_headless else (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, lambda: start(self, self.action_quit))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Connect, and show what was asked for."""
        if not gc.isenabled():  # the program switched it off until now
            gc.freeze()
            gc.enable()
        self.connecting.begin()
        for complaint in self._complaints:
            self.say(complaint, "warning")
        if self.options.play is not None:
            self.speaking.play(Path(self.options.play))
        if self.options.session is not None:
            start(self, partial(self.places.open_named, self.options.session))
        if self.options.captions or self.settings.captions:
            self.places.go("captions")

    async def action_quit(self) -> None:
        """End what is spoken, so that its last words are heard; then leave."""
        if self._leaving:
            self.exit()
            return
        self._leaving = True
        await self.deleting.close(_GOODBYE_S)
        await self.speaking.goodbye(_GOODBYE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                if "uploads" in self.__dict__:
                    await self.uploads.close()
        await self.speaking.close()
        await self.connecting.close()
        self.exit()

    # --- what screens ask for -----------------------------------------------------------------------------

    @property
    def link(self) -> convo.Link:
        """The connection to the daemon, as soon as there is one."""
        return self.connecting.link

    @property
    def health(self) -> Health:
        """Whether the daemon keeps up."""
        return self.speaking.health

    @property
    def screens(self) -> list[ConvoScreen]:
        """The full screens that are open, those below others, too."""
        return [screen for screen in self.screen_stack if isinstance(screen, ConvoScreen)]

    @cached_property
    def uploads(self) -> Uploads:
        """The queue of files; made, and its module imported, when somebody looks at it."""
        from .work.uploads import Uploads

        return Uploads(self.link, self.post_message)

    @cached_property
    def queue(self) -> DaemonQueue:
        """The daemon's own queue of files; made when somebody looks at it."""
        from .work.queue import DaemonQueue

        return DaemonQueue(self.link, self.post_message)

    def follow(self, model: SessionModel) -> Watch:
        """Something that follows a session for a screen."""
        return Watch(self.link, model, self.post_message)

    def ask(self, work: Coroutine[Any, Any, object], done: str = "") -> None:
        """Do something at the daemon; say what went wrong, or that it was done."""

        async def asking() -> None:
            try:
                await work
            except convo.ConvoError as error:
                self.say(clean(str(error)), "error")
            else:
                if done:
                    self.say(done)

        start(self, asking, group="ask")

    def rename(self, session: str, title: str) -> None:
        """Give a session another title."""
        self.ask(self.link.request(UpdateSession(session=session, title=title)))

    def say(self, text: str, severity: str = "information") -> None:
        """Tell the person something, as plain text."""
        kinds = {"warning": "warning", "error": "error"}
        self.notify(clean(text), severity=kinds.get(severity, "information"), markup=False)  # type: ignore[arg-type]

    # --- colours, and what is remembered ------------------------------------------------------------------

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colours in themes that do not name them."""
        theme = self.current_theme
        if self.native_ansi_color:
            return {
                "bright": "ansi_default", "faint": "ansi_default", "rule": "ansi_default", "live": "ansi_default",
            }  # fmt: skip
        known = theme.to_color_system().generate()
        return {name: known.get(stand_in, theme.primary) for name, stand_in in FALLBACK.items()}

    def _set_first_theme(self) -> None:
        wanted = self.options.theme or self.settings.theme
        if wanted not in self.available_themes:
            names = ", ".join(sorted(self.available_themes))
            self._complaints.append(f"There is no theme {wanted!r}; there are {names}.")
            wanted = Settings().theme
        self.theme = wanted
        self._remembering = True

    def watch_theme(self, theme: str) -> None:
        """Remember what somebody chose."""
        if self._remembering:
            self.remember(theme=theme)

    def remember(self, **changes: str | bool) -> None:
        """Write a setting for the next start."""
        if trouble := remember(settings_path(), **changes):
            self.say(trouble, "warning")

    def colour(self, name: str) -> str:
        """A colour of the theme as Rich writes it; nothing where there are no colours."""
        if self.no_color:
            return ""
        background = Color.parse(self.theme_variables["background"])
        return background.blend(colour := Color.parse(self.theme_variables[name]), colour.a).hex6

    # --- what workers say ---------------------------------------------------------------------------------

    @on(LinkChanged)
    def _link_changed(self, message: LinkChanged) -> None:
        self.connecting.changed(message)

    @on(Heard)
    def _heard(self, message: Heard) -> None:
        model, change = message.model, Change.NOTHING
        warned = len(model.warnings)
        for event in message.events:
            change |= model.apply(event)
        health = Health(self.connecting.state.up, model.lag_ms, message.backlog_s)
        self.speaking.heard(message)
        for screen in self.screens:
            screen.heard(model, change, message.level, health)
        if change & Change.WARNING and len(model.warnings) != warned:
            self.say(model.warnings[-1], "warning")

    @on(Began)
    def _began(self, message: Began) -> None:
        for screen in self.screens:
            screen.heard(message.model, Change.STATE | Change.TITLE, None, self.health)

    @on(Ended)
    def _ended(self, message: Ended) -> None:
        self.speaking.ended(message)
        if message.problem:
            self.say(clean(message.problem), "error")
        for screen in self.screens:
            screen.heard(message.model, Change.STATE, None, self.health)

    @on(JobChanged)
    @on(QueueChanged)
    def _job_changed(self, message: JobChanged | QueueChanged) -> None:
        for screen in self.screens:
            if screen.is_mounted:
                screen.job_changed()

    @on(Say)
    def _say(self, message: Say) -> None:
        self.say(message.text, message.severity)

    def history_changed(self, gone: str | None = None) -> None:
        """Sessions are about to go, are back, or are `gone`."""
        for screen in self.screens:
            screen.deleted(gone)

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Undo works while there is something to take back."""
        if action == "undo":
            return bool(self.deleting)
        return super().check_action(action, parameters)

    def action_go(self, place: str) -> None:
        """To one of the four places."""
        self.places.go(place)

    def action_undo(self) -> None:
        """Take back what was deleted last."""
        self.deleting.undo()

    def action_devices(self) -> None:
        """Choose the microphone."""
        self.places.devices()

    def action_help(self) -> None:
        """All keys of the screen that is in front."""
        self.places.help()

    def action_play_file(self) -> None:
        """Ask which recording to play."""
        self.places.ask_play()

    def action_next_theme(self) -> None:
        """Dark, light, high contrast."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that works here, then Textual's own."""
        yield from commands(self, screen)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command
