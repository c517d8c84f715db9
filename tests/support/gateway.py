"""A real convo-gateway in a process of its own, in front of a real convod.

In: a daemon and flags. Out: its URL, its process, its log. Every gateway started here has ended when its block has.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio
import trio_websocket

START_S = 60.0


class Gateway:
    """A running gateway; `url` is where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.log: list[str] = []
        self.url = ""
        self.wyoming = ""
        self._process = process
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(START_S), "the gateway did not become ready:\n" + "".join(self.log)
        assert self.url, "the gateway ended at once:\n" + "".join(self.log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def websocket(self) -> str:
        """Where it serves WebSockets."""
        return self.url.replace("http", "ws", 1)

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def memory(self) -> int:
        """Bytes that it has in memory now (Linux)."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak_memory(self) -> int:
        """The most bytes that it ever had in memory (Linux)."""
        with open(f"/proc/{self.pid}/status") as file:
            (peak,) = (line for line in file if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(30)
        self._reader.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
            if found := re.search(r"Wyoming is served on (tcp://\S+)", line):
                self.wyoming = found[1]
            if found := re.search(r"ready on (https?://\S+)", line):
                self.url = found[1]
                self._ready.set()
        self._ready.set()


@contextmanager
def gateway(connect: str, *flags: str) -> Iterator[Gateway]:
    """A gateway to the daemon at `connect`, until the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONVO")}
    process = subprocess.Popen(
        [sys.executable, "-m", "convo_gateway", "--listen", "127.0.0.1:0", "--connect", connect, *flags],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    running = None
    try:
        running = Gateway(process)
        yield running
    finally:
        if running is not None:
            assert running.stop() == 0, "".join(running.log)
        else:
            process.kill()
            process.wait(10)


@asynccontextmanager
async def websocket_to(url: str) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A WebSocket whose socket is closed at the end, also where the server closed first."""
    async with trio_websocket.open_websocket_url(url) as websocket:
        try:
            yield websocket
        finally:
            await websocket.aclose()
            await trio.aclose_forcefully(websocket._stream)  # noqa: SLF001 - it has no other way
