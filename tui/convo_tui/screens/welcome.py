"""The first start without a daemon: offers to start a private one, or says how to start a real one.

In: the link. Out: a running daemon, or a sentence why not. Goes away by itself when a daemon answers.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..messages import Notice
from ..work.link import DaemonLink
from ..work.private import PrivateDaemon
from ..work.start import start
from .window import Window


class WelcomeScreen(Window[None]):
    """Asks what to do."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", "Quit")]

    def __init__(self, daemon: DaemonLink) -> None:
        super().__init__("No daemon answers")
        self._daemon = daemon

    def content(self) -> ComposeResult:
        """Why, and what can be done."""
        address = self._daemon.link.address
        possible = PrivateDaemon.possible(address)
        about = Text(f"convo listens with convod, which should be at {address}.\n\n")
        if possible:
            about.append(
                "One that is started here hears with the best speech model on this machine; if there is none, with "
                "a built-in one that understands only synthetic English. "
            )
        about.append("To fetch a real one, start it in another terminal:\n\n")
        about.append("    convod --model small\n", "bold")
        yield Static(about, id="welcome-about")
        choices = {"wait": "Wait until one is there", "quit": "Quit"}
        if possible:
            own = {"private": "Start one for as long as this app runs", "keep": "Start one, and keep it when I leave"}
            choices = own | choices
        yield OptionList(*[Option(text, id=choice) for choice, text in choices.items()])

    def on_mount(self) -> None:
        """Somebody may have started one meanwhile."""
        self.link_changed()

    def link_changed(self) -> None:
        """Nothing is left to ask once a daemon answers."""
        if self._daemon.state.up and self.is_current:
            self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        match event.option.id:
            case "private" | "keep":
                self._start(keep=event.option.id == "keep")
            case "quit":
                start(self, self.app.action_quit)
            case _:
                self.dismiss(None)

    def _start(self, *, keep: bool) -> None:
        options = self.query_one(OptionList)
        options.disabled = True
        self.hint("Starting convod with the best model on this machine.")

        async def starting() -> None:
            trouble = await self._daemon.start_private(keep=keep)
            if not trouble:
                if self.is_current:
                    self.dismiss(None)
                self.app.post_message(Notice("convod is up."))
                return
            self.hint(f"convod did not start: {trouble}")
            options.disabled = False
            options.focus()

        # The app's: this screen may be left before it is up.
        start(self.app, starting, group="private")
