"""A private daemon, for a first start without one.

In: the address to listen at. Out: a running `convod` that uses the best model on this machine, or one sentence that
says why not. It ends with the app unless the user keeps it: then it goes on as an ordinary process with the usual
socket and state.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from convo.address import parse

_STOP_S = 10.0


class PrivateDaemon:
    """One process, started by `start`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._log: Path | None = None
        self.keep = False

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    @staticmethod
    def possible(url: str) -> bool:
        """Whether a daemon can be started for this address: it is a Unix socket, and convod is installed."""
        try:
            return parse(url).scheme == "unix" and importlib.util.find_spec("convod") is not None
        except ValueError:
            return False

    async def start(self, url: str) -> None:
        """Start it; it answers soon after."""
        socket = Path(parse(url).path)
        descriptor, name = tempfile.mkstemp(prefix="convo-tui-", suffix=".log")
        self._log = Path(name)
        try:
            # In its own session: Ctrl-C in this terminal is for the app.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "convod", "--socket", str(socket),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=descriptor,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(descriptor)

    async def wait_ended(self) -> str:
        """Wait until it has ended. Returns its last line of output."""
        assert self._process is not None
        await self._process.wait()
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log else []
        return said[-1] if said else "convod exited without a message."

    async def close(self) -> None:
        """End it, unless the user keeps it."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None and not self.keep:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._log is not None and not self.keep:
            self._log.unlink(missing_ok=True)
