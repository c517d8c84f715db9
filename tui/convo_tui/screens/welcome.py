"""The first start without a daemon: offers to start a private one, or says how to start a real one.

In: a choice. Out: a running daemon, or a sentence why not. Goes away by itself when a daemon answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from ..work.messages import LinkChanged
from ..work.private import PrivateDaemon
from ..work.start import start

if TYPE_CHECKING:
    from ..app import ConvoApp


class WelcomeScreen(ModalScreen[None]):
    """Asks what to do."""

    app: ConvoApp

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Wait for one"),
        Binding("q", "app.quit", "Quit"),
    ]

    def compose(self) -> ComposeResult:
        """Why, and what can be done."""
        address = self.app.link.address
        with Container(classes="window"):
            yield Static(Text("No daemon answers"), classes="window-title")
            about = Text(f"convo listens with convod, which should be at {address}.\n\n")
            if PrivateDaemon.possible(address):
                about.append(
                    "One that is started here hears with the best speech model on this machine; if there is none, with "
                    "a built-in one that understands only synthetic English. "
                )
            about.append("To fetch a real one, start it in another terminal:\n\n")
            about.append("    convod --model small\n", "bold")
            yield Static(about, id="welcome-about")
            choices = []
            if PrivateDaemon.possible(address):
                choices += [
                    Option("Start one for as long as this app runs", id="private"),
                    Option("Start one, and keep it when I leave", id="keep"),
                ]
            yield OptionList(*choices, Option("Wait until one is there", id="wait"), Option("Quit", id="quit"))
            yield Static("", id="welcome-said", classes="window-hint")

    def on_mount(self) -> None:
        """Somebody may have started one meanwhile."""
        if self.app.connecting.state.up:
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
        said = self.query_one("#welcome-said", Static)
        said.update("Starting convod with the best model on this machine.")

        async def starting() -> None:
            trouble = await self.app.connecting.start_private(keep=keep)
            if not trouble:
                if self.is_current:
                    self.dismiss(None)
                self.app.say("convod is up.")
                return
            said.update(Text(f"convod did not start: {trouble}"))
            options.disabled = False
            options.focus()

        # The app's: this screen may be left before it is up.
        start(self.app, starting, group="private")

    @on(LinkChanged)
    def _link_changed(self, message: LinkChanged) -> None:
        if message.state.up:
            self.dismiss(None)

    def action_leave(self) -> None:
        """Go on without one."""
        self.dismiss(None)
