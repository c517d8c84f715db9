"""The microphone picker, with a live level meter.

In: PortAudio's devices. Out: the name of the choice, empty for the system's default. The highlighted device is read for
the meter while this is open; nothing of it is sent anywhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from convo.errors import BadAudio, NoMicrophone
from convo.microphone import InputDevice, input_devices
from convo.text import clean

from ..context import Context
from ..themes import colour
from ..widgets.status import Meter, StatusLine
from ..work.sources import FLOOR_DBFS, MicrophoneSource, level
from ..work.start import start
from .window import Window

_LEVEL_S = 0.1  # between two level messages


@dataclass
class Loudness(Message):
    """The level of the highlighted device, or the `problem` with it."""

    dbfs: float
    problem: str = ""

    def can_replace(self, message: Message) -> bool:
        """A newer level supersedes an older one; a problem stays."""
        return isinstance(message, Loudness) and not self.problem


class DevicesScreen(Window[str | None]):
    """Lists microphones."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "again", "Rescan")]

    def __init__(self, context: Context) -> None:
        super().__init__("Microphone", "Enter selects, r rescans, Esc goes back.")
        self.context = context
        self._devices: list[InputDevice] = []

    def content(self) -> ComposeResult:
        """Yield the list and the meter."""
        yield OptionList(id="devices")
        yield Meter(self.context.glyphs)

    def on_mount(self) -> None:
        """List the microphones."""
        self.action_again()

    def action_again(self) -> None:
        """List the microphones again."""
        options = self.query_one(OptionList)
        options.clear_options()
        meter = self.query_one(Meter)
        try:
            self._devices = input_devices()
        except (BadAudio, NoMicrophone) as error:
            self._devices = []
            meter.status = StatusLine(note="")
            options.add_option(Option(Text(clean(str(error))), disabled=True))
            return
        if not self._devices:
            options.add_option(Option(Text("No microphone found: plug one in and press r."), disabled=True))
            return
        faint = colour(self.app, "faint")
        options.add_option(Option("System default", id="default"))
        here = 0
        for place, device in enumerate(self._devices):
            about = f"   {device.rate / 1000:g} kHz" + (", default" if device.usual else "")
            options.add_option(Option(Text.assemble(clean(device.name), (about, faint)), id=f"device-{place}"))
            if device.name == self.context.live.device:
                here = place + 1
        options.highlighted = here
        options.focus()

    def _named(self, id: str | None) -> str:
        if id is None or not id.startswith("device-"):
            return ""
        return self._devices[int(id.removeprefix("device-"))].name

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        start(self, partial(self._listen, self._named(event.option.id) or None), group="level", exclusive=True)

    async def _listen(self, device: str | None) -> None:
        """Post the level until cancelled."""
        try:
            source = MicrophoneSource(device)
        except (BadAudio, NoMicrophone) as error:
            self.post_message(Loudness(FLOOR_DBFS, clean(str(error))))
            return
        loop = asyncio.get_running_loop()
        posted = float("-inf")
        try:
            while True:
                loud = level((await source.read())[-4096:])
                if loop.time() - posted >= _LEVEL_S:
                    posted = loop.time()
                    self.post_message(Loudness(loud))
        except BadAudio as error:
            self.post_message(Loudness(FLOOR_DBFS, str(error)))
        finally:
            source.close()

    @on(Loudness)
    def _loudness(self, message: Loudness) -> None:
        activity = "" if message.problem else f"{message.dbfs:.0f} dB"
        loud = None if message.problem else message.dbfs
        self.query_one(Meter).status = StatusLine(
            level=loud, activity=activity, speech=message.dbfs > -40, note=message.problem
        )

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.workers.cancel_group(self, "level")
        self.dismiss(self._named(event.option.id))
