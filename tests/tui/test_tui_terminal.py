"""The whole thing in a real terminal: tmux, convo-tui, convod with its built-in model, the sample."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, running
from tests.support.speech import pcm

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

WAIT_S = 90.0
PLAYED_S = 14  # seconds of the talk


class Terminal:
    """A terminal of a size in which a command runs; `until` wakes when something is written to it."""

    def __init__(self, place: Path, size: tuple[int, int], *command: str) -> None:
        self._socket = str(place / f"tmux-{size[0]}")
        self._pipe = place / f"written-{size[0]}"
        os.mkfifo(self._pipe)
        self._news = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._keep = os.open(self._pipe, os.O_WRONLY)
        line = " ".join(f"'{word}'" for word in command)
        environment = {**os.environ, "XDG_CONFIG_HOME": str(place), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]),
            f"{line}; echo left $?; exec sleep {WAIT_S * 3:.0f}", env=environment,
        )  # fmt: skip
        self._tmux("pipe-pane", "-O", f"cat > '{self._pipe}'")

    def _tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *words], capture_output=True, text=True, env=env, check=True
        )
        return done.stdout

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def pid(self, name: str) -> int:
        """The process id of a program that runs in it."""
        (pane,) = self._tmux("list-panes", "-F", "#{pane_pid}").split()
        found = subprocess.run(["pgrep", "-P", pane, "-f", name], capture_output=True, text=True, check=True).stdout
        return int(found.split()[0])

    def until(self, condition: Callable[[str], object], about: str) -> str:
        deadline = time.monotonic() + WAIT_S
        while not condition(text := self.screen()):
            left = deadline - time.monotonic()
            assert left > 0, f"in vain: {about}\n{text}"
            # Something is written to the terminal, or a second has passed without.
            if select.select([self._news], [], [], min(1.0, left))[0]:
                os.read(self._news, 1 << 20)
        return text

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True)
        os.close(self._news)
        os.close(self._keep)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path, "--model", "builtin") as daemon:
        yield daemon


def words(text: str) -> str:
    return " ".join(re.findall(r"[a-z]+", text.lower()))


def test_the_sample_is_read_off_the_screen_at_both_sizes_with_a_restart(daemon: Daemon, tmp_path: Path) -> None:
    import wave

    sample = tmp_path / "sample.wav"
    with wave.open(str(sample), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(16000)
        wav.writeframes(pcm("talk.flac")[: 32000 * PLAYED_S])
    command = (sys.executable, "-m", "convo_tui", "--connect", daemon.url, "--play", str(sample))
    terminals = [Terminal(tmp_path, size, *command) for size in ((80, 24), (120, 40))]
    try:
        for terminal in terminals:
            terminal.until(lambda text: "good morning everyone" in words(text), "the first words")
            assert "live" in terminal.screen()
        daemon.kill()
        for terminal in terminals:
            terminal.until(lambda text: "reconnecting" in text, "that the link is lost")
        daemon.start()
        for terminal in terminals:
            text = terminal.until(lambda text: "✓ done" in text, "the end")
            said = words(text)
            for sentence in (
                "good morning everyone", "let us get started", "the first item is the release",
                "the mobile team finished the payment system on friday", "i think the test plan is behind schedule",
            ):  # fmt: skip
                assert sentence in said, text
            terminal.press("q")
            terminal.until(lambda text: "left 0" in text, "that it ended well")
    finally:
        for terminal in terminals:
            terminal.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_the_terminal_is_given_back_whatever_happens(daemon: Daemon, tmp_path: Path, number: signal.Signals) -> None:
    terminal = Terminal(tmp_path, (80, 24), sys.executable, "-m", "convo_tui", "--connect", daemon.url)
    try:
        terminal.until(lambda text: "Connected to convod" in text, "the first screen")
        outer = terminal.pid("convo_tui")
        (inner,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        os.kill(int(inner), number)
        text = terminal.until(lambda text: "left " in text, "that it ended")
        assert "start listening" not in text, "the screen from before is back"
        assert f"left {137 if number is signal.SIGKILL else 0}" in text
        assert ("was killed by SIGKILL" in text) is (number is signal.SIGKILL)
        flags = terminal._tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").split()
        assert flags == ["0", "0", "1"]
    finally:
        terminal.close()


def test_the_demo_in_the_app(tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "data" / "talk.flac"
    demo = [sys.executable, "-m", "convo_cli.demo", "--sample", str(sample), "--model", "builtin", "--tui"]
    terminal = Terminal(tmp_path, (80, 24), *demo)
    try:
        terminal.until(lambda text: "good morning everyone" in words(text), "the first words")
        terminal.press("q")
        text = terminal.until(lambda text: "left " in text, "that it ended")
        assert "left 0" in text
    finally:
        terminal.close()


def test_without_a_terminal_it_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "convo_tui"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
