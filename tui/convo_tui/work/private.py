"""A daemon of this app's own, for a first start where there is none.

In: where it is to listen. Out: a running `convod`, which hears with the best model on this machine, or one sentence why
not. It is ended with the app unless the person wants to keep it: then it goes on as an ordinary process, with the usual
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
        """Whether it is there."""
        return self._process is not None and self._process.returncode is None

    @staticmethod
    def possible(url: str) -> bool:
        """Whether a daemon could be started for this address: a Unix socket, and convod is installed."""
        try:
            return parse(url).scheme == "unix" and importlib.util.find_spec("convod") is not None
        except ValueError:
            return False

    async def start(self, url: str) -> None:
        """Start it; it answers a little later."""
        socket = Path(parse(url).path)
        descriptor, name = tempfile.mkstemp(prefix="convo-tui-", suffix=".log")
        self._log = Path(name)
        try:
            # In a session of its own: Ctrl-C in this terminal is for the app.
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
        """Until it has ended; the last thing that it said."""
        assert self._process is not None
        await self._process.wait()
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log else []
        return said[-1] if said else "convod ended and said nothing."

    async def close(self) -> None:
        """End it, unless it is to be kept."""
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
