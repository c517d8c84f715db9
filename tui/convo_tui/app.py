"""The app: one link to the daemon, one session that is spoken, files that wait, and the screens that show
them.

In: flags, settings, messages of the workers. Out: screens that are told what changed. It decides what keys mean across
screens and nothing about captions: what is shown was said by the protocol.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.screen import ModalScreen, Screen
from textual.worker import Worker, WorkerCancelled, WorkerFailed

import convo
from convo.errors import BadAudio, NoMicrophone
from convo.messages import AddMark, DeleteSession, SummaryOptions, UpdateSession
from convo.text import clean

from .arguments import Options
from .glyphs import ASCII, UNICODE, Glyphs
from .model.pace import Health
from .model.session import Change, SessionModel
from .screens.base import ConvoScreen
from .screens.live import LiveScreen
from .settings import Settings, remember, settings_path
from .themes import FALLBACK, THEMES
from .work.link import Link, LinkState, Phase
from .work.messages import Began, Ended, Heard, JobChanged, LinkChanged, Say
from .work.private import PrivateDaemon
from .work.sources import MicrophoneSource, PlayedFile, Source
from .work.start import start
from .work.talk import Talk, Watch

if TYPE_CHECKING:
    from .work.uploads import Uploads

UNDO_S = 8.0
"""Seconds in which a deleted session can be taken back."""

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
        Binding("T", "next_theme", "Theme", tooltip="Dark, light, high contrast", show=False),
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
        self.device: str | None = options.device or self.settings.device or None
        self.link_state = LinkState(Phase.CONNECTING)
        self.private = PrivateDaemon()
        self.live = SessionModel()
        self.talk: Talk | None = None
        self.level: float | None = None
        self.backlog_s = 0.0
        self.problem = ""
        self.leaving = False
        self._worker: Worker[None] | None = None
        self._linking: Worker[None] | None = None
        self._doomed: dict[str, asyncio.TimerHandle] = {}
        self._remembering = False
        self._asked_for_daemon = False

    # --- beginning and end --------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """The live screen, below all others."""
        return LiveScreen()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colours in themes that do not name them."""
        theme = self.current_theme
        if self.native_ansi_color:
            return {
                "bright": "ansi_default", "faint": "ansi_default", "rule": "ansi_default", "live": "ansi_default",
            }  # fmt: skip
        known = theme.to_color_system().generate()
        return {name: known.get(stand_in, theme.primary) for name, stand_in in FALLBACK.items()}

    def on_mount(self) -> None:
        """Connect, and show what was asked for."""
        for theme in THEMES:
            self.register_theme(theme)
        self._set_first_theme()
        self.set_class(self.glyphs is ASCII, "-ascii")
        self.set_class(self.no_color, "-no-color")
        self.link = Link(self.options.connect or self.settings.connect or None, self.options.token, self._link_says)
        loop = asyncio.get_running_loop()
        for number in () if self.is_headless else (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, lambda: start(self, self.action_quit))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if not gc.isenabled():  # the program switched it off until now
            gc.freeze()
            gc.enable()
        self._linking = start(self, self.link.run, group="link")
        for complaint in self._complaints:
            self.say(complaint, "warning")
        if self.options.play is not None:
            self.play(Path(self.options.play))
        if self.options.session is not None:
            start(self, partial(self._open_named, self.options.session))
        if self.options.captions or self.settings.captions:
            self.action_go("captions")

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

    async def action_quit(self) -> None:
        """End what is spoken, so that its last words are heard; then leave."""
        if self.leaving:
            self.exit()
            return
        self.leaving = True
        for session in list(self._doomed):
            await self._delete_now(session)
        if self.talk is not None and self._worker is not None and self.link_state.up:
            self.talk.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self.talk.wait_ended()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                if "uploads" in self.__dict__:
                    await self.uploads.close()
        for worker in (self._worker, self._linking):
            await _ended(worker)
        await self.private.close()
        self.exit()

    def colour(self, name: str) -> str:
        """A colour of the theme as Rich writes it; nothing where there are no colours."""
        if self.no_color:
            return ""
        background = Color.parse(self.theme_variables["background"])
        return background.blend(colour := Color.parse(self.theme_variables[name]), colour.a).hex6

    @cached_property
    def uploads(self) -> Uploads:
        """The queue of files; made, and its module imported, when somebody looks at it."""
        from .work.uploads import Uploads

        return Uploads(self.link, self.post_message)

    # --- the link -----------------------------------------------------------------------------------------

    def _link_says(self, state: LinkState) -> None:
        self.post_message(LinkChanged(state))

    @on(LinkChanged)
    def _link_changed(self, message: LinkChanged) -> None:
        before, self.link_state = self.link_state, message.state
        state = message.state
        if state.phase is Phase.LOST and before.phase is Phase.UP:
            self.say("The connection broke. What was said is kept here and sent as soon as it is back.", "warning")
        elif state.up and before.phase is Phase.LOST:
            self.say("Connected again; nothing is missing.")
        elif state.phase is Phase.REFUSED:
            self.say(state.why, "error")
        elif state.phase is Phase.NONE and not self._asked_for_daemon:
            self._asked_for_daemon = True
            from .screens.welcome import WelcomeScreen

            self.push_screen(WelcomeScreen())
        for screen in self._screens():
            screen.link_changed(state)
        if state.up and isinstance(self.screen, ModalScreen):
            self.screen.post_message(LinkChanged(state))

    async def start_private(self, *, keep: bool) -> str:
        """Start a daemon of our own; what went wrong, or nothing once it answers."""
        self.private.keep = keep
        try:
            await self.private.start(self.link.address)
        except OSError as error:
            return f"convod could not be started: {error.strerror or error}."
        ended = asyncio.create_task(self.private.wait_ended())
        answers = asyncio.create_task(self.link.client())
        hurrying = asyncio.create_task(self._hurry())
        try:
            done, _ = await asyncio.wait({ended, answers}, return_when=asyncio.FIRST_COMPLETED)
            return "" if answers in done else clean(ended.result())
        finally:
            for task in (ended, answers, hurrying):
                task.cancel()
            await asyncio.gather(ended, answers, hurrying, return_exceptions=True)

    async def _hurry(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.link.hurry()

    # --- the session that is spoken -----------------------------------------------------------------------

    @property
    def talking(self) -> bool:
        """Whether a session of ours is being spoken or ended."""
        return self.talk is not None

    @property
    def health(self) -> Health:
        """Whether the daemon keeps up."""
        return Health(self.link_state.up, self.live.lag_ms, self.backlog_s)

    def listen(self) -> None:
        """Begin a session with the microphone."""
        try:
            source = MicrophoneSource(self.device)
        except (BadAudio, NoMicrophone) as error:
            self.say(str(error), "error")
            return
        self._speak(source, title=None)

    def play(self, path: Path) -> None:
        """Begin a session with a recording, played as if it were spoken now."""
        if not path.is_file():
            self.say(f"{path} is no file.", "error")
            return
        self._speak(PlayedFile(path), title=path.stem)

    def _speak(self, source: Source, title: str | None) -> None:
        if self.talk is not None:
            source.close()
            self.say("A session is going on: stop it first.", "warning")
            return
        self.live = SessionModel(title=title or "")
        self.level, self.backlog_s, self.problem = None, 0.0, ""
        summary = SummaryOptions(mode=self.settings.summary_mode)
        self.talk = Talk(
            self.link,
            self.live,
            self.post_message,
            source,
            title=title,
            language=self.settings.language or None,
            summary=summary,
        )
        self._worker = start(self, self.talk.run, group="talk")
        self._tell(Change.STATE | Change.LINES | Change.TITLE)

    def stop_talk(self) -> None:
        """No more audio; if there is no session yet, there will be none."""
        if self.talk is None:
            return
        self.talk.stop()
        if not self.live.session and self._worker is not None:
            self._worker.cancel()
        self._tell(Change.STATE)

    def pause_talk(self) -> None:
        """Pause, or go on."""
        if self.talk is None or self.talk.stopped:
            return
        try:
            if self.talk.paused:
                self.talk.resume()
            else:
                self.talk.pause()
        except (BadAudio, NoMicrophone) as error:
            self.say(str(error), "error")
        self._tell(Change.STATE)

    def mute_talk(self) -> None:
        """Mute, or not."""
        if self.talk is not None:
            self.talk.mute(not self.talk.muted)
            self._tell(Change.STATE)

    def choose_device(self, name: str | None) -> None:
        """Listen to another microphone, now and from now on."""
        self.device = name
        self.remember(device=name or "")
        if self.talk is not None and isinstance(self.talk.source, MicrophoneSource) and not self.talk.stopped:
            try:
                self.talk.source.switch(name)
            except (BadAudio, NoMicrophone) as error:
                self.say(str(error), "error")
        self._tell(Change.STATE)

    def ask(self, work: Any, done: str = "") -> None:
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

    def finalize(self) -> None:
        """Have what was said so far written now."""
        if self.talk is not None:
            self.ask(self.talk.finalize())

    def mark(self, model: SessionModel, at: float) -> None:
        """Put a bookmark."""
        if model.session:
            self.ask(self.link.request(AddMark(session=model.session, time=at)))

    def rename(self, session: str, title: str) -> None:
        """Give a session another title."""
        self.ask(self.link.request(UpdateSession(session=session, title=title)))

    # --- what workers say ---------------------------------------------------------------------------------

    def _screens(self) -> list[ConvoScreen]:
        return [screen for screen in self.screen_stack if isinstance(screen, ConvoScreen)]

    def _tell(self, change: Change) -> None:
        for screen in self._screens():
            screen.heard(self.live, change, self.level, self.health)

    @on(Heard)
    def _heard(self, message: Heard) -> None:
        model, change = message.model, Change.NOTHING
        warned = len(model.warnings)
        for event in message.events:
            change |= model.apply(event)
        health = Health(self.link_state.up, model.lag_ms, message.backlog_s)
        if model is self.live:
            self.level = message.level if message.level is not None else self.level
            self.backlog_s = message.backlog_s
        for screen in self._screens():
            screen.heard(model, change, message.level, health)
        if change & Change.WARNING and len(model.warnings) != warned:
            self.say(model.warnings[-1], "warning")

    @on(Began)
    def _began(self, message: Began) -> None:
        for screen in self._screens():
            screen.heard(message.model, Change.STATE | Change.TITLE, None, self.health)

    @on(Ended)
    def _ended(self, message: Ended) -> None:
        if self.talk is not None and message.model is self.talk.model:
            self.talk = None
            self._worker = None
            self.level = None
            self.problem = message.problem or message.model.failure
        if message.problem:
            self.say(clean(message.problem), "error")
        for screen in self._screens():
            screen.heard(message.model, Change.STATE, None, self.health)

    @on(Say)
    def _say(self, message: Say) -> None:
        self.say(message.text, message.severity)

    def say(self, text: str, severity: str = "information") -> None:
        """Tell the person something, as plain text."""
        kinds = {"warning": "warning", "error": "error"}
        self.notify(clean(text), severity=kinds.get(severity, "information"), markup=False)  # type: ignore[arg-type]

    # --- deleting, with undo ------------------------------------------------------------------------------

    @property
    def doomed(self) -> set[str]:
        """Sessions that are about to be deleted."""
        return set(self._doomed)

    def delete(self, session: str, name: str) -> None:
        """Delete a session unless somebody takes it back."""
        if session in self._doomed:
            return
        loop = asyncio.get_running_loop()
        self._doomed[session] = loop.call_later(UNDO_S, self._doom, session)
        self.say(f"Deleted {name or session[:8]}. u takes it back.")
        self.refresh_bindings()

    def action_undo(self) -> None:
        """Take back what was deleted last."""
        if self._doomed:
            _, timer = self._doomed.popitem()
            timer.cancel()
            self.say("It is back.")
            self._history_changed()
            self.refresh_bindings()

    def _doom(self, session: str) -> None:
        start(self, partial(self._delete_now, session), group="delete")

    async def _delete_now(self, session: str) -> None:
        timer = self._doomed.get(session)
        if timer is None:
            return
        timer.cancel()
        try:
            async with asyncio.timeout(_GOODBYE_S if self.leaving else None):
                await self.link.request(DeleteSession(session=session))
        except convo.RequestError as error:
            if error.code != convo.Code.UNKNOWN_SESSION:
                self.say(error.message, "error")
        except TimeoutError:
            pass  # left without a daemon: the session stays, which loses nothing
        self._doomed.pop(session, None)
        self._history_changed(gone=session)
        self.refresh_bindings()

    def _history_changed(self, gone: str | None = None) -> None:
        from .screens.history import HistoryScreen

        for screen in self.screen_stack:
            if isinstance(screen, HistoryScreen):
                screen.deleted(gone)

    # --- finding one's way --------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Undo works while there is something to take back."""
        if action == "undo":
            return bool(self._doomed)
        return super().check_action(action, parameters)

    def action_go(self, place: str) -> None:
        """To one of the four places."""
        wanted = self._place(place)
        while len(self.screen_stack) > 1:
            if isinstance(self.screen, wanted) and place != "live":
                return
            self.pop_screen()
        if place != "live":
            self.push_screen(wanted())

    @staticmethod
    def _place(place: str) -> type[ConvoScreen]:
        if place == "captions":
            from .screens.captions import CaptionsScreen

            return CaptionsScreen
        if place == "history":
            from .screens.history import HistoryScreen

            return HistoryScreen
        if place == "files":
            from .screens.files import FilesScreen

            return FilesScreen
        return LiveScreen

    def action_devices(self) -> None:
        """Choose the microphone."""
        from .screens.devices import DevicesScreen

        self.push_screen(DevicesScreen())

    def action_help(self) -> None:
        """All keys of the screen that is in front."""
        from .screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_next_theme(self) -> None:
        """Dark, light, high contrast."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that works here, then Textual's own."""
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.description and active.enabled and not binding.system:
                yield SystemCommand(
                    f"{binding.description}", active.tooltip or binding.tooltip or f"Key {binding.key}",
                    self._command(active.node, binding.action),
                )  # fmt: skip
        yield SystemCommand("Play a recording", "As if it were spoken now", self.ask_play)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command

    def _command(self, node: Any, action: str) -> Any:
        async def run() -> None:
            await self.run_action(action, node)

        return run

    @on(JobChanged)
    def _job_changed(self, message: JobChanged) -> None:
        from .screens.files import FilesScreen

        for screen in self.screen_stack:
            if isinstance(screen, FilesScreen) and screen.is_mounted:
                screen.job_changed()

    def action_play_file(self) -> None:
        """Ask which recording to play."""
        self.ask_play()

    def ask_play(self) -> None:
        """Ask which recording to play."""
        from .screens.ask import AskScreen

        def chosen(path: str | None) -> None:
            if path:
                self.action_go("live")
                self.play(Path(path).expanduser())

        self.push_screen(AskScreen("Play a recording", "path of the file", paths=True), chosen)

    def open_session(self, model: SessionModel, *, segment: int | None = None) -> None:
        """Open a session's screen, at a segment."""
        from .screens.session import SessionScreen

        self.push_screen(SessionScreen(model, segment=segment))

    def follow(self, model: SessionModel) -> Watch:
        """Something that follows a session for a screen."""
        return Watch(self.link, model, self.post_message)

    async def _open_named(self, beginning: str) -> None:
        from convo.messages import ListSessions

        try:
            page = await self.link.request(ListSessions(limit=1000))
        except convo.ConvoError as error:
            self.say(clean(str(error)), "error")
            return
        found = [info for info in page.sessions if info.session.startswith(beginning)]
        exact = [info for info in found if info.session == beginning]
        if len(exact or found) != 1:
            problem = "Several sessions begin" if found else "No session begins"
            self.say(f"{problem} with {beginning!r}: choose one here.", "warning")
            self.action_go("history")
            return
        self.open_session(SessionModel.of((exact or found)[0]))


async def _ended(worker: Worker[None] | None) -> None:
    """Cancel a worker and wait until it has tidied up."""
    if worker is not None and not worker.is_finished:
        worker.cancel()
        with suppress(WorkerCancelled, WorkerFailed):
            await worker.wait()
