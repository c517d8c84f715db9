"""What tests of the app share: a scripted daemon, and the app under a pilot that waits for messages, never for time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from convo_tui.app import ConvoApp
from convo_tui.arguments import parse
from convo_tui.settings import load
from tests.cli.fake import WAIT_S, FakeDaemon, fake_daemon
from tests.fakes.portaudio import FakePortAudio


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine's settings and microphones."""
    for name in ("CONVO_URL", "CONVO_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setitem(sys.modules, "sounddevice", FakePortAudio())
    monkeypatch.chdir(tmp_path)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A scripted daemon."""
    with fake_daemon(tmp_path / "fake.sock") as daemon:
        yield daemon


@pytest.fixture
def sound() -> FakePortAudio:
    """PortAudio, played by the test."""
    module = sys.modules["sounddevice"]
    assert isinstance(module, FakePortAudio)
    return module


class Stage:
    """The app and what a person does with it."""

    def __init__(self, app: ConvoApp, pilot: Pilot[None], news: asyncio.Event) -> None:
        self.app = app
        self.pilot = pilot
        self._news = news

    async def until(self, condition: Callable[[], object], about: str = "") -> None:
        """Wait until something is so; looked at after every message that the app gets."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
                    await self.pilot.pause()
        except TimeoutError:
            raise AssertionError(f"in vain: {about or condition}\n{self.text()}") from None

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)

    async def choose(self, option: str) -> None:
        """Choose an option of the list in front, wherever it stands."""
        options = self.app.screen.query_one(OptionList)
        options.highlighted = options.get_option_index(option)
        await self.press("enter")

    async def answer(self, text: str) -> None:
        """Enter a text, all at once, into the input line that has the focus."""
        line = self.app.focused
        assert isinstance(line, Input)
        line.value = text
        await self.press("enter")

    async def sees(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        await self.until(lambda: all(text in self.text() for text in texts), f"{texts}")

    async def sees_no(self, text: str) -> None:
        """Wait until this is not on the screen any more."""
        await self.until(lambda: text not in self.text(), f"no {text!r}")

    def text(self) -> str:
        """The screen as text."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    def toasts(self) -> list[str]:
        """What was told in the corner."""
        return [notification.message for notification in self.app._notifications]


Open = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def open_app(tmp_path: Path) -> Open:
    """Opens the app with flags: `async with open_app("--connect", url) as stage`."""

    @asynccontextmanager
    async def opened(*words: str, size: tuple[int, int] = (99, 30), **more: Any) -> AsyncIterator[Stage]:
        news = asyncio.Event()
        settings, problems = load(tmp_path / "config" / "convo" / "tui.toml")
        app = ConvoApp(parse(list(words)), settings, problems, **more)
        async with app.run_test(size=size, message_hook=lambda message: news.set()) as pilot:
            await pilot.pause()
            try:
                yield Stage(app, pilot, news)
            finally:
                await app.action_quit()

    return opened


@pytest.fixture
def connected(open_app: Open, fake: FakeDaemon) -> Open:
    """Opens the app with the scripted daemon, and waits until they are connected."""

    @asynccontextmanager
    async def opened(*words: str, **more: Any) -> AsyncIterator[Stage]:
        async with open_app("--connect", fake.url, *words, **more) as stage:
            await stage.until(lambda: stage.app.context.daemon.state.up, "connected")
            yield stage

    return opened
