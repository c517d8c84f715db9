"""A real convod in a process of its own, for tests that want the whole thing.

In: flags and a directory. Out: its urls, its process, its log. Every daemon started here has ended when its block has.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

START_S = 60.0


class Daemon:
    """A running convod. `directory` holds its socket, state, settings and models; it can be stopped and started again.

    It hears with `model`, whatever models there are on this machine; None leaves that to flags and settings. It has one
    worker, however many processors there are: a second one costs a third of a start. In `environment` None takes a
    variable away. `under` are the words of a program that becomes it (strace -D).
    """

    def __init__(
        self,
        directory: Path,
        *flags: str,
        environment: Mapping[str, str | None] | None = None,
        model: str | None = "builtin",
        under: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.flags = flags
        self.socket = directory / "convod.sock"
        self.state = directory / "state"
        self.log: list[str] = []
        self.url = f"unix:{self.socket}"
        self.web = ""
        self._under = list(under)
        self._environment = {"CONVOD_MODEL": model, "CONVOD_ENGINE_WORKERS": "1", **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = False

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[int]:
        """Process ids of the engine's workers (Linux)."""
        return self._children(b"convod.engine.worker")

    def decoders(self) -> list[int]:
        """Process ids of those that decode files (Linux)."""
        return self._children(b"convod.engine.decoder")

    def _children(self, module: bytes) -> list[int]:
        # A child belongs to the thread that started it.
        lists = [file.read_text() for file in Path(f"/proc/{self.pid}/task").glob("*/children")]
        children = [int(pid) for pids in lists for pid in pids.split()]
        return [pid for pid in children if module in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("CONVOD_", "CONVO_"))}
        environment |= {
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "HF_HUB_CACHE": str(self.directory / "hub"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            # Tests come by WebSocket as they come by the Unix socket; those of tokens say otherwise.
            "CONVOD_LISTEN_OPEN_LOOPBACK": "true",
            # No summarizer of the machine the tests run on may take part.
            "CONVOD_SUMMARY_OLLAMA_URL": "http://127.0.0.1:9",
            "CONVOD_SUMMARY_OPENAI_URL": "http://127.0.0.1:9/v1",
        }
        for name, value in self._environment.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        self._process = subprocess.Popen(
            [
                *self._under, sys.executable, "-m", "convod",
                "--socket", str(self.socket), "--state-dir", str(self.state), *self.flags,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )  # fmt: skip
        self._ready = False
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), daemon=True)
        self._reader.start()
        assert ready.wait(START_S), "convod did not become ready:\n" + "".join(self.log)
        if not self._ready:
            self._wait_ended()
            raise AssertionError("convod ended at once:\n" + "".join(self.log))

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line)
            if "convod is ready on" in line:
                found = re.search(r"ws://[\w.:\[\]]+", line)
                self.web = found.group(0) if found else ""
                self._ready = True
                ready.set()
        ready.set()

    def send(self, number: int, process: int | None = None) -> None:
        """Send a signal, and go on."""
        os.kill(process or self.pid, number)

    async def wait_log(self, pattern: str, times: int = 1) -> None:
        """Until the log has that many lines that match; whoever asks has set a time limit."""
        while sum(re.search(pattern, line) is not None for line in list(self.log)) < times:  # noqa: ASYNC110
            await trio.sleep(0.01)

    def signal(self, number: int) -> int:
        """Send a signal, wait for the end, return the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._wait_ended()

    def _wait_ended(self) -> int:
        assert self._process is not None
        status = self._process.wait(60)
        assert self._reader is not None
        self._reader.join(10)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return status

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is said goodbye to."""
        self.signal(signal.SIGKILL)


@contextmanager
def running(
    directory: Path,
    *flags: str,
    environment: Mapping[str, str | None] | None = None,
    model: str | None = "builtin",
    under: Sequence[str] = (),
) -> Iterator[Daemon]:
    """A daemon with a Unix socket and a WebSocket, until the end of the block."""
    daemon = Daemon(
        directory, "--listen", "ws://127.0.0.1:0", *flags, environment=environment, model=model, under=under
    )
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.is_running:
            daemon.stop()
