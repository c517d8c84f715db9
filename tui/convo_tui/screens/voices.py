"""The voices that are remembered: look at them, forget one.

In: the daemon's list. Out: `DaemonRequest`s to forget. The protocol renames none: remember it anew in a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

import convo
from convo.messages import DeleteVoice, ListVoices, Voice
from convo.text import clean, clock, moment, width

from ..context import Context
from ..messages import DaemonRequest
from ..themes import colour
from ..widgets.status import cut
from ..work.start import start
from .ask import ChooseScreen
from .window import Window

_NAME = 28  # cells
_NONE = "No voices yet: v remembers one, in the speakers of a session (p)."


@dataclass
class Listed(Message):
    """The voices, or the `problem` with asking for them."""

    voices: list[Voice]
    problem: str = ""


class VoicesScreen(Window[None]):
    """Lists voices; x forgets one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x,delete", "forget", "Forget", key_display="x", tooltip="Forget the voice"),
    ]

    def __init__(self, context: Context) -> None:
        super().__init__("Voices", "x forgets one.  Esc goes back.")
        self.context = context
        self._voices: list[Voice] = []

    def content(self) -> ComposeResult:
        """Yield the list."""
        yield OptionList(id="voices")

    def on_mount(self) -> None:
        """Ask for the voices."""
        self.query_one(OptionList).focus()
        self.action_again()

    def link_changed(self) -> None:
        """Ask again once the connection is back."""
        if self.context.daemon.state.up:
            self.action_again()

    def action_again(self) -> None:
        """Ask for the voices again."""
        start(self, self._ask, group="voices", exclusive=True)

    async def _ask(self) -> None:
        try:
            reply = await self.context.daemon.link.request(ListVoices())
        except convo.ConvoError as error:
            self.post_message(Listed([], clean(str(error))))
        else:
            self.post_message(Listed(reply.voices))

    @on(Listed)
    def _listed(self, message: Listed) -> None:
        options, faint = self.query_one(OptionList), colour(self.app, "faint")
        here, self._voices = options.highlighted or 0, message.voices
        options.clear_options()
        for voice in self._voices:
            name = cut(clean(voice.name), _NAME, self.context.glyphs.ellipsis)
            about = f"{clock(voice.seconds):>6} heard  since {moment(voice.created)[:10]}"
            options.add_option(Option(Text.assemble(name, " " * (_NAME - width(name)), (about, faint), no_wrap=True)))
        if not self._voices:
            options.add_option(Option(Text(message.problem or _NONE, faint), disabled=True))
        options.highlighted = min(here, len(self._voices) - 1) if self._voices else None

    def action_forget(self) -> None:
        """Forget the voice, once the user has confirmed it."""
        at = self.query_one(OptionList).highlighted
        if at is None or at >= len(self._voices):
            return
        name, shown = self._voices[at].name, clean(self._voices[at].name)

        def chosen(choice: str | None) -> None:
            if choice == "forget":
                done = f"The voice of {shown} is forgotten."
                self.post_message(DaemonRequest(DeleteVoice(name=name), done, self.action_again))

        choices = [("keep", "Keep it", ""), ("forget", "Forget it", "sessions keep the name")]
        self.app.push_screen(ChooseScreen(f"Forget the voice of {shown}?", choices), chosen)
