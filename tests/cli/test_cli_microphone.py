"""The microphone, with PortAudio played by the test."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from convo import microphone
from convo_cli.errors import Exit, Problem
from convo_cli.microphone import Microphone
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon


class PortAudioError(Exception):
    pass


class Status:
    def __init__(self, input_overflow: bool = False) -> None:
        self.input_overflow = input_overflow

    def __bool__(self) -> bool:
        return self.input_overflow


class FakeSoundDevice(types.ModuleType):
    """As much of the package as a microphone needs."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.rates = {16000}
        self.default = 48000.0
        self.opened: dict[str, Any] = {}
        self.events: list[str] = []

    def query_devices(self, device: object, kind: str) -> dict[str, float]:
        if device == "none":
            raise ValueError("No input device matching 'none'")
        return {"default_samplerate": self.default}

    def check_input_settings(self, *, samplerate: int, **rest: object) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate")

    def RawInputStream(self, **settings: Any) -> FakeSoundDevice:
        self.opened = settings
        return self

    def start(self) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")

    def close(self) -> None:
        self.events.append("close")

    async def say(self, data: bytes, status: Status | None = None) -> None:
        """What PortAudio does in its own thread."""
        came: Callable[..., None] = self.opened["callback"]
        await trio.to_thread.run_sync(came, memoryview(data), len(data) // 2, None, status or Status())


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSoundDevice:
    module = FakeSoundDevice()
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


async def test_what_is_said_is_read(sound: FakeSoundDevice) -> None:
    mic = Microphone(None)
    assert (mic.format.encoding, mic.format.rate, mic.format.channels) == ("s16le", 16000, 1)
    async with trio.open_nursery() as nursery:
        read: list[bytes] = []

        async def listen() -> None:
            read.append(await mic.read())

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await sound.say(b"one")
    await sound.say(b"two")
    await sound.say(b"three")
    assert read == [b"one"]
    assert await mic.read() == b"twothree"
    await sound.say(b"end")
    assert mic.rest() == b"end"
    mic.close()
    assert sound.events == ["start", "stop", "close"]
    assert mic.lost_s() == 0


async def test_a_device_that_has_its_own_rate(sound: FakeSoundDevice) -> None:
    sound.rates = {44100}
    sound.default = 44100.0
    assert Microphone("3").format.rate == 44100
    assert sound.opened["device"] == 3


async def test_what_waits_is_bounded_and_what_is_dropped_is_counted(
    sound: FakeSoundDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "WAITING_S", 0.08)
    mic = Microphone(None)
    for _ in range(5):
        await sound.say(bytes(1280))
    assert len(await mic.read()) == 2 * 1280
    assert mic.lost_s() == pytest.approx(3 * 0.04)
    await sound.say(bytes(1280), Status(input_overflow=True))
    assert mic.lost_s() == pytest.approx(4 * 0.04)


async def test_a_microphone_that_goes_away(sound: FakeSoundDevice) -> None:
    mic = Microphone(None)
    await sound.say(b"word")
    await trio.to_thread.run_sync(sound.opened["finished_callback"])
    assert await mic.read() == b"word"
    with pytest.raises(Problem, match="was disconnected"):
        await mic.read()


@pytest.mark.parametrize(("device", "rates", "says"), [("none", {16000}, "--device"), (None, set(), "choose another")])
async def test_a_microphone_that_cannot_be_opened(
    sound: FakeSoundDevice, device: str | None, rates: set[int], says: str
) -> None:
    sound.rates = rates
    with pytest.raises(Problem, match=says) as caught:
        Microphone(device)
    assert caught.value.code is Exit.BAD_AUDIO


async def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Problem, match=r"pip install 'convo\[mic\]'"):
        Microphone(None)


async def test_without_portaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLibrary:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoLibrary(), *sys.meta_path])
    with pytest.raises(Problem, match="libportaudio2"):
        Microphone(None)


def test_a_talk_into_the_microphone_that_ctrl_c_ends(sound: FakeSoundDevice, fake: FakeDaemon, run: Run) -> None:
    """The last thing recorded comes when the stream is stopped, and is sent, too."""

    def talk() -> None:
        for piece in (b"one.", b"two.", b"three..."):
            sound.opened["callback"](piece, len(piece) // 2, None, Status())
        fake.wait(lambda: bool(fake.sessions) and bytes(fake.only.audio) == b"one.two.three...")
        os.kill(os.getpid(), signal.SIGINT)

    def start() -> None:
        threading.Thread(target=talk).start()

    def stop() -> None:
        sound.opened["callback"](b"the end.", 4, None, Status())

    sound.start, sound.stop = start, stop  # type: ignore[method-assign]
    result = run("stream", "--mic")
    assert (result.code, result.out) == (130, "Hello there.\nGood bye.\n")
    assert "last words follow" in result.err
    assert bytes(fake.only.audio) == b"one.two.three...the end."
    assert sound.events == ["close"]
