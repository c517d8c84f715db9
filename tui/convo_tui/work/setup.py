"""What the first screen tells: the microphone of the system, the daemon's model, a model being downloaded.

In: PortAudio's devices, the daemon's answers. Out: plain values, and `SetupChanged` when one changed. Nothing here
touches a widget.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from textual.dom import DOMNode

import convo
from convo.errors import BadAudio, NoMicrophone
from convo.messages import EngineStatus, ListModels, ModelInfo, ModelProgress, Status
from convo.text import clean

from ..messages import Notice, SettingChanged, SetupChanged
from .link import DaemonLink
from .start import start

LOADING_S = 1.0
"""Seconds between two questions while the daemon loads its model."""


@dataclass(frozen=True, slots=True)
class Download:
    """A model on its way."""

    model: str
    done_bytes: int = 0
    total_bytes: int | None = None


class Setup:
    """`microphone` is the system's default, `problem` why there is none; `engine` is None until the daemon answered."""

    def __init__(self, owner: DOMNode, daemon: DaemonLink) -> None:
        self.microphone = ""
        self.problem = ""
        self.engine: EngineStatus | None = None
        self.models: list[ModelInfo] = []
        self.download: Download | None = None
        self._owner = owner
        self._daemon = daemon

    def look(self) -> None:
        """Look for the system's microphone."""
        start(self._owner, self._look, group="microphone")

    async def _look(self) -> None:
        from convo.microphone import input_devices

        try:
            devices = await asyncio.to_thread(input_devices)  # PortAudio takes its time on some systems
        except (BadAudio, NoMicrophone) as error:
            self.problem = clean(str(error))
        else:
            self.microphone = next((clean(device.name) for device in devices if device.usual), "")
            self.problem = "" if devices else "none found: plug one in, then press d"
        self._owner.post_message(SetupChanged())

    def refresh(self) -> None:
        """Ask the daemon for its model and those it could have."""
        start(self._owner, self._refresh, group="setup", exclusive=True)

    async def _refresh(self) -> None:
        while True:
            try:
                self.engine = (await self._daemon.link.request(Status())).engine
                self.models = (await self._daemon.link.request(ListModels())).models
            except convo.ConvoError:
                return  # what it refuses is not shown; a lost link comes back
            self._owner.post_message(SetupChanged())
            if self.engine.state != "loading":
                return
            await asyncio.sleep(LOADING_S)

    def pull(self, model: str) -> None:
        """Download a model, one at a time, and use it from then on."""
        if self.download is not None:
            self._owner.post_message(Notice(f"{self.download.model} is being downloaded: wait for its end.", "warning"))
            return
        self.download = Download(model)
        self._owner.post_message(SetupChanged())
        start(self._owner, partial(self._pull, model), group="pull")

    async def _pull(self, model: str) -> None:
        def progress(message: ModelProgress) -> None:
            self.download = Download(model, message.done_bytes, message.total_bytes)
            self._owner.post_message(SetupChanged())

        try:
            await self._daemon.link.ask(lambda client: client.pull_model(model, progress))
        except convo.ConvoError as error:
            self._owner.post_message(Notice(str(error), "error"))
        else:
            self._owner.post_message(SettingChanged("model", model))
            self._owner.post_message(Notice(f"{model} is here. The next session uses it."))
        finally:
            self.download = None
            self._owner.post_message(SetupChanged())
        self.refresh()
