"""The first start without a daemon: offers to start a private one, or says how to start a full one.

In: the link. Out: a running daemon, or one sentence that says why not. It closes by itself once a daemon answers.
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
    """Asks what to do without a daemon."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "app.quit", "Quit")]

    def __init__(self, daemon: DaemonLink) -> None:
        super().__init__("No daemon answers")
        self._daemon = daemon

    def content(self) -> ComposeResult:
        """Yield the reason and the choices."""
        address = self._daemon.link.address
        possible = PrivateDaemon.possible(address)
        about = Text(f"convo needs the daemon convod, which should be at {address}.\n\n")
        if possible:
            about.append(
                "One started here uses the best speech model on this machine; if there is none, a built-in one that "
                "understands only synthetic English. "
            )
        about.append("Once it runs, D downloads one that understands people. Or start convod in another terminal:\n\n")
        about.append("    convod --model small\n", "bold")
        yield Static(about, id="welcome-about")
        choices = {"wait": "Wait for one", "quit": "Quit"}
        if possible:
            own = {"private": "Start one until I quit", "keep": "Start one and keep it running"}
            choices = own | choices
        yield OptionList(*[Option(text, id=choice) for choice, text in choices.items()])

    def on_mount(self) -> None:
        """Close at once if a daemon answers by now."""
        self.link_changed()

    def link_changed(self) -> None:
        """Close once a daemon answers."""
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
                self.app.post_message(Notice("convod is running."))
                return
            self.hint(f"convod did not start: {trouble}")
            options.disabled = False
            options.focus()

        # A worker of the app: this window may be left before convod is up.
        start(self.app, starting, group="private")
