"""The microphone picker: what is there, and how loud it is right now.

In: PortAudio's devices. Out: the choice, remembered. The highlighted device is listened to as long as this is open, and
nothing of it is sent anywhere.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from convo.errors import BadAudio, NoMicrophone
from convo.microphone import InputDevice, input_devices
from convo.text import clean

from ..widgets.status import Meter, StatusLine
from ..work.sources import FLOOR_DBFS, MicrophoneSource, level
from ..work.start import start

if TYPE_CHECKING:
    from ..app import ConvoApp

_LEVEL_S = 0.1  # between two levels


class Loudness(Message):
    """How loud the highlighted device is; `problem` if it cannot be heard."""

    def __init__(self, dbfs: float, problem: str = "") -> None:
        super().__init__()
        self.dbfs = dbfs
        self.problem = problem

    def can_replace(self, message: Message) -> bool:
        """The last one counts, but for what went wrong."""
        return isinstance(message, Loudness) and not self.problem


class DevicesScreen(ModalScreen[None]):
    """Lists microphones."""

    app: ConvoApp

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("r", "again", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._devices: list[InputDevice] = []

    def compose(self) -> ComposeResult:
        """The list and the meter."""
        with Container(classes="window"):
            yield Static(Text("Microphone"), classes="window-title")
            yield OptionList(id="devices")
            yield Meter(self.app.glyphs)
            yield Static(Text("Enter chooses, r looks again, Esc goes back."), classes="window-hint")

    def on_mount(self) -> None:
        """Look what is there."""
        self.action_again()

    def action_again(self) -> None:
        """Look again."""
        options = self.query_one(OptionList)
        options.clear_options()
        meter = self.query_one(Meter)
        try:
            self._devices = input_devices()
        except (BadAudio, NoMicrophone) as error:
            self._devices = []
            meter.going = StatusLine(note="")
            options.add_option(Option(Text(clean(str(error))), disabled=True))
            return
        if not self._devices:
            options.add_option(Option(Text("There is no microphone: plug one in, and press r."), disabled=True))
            return
        faint = self.app.colour("faint")
        options.add_option(Option(Text.assemble("The usual one", ("   what the system says", faint)), id="usual"))
        here = 0
        for place, device in enumerate(self._devices):
            about = f"   {device.rate / 1000:g} kHz" + (", usual" if device.usual else "")
            options.add_option(Option(Text.assemble(clean(device.name), (about, faint)), id=f"device-{place}"))
            if device.name == self.app.speaking.device:
                here = place + 1
        options.highlighted = here
        options.focus()

    def _named(self, id: str | None) -> str | None:
        if id is None or not id.startswith("device-"):
            return None
        return self._devices[int(id.removeprefix("device-"))].name

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        start(self, partial(self._listen, self._named(event.option.id)), group="level", exclusive=True)

    async def _listen(self, device: str | None) -> None:
        """Post how loud it is until cancelled."""
        try:
            source = MicrophoneSource(device)
        except (BadAudio, NoMicrophone) as error:
            self.post_message(Loudness(FLOOR_DBFS, clean(str(error))))
            return
        loop = asyncio.get_running_loop()
        told = float("-inf")
        try:
            while True:
                loud = level((await source.read())[-4096:])
                if loop.time() - told >= _LEVEL_S:
                    told = loop.time()
                    self.post_message(Loudness(loud))
        except BadAudio as error:
            self.post_message(Loudness(FLOOR_DBFS, str(error)))
        finally:
            source.close()

    @on(Loudness)
    def _loudness(self, message: Loudness) -> None:
        hearing = "" if message.problem else f"{message.dbfs:.0f} dB"
        loud = None if message.problem else message.dbfs
        self.query_one(Meter).going = StatusLine(
            level=loud, hearing=hearing, speech=message.dbfs > -40, note=message.problem
        )

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        name = self._named(event.option.id)
        self.workers.cancel_group(self, "level")
        self.app.speaking.choose_device(name)
        self.dismiss(None)

    def action_leave(self) -> None:
        """Back, as it was."""
        self.dismiss(None)
