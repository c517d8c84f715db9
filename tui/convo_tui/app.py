"""The app, which handles the messages of all workers and screens.

In: flags, settings, messages. Out: screens pushed, and told what changed. It knows nothing about captions: everything
shown comes from the protocol.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

import convo
from convo.resume import LinkPhase
from convo.text import clean

from .arguments import Options
from .context import Context
from .glyphs import ASCII, WholeCells
from .messages import (
    DaemonRequest,
    DeleteRequested,
    DeletesChanged,
    DownloadRequested,
    FinalizeRequested,
    JobsChanged,
    LinkChanged,
    MuteRequested,
    Notice,
    OpenSession,
    PauseRequested,
    RuleChanged,
    SessionChanged,
    SessionEnded,
    SessionEvents,
    SettingChanged,
    SetupChanged,
    StartRequested,
    StopRequested,
)
from .model.session import Change
from .screens.hooks import Hooks
from .screens.live import LiveScreen
from .screens.navigator import Navigator
from .settings import Settings, remember, settings_path
from .themes import FALLBACK, THEMES
from .work.link import reason
from .work.start import start

_GOODBYE_S = 3.0  # for the last audio and the end of a session, on quitting


class ConvoApp(App[None]):
    """Captions in the terminal."""

    TITLE = "convo"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (96, "-wide")]  # noqa: RUF012 - Textual asks for this

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "go('live')", "Live", tooltip="The live session", show=False),
        Binding("2", "go('captions')", "Captions", tooltip="Large captions for a shared screen", show=False),
        Binding("3", "go('history')", "History", tooltip="Browse and search all sessions", show=False),
        Binding("4", "go('files')", "Files", tooltip="Turn recordings into transcripts", show=False),
        Binding("5", "go('questions')", "Ask", tooltip="Ask what was said in any session", show=False),
        Binding("u", "undo", "Undo", tooltip="Restore the session you just deleted"),
        Binding("d", "devices", "Microphone", tooltip="Choose the microphone", show=False),
        Binding("D", "models", "Model", tooltip="Choose or download a speech model", show=False),
        Binding("L", "languages", "Languages", tooltip="Choose the languages that may be spoken", show=False),
        Binding("S", "settings", "Settings", tooltip="Look at the settings and change them", show=False),
        Binding("T", "next_theme", "Next theme", tooltip="Switch between dark, light and high contrast", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?", tooltip="All keys on this screen"),
        Binding("q,ctrl+q", "quit", "Quit", key_display="q", tooltip="Quit; a live session is ended", show=False),
    ]

    def __init__(
        self, options: Options, settings: Settings | None = None, problems: Iterable[str] = (), **more: Any
    ) -> None:
        self.options = options
        self.context = Context(self, options, settings or Settings())
        self.navigator = Navigator(self, self.context)
        self._welcomed = False  # the user was asked once what to do without a daemon
        self._problems = list(problems)
        # For NO_COLOR Textual alone would draw shades of grey; with the terminal's own colours it draws none.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None, **more)
        self._leaving = False
        self._exiting = False
        self._remembering = False

    # --- start and end ------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """The live screen, at the bottom of the stack."""
        return LiveScreen(self.context)

    def on_mount(self) -> None:
        """Set the theme and the signal handlers; the rest waits for the first paint."""
        for theme in THEMES:
            self.register_theme(theme)
        self._set_first_theme()
        poor = self.context.glyphs is ASCII
        self.set_class(poor, "-ascii")
        self.set_class(self.no_color, "-no-color")
        ScrollBar.renderer = WholeCells if poor else ScrollBarRender
        loop = asyncio.get_running_loop()
        for number in () if self.is_headless else (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            with suppress(ValueError, RuntimeError):  # not in the main thread
                loop.add_signal_handler(number, lambda: start(self, self.action_quit))
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Connect, and open what the flags name."""
        if not gc.isenabled():  # switched off during start-up
            gc.freeze()
            gc.enable()
        self.context.daemon.begin()
        self.context.setup.look()
        for problem in self._problems:
            self.post_message(Notice(problem, "warning"))
        if self.options.play is not None:
            self.context.live.play(Path(self.options.play))
        if self.options.session is not None:
            start(self, partial(self.navigator.open_named, self.options.session))
        if self.options.captions or self.context.settings.captions:
            self.navigator.go("captions")

    async def action_quit(self) -> None:
        """End the live session so that its last words are transcribed, then exit."""
        if not self._leaving:
            self._leaving = True
            await self.context.close(_GOODBYE_S)
        self._exiting = True
        self.exit()

    # --- what happened ------------------------------------------------------------------------------------

    @property
    def hooks(self) -> list[Hooks]:
        """The open screens, including those below others; none once the app exits, which takes them apart first."""
        if self._exiting:
            return []
        return [screen for screen in self.screen_stack if isinstance(screen, Hooks) and screen.is_mounted]

    @on(Notice)
    def _notice(self, message: Notice) -> None:
        self.notify(clean(message.text), severity=message.severity, markup=False)

    @on(LinkChanged)
    def _link_changed(self, message: LinkChanged) -> None:
        before, state = self.context.daemon.state, message.state
        self.context.daemon.state = state
        if state.phase is LinkPhase.LOST and before.phase is LinkPhase.UP:
            lost = "The connection was lost. Audio is kept here and sent once it is back."
            self.post_message(Notice(lost, "warning"))
        elif state.up and before.phase is LinkPhase.LOST:
            self.post_message(Notice("Reconnected; nothing was lost."))
        elif state.phase is LinkPhase.REFUSED:
            self.post_message(Notice(reason(state), "error"))
        if state.up:
            self.context.setup.refresh()
        elif state.phase is LinkPhase.ABSENT and not self._welcomed:
            self._welcomed = True
            self.navigator.welcome()
        for screen in self.hooks:
            screen.link_changed()

    @on(SessionEvents)
    def _session_events(self, message: SessionEvents) -> None:
        model, change = message.model, Change.NOTHING
        warned = len(model.warnings)
        for event in message.events:
            change |= model.apply(event)
        self.context.live.measured(message)
        for screen in self.hooks:
            screen.session_changed(model, change)
        if change & Change.WARNING and len(model.warnings) != warned:
            self.post_message(Notice(model.warnings[-1], "warning"))

    @on(SessionChanged)
    def _session_changed(self, message: SessionChanged) -> None:
        for screen in self.hooks:
            screen.session_changed(message.model, message.change)

    @on(SessionEnded)
    def _session_ended(self, message: SessionEnded) -> None:
        self.context.live.ended(message)
        if message.problem:
            self.post_message(Notice(message.problem, "error"))
        for screen in self.hooks:
            screen.session_changed(message.model, Change.STATE)

    @on(SetupChanged)
    def _setup_changed(self) -> None:
        for screen in self.hooks:
            screen.setup_changed()

    @on(JobsChanged)
    def _jobs_changed(self) -> None:
        for screen in self.hooks:
            screen.jobs_changed()

    @on(DeletesChanged)
    def _deletes_changed(self, message: DeletesChanged) -> None:
        for screen in self.hooks:
            screen.deletes_changed(message.gone)
        self.refresh_bindings()

    # --- what screens want --------------------------------------------------------------------------------

    @on(StartRequested)
    def _start_requested(self, message: StartRequested) -> None:
        if message.recording is None:
            self.context.live.listen()
        else:
            self.navigator.go("live")
            self.context.live.play(message.recording)

    @on(StopRequested)
    def _stop_requested(self) -> None:
        self.context.live.stop()

    @on(PauseRequested)
    def _pause_requested(self) -> None:
        self.context.live.pause()

    @on(MuteRequested)
    def _mute_requested(self) -> None:
        self.context.live.mute()

    @on(FinalizeRequested)
    def _finalize_requested(self) -> None:
        start(self, partial(self._ask, self.context.live.finalize), group="ask")

    @on(DownloadRequested)
    def _download_requested(self, message: DownloadRequested) -> None:
        self.context.setup.pull(message.model)

    @on(DaemonRequest)
    def _daemon_request(self, message: DaemonRequest) -> None:
        work = partial(self.context.daemon.link.request, message.request)
        start(self, partial(self._ask, work, message.done, message.then), group="ask")

    async def _ask(
        self, work: Callable[[], Coroutine[Any, Any, object]], done: str = "", then: Callable[[], object] | None = None
    ) -> None:
        try:
            await work()
        except convo.ConvoError as error:
            self.post_message(Notice(str(error), "error"))
            return
        if done:
            self.post_message(Notice(done))
        if then is not None:
            then()

    @on(OpenSession)
    def _open_session(self, message: OpenSession) -> None:
        self.navigator.open_session(message.model, message.segment)

    @on(DeleteRequested)
    def _delete_requested(self, message: DeleteRequested) -> None:
        if self.context.live.is_live(message.session):
            self.post_message(Notice("This session is live: stop it first.", "warning"))
        else:
            self.context.deletes.delete(message.session, message.name)

    @on(SettingChanged)
    def _setting_changed(self, message: SettingChanged) -> None:
        value: Any = getattr(Settings(), message.name) if message.value is None else message.value
        self.context.settings = replace(self.context.settings, **{message.name: value})
        if trouble := remember(settings_path(), **{message.name: message.value}):
            self.post_message(Notice(trouble, "warning"))
        for screen in self.hooks:
            screen.setup_changed()

    @on(RuleChanged)
    def _rule_changed(self, message: RuleChanged) -> None:
        from .work.vocabulary import change_rule

        if trouble := change_rule(message.wrong, message.right):
            self.post_message(Notice(trouble, "error"))
        elif message.right is not None:
            then = f"be {message.right!r}" if message.right else "be left out"
            self.post_message(Notice(f"{message.wrong!r} will {then} in later sessions."))
        for screen in self.hooks:
            screen.setup_changed()

    # --- colours ------------------------------------------------------------------------------------------

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give our own colours a stand-in in themes that do not define them."""
        theme = self.current_theme
        if self.native_ansi_color:
            return dict.fromkeys(FALLBACK, "ansi_default")
        known = theme.to_color_system().generate()
        return {name: known.get(stand_in, theme.primary) for name, stand_in in FALLBACK.items()}

    def _set_first_theme(self) -> None:
        wanted = self.options.theme or self.context.settings.theme
        if wanted not in self.available_themes:
            names = ", ".join(sorted(self.available_themes))
            self._problems.append(f"Unknown theme {wanted!r}; choose one of {names}.")
            wanted = Settings().theme
        self.theme = wanted
        self._remembering = True

    def watch_theme(self, theme: str) -> None:
        """Remember the choice."""
        if self._remembering:
            self.post_message(SettingChanged("theme", theme))

    # --- actions ------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer undo only while a delete can be undone."""
        if action == "undo":
            return bool(self.context.deletes)
        return super().check_action(action, parameters)

    def action_go(self, place: str) -> None:
        """Go to live, captions, history, files or questions."""
        self.navigator.go(place)

    def action_undo(self) -> None:
        """Undo the last delete."""
        self.context.deletes.undo()

    def action_devices(self) -> None:
        """Choose the microphone."""
        self.navigator.devices()

    def action_models(self) -> None:
        """Choose or download a speech model."""
        self.navigator.models()

    def action_languages(self) -> None:
        """Choose the languages that may be spoken."""
        self.navigator.languages()

    def action_settings(self) -> None:
        """Look at the settings and change them."""
        self.navigator.settings()

    def action_help(self) -> None:
        """Show the keys of the screen in front."""
        self.navigator.help()

    def action_play_file(self) -> None:
        """Ask for a recording to play."""
        self.navigator.ask_recording()

    def action_next_theme(self) -> None:
        """Switch to the next of our own themes."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """List every action that works here, then Textual's own."""
        seen: set[str] = set()  # an action can have several keys
        for active in screen.active_bindings.values():
            binding = active.binding
            about = active.tooltip or binding.tooltip
            action = binding.action.removeprefix("app.")
            if about and active.enabled and not binding.system and action not in seen:
                seen.add(action)
                yield SystemCommand(binding.description, about, partial(self.run_action, binding.action, active.node))
        if "play_file" not in seen:
            yield SystemCommand("Play a recording", "As if it were live", self.action_play_file)
        for command in super().get_system_commands(screen):
            if command.title in ("Theme", "Screenshot"):
                yield command
