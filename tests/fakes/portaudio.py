"""PortAudio as sounddevice shows it, played by the test: devices, streams, a callback in a thread that is not ours.

In: what a microphone would hear (`say`). Out: calls of the stream's callback. All above the package is the real code.
"""

from __future__ import annotations

import threading
import types
from typing import Any


class PortAudioError(Exception):
    """As sounddevice raises it."""


class Status:
    """Flags of a callback."""

    def __init__(self, input_overflow: bool = False) -> None:
        self.input_overflow = input_overflow

    def __bool__(self) -> bool:
        return self.input_overflow


class CallbackStop(Exception):
    """As a callback raises it to end its stream."""


class Stream:
    """A stream that was opened with `settings`."""

    def __init__(self, module: FakePortAudio, settings: dict[str, Any]) -> None:
        self.module = module
        self.settings = settings
        self.running = False

    def start(self) -> None:
        self.running = True
        self.module.events.append(f"start {self.settings.get('device')}")

    def stop(self) -> None:
        if self.running:
            self.running = False
            self.module.events.append(f"stop {self.settings['device']}")
            if self.module.last_words:
                self.call(self.module.last_words)
                self.module.last_words = b""

    def close(self) -> None:
        self.running = False
        self.module.events.append(f"close {self.settings.get('device')}")

    def play(self, frames: int) -> bytes:
        """What a loudspeaker gets, in PortAudio's own thread; an output stream ends when its callback says so."""
        out = bytearray(2 * frames)

        def played() -> None:
            try:
                self.settings["callback"](memoryview(out), frames, None, Status())
            except CallbackStop:
                self.running = False
                self.settings["finished_callback"]()

        thread = threading.Thread(target=played)
        thread.start()
        thread.join()
        return bytes(out)

    def call(self, data: bytes, status: Status | None = None) -> None:
        self.settings["callback"](memoryview(data), len(data) // 2, None, status or Status())


class FakePortAudio(types.ModuleType):
    """As much of the package as a microphone and a picker need. `devices`: name to rate."""

    PortAudioError = PortAudioError
    CallbackStop = CallbackStop

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.devices = {"Built-in Microphone": 48000.0, "USB Headset": 44100.0}
        self.rates = {16000, 44100, 48000}
        self.outputs = {16000, 48000}  # rates that the loudspeaker takes; none: there is none
        self.broken: set[str] = set()
        self.streams: list[Stream] = []
        self.events: list[str] = []
        self.last_words = b""
        self.default = types.SimpleNamespace(device=[0, 1])

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind is None and device is None:
            listed = [
                {"name": name, "max_input_channels": 2, "default_samplerate": rate}
                for name, rate in self.devices.items()
            ]
            return [*listed, {"name": "Speakers", "max_input_channels": 0, "default_samplerate": 48000.0}]
        if kind == "output":
            if not self.outputs:
                raise PortAudioError("Error querying device -1")
            return {"name": "Speakers", "default_samplerate": 48000.0}
        if isinstance(device, str) and device not in self.devices:
            raise ValueError(f"No input device matching {device!r}")
        name = device if isinstance(device, str) else next(iter(self.devices))
        return {"name": name, "default_samplerate": self.devices[name]}

    def check_input_settings(self, *, samplerate: int, **rest: object) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate")

    def check_output_settings(self, *, samplerate: int, **rest: object) -> None:
        if samplerate not in self.outputs:
            raise PortAudioError("Invalid sample rate")

    def RawOutputStream(self, **settings: Any) -> Stream:
        stream = Stream(self, settings)
        self.streams.append(stream)
        return stream

    def RawInputStream(self, **settings: Any) -> Stream:
        if settings["device"] in self.broken:
            raise PortAudioError("Device unavailable")
        stream = Stream(self, settings)
        self.streams.append(stream)
        return stream

    @property
    def running(self) -> Stream:
        """The stream that is on."""
        (stream,) = [stream for stream in self.streams if stream.running]
        return stream

    def say(self, data: bytes, *, overflow: bool = False) -> None:
        """What PortAudio does in its own thread; returns when the callback has."""
        stream = self.running
        thread = threading.Thread(target=stream.call, args=(data, Status(overflow)))
        thread.start()
        thread.join()

    def unplug(self) -> None:
        """The device goes away."""
        stream = self.running
        stream.running = False
        thread = threading.Thread(target=stream.settings["finished_callback"])
        thread.start()
        thread.join()
