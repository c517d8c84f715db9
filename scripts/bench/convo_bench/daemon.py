"""A convod of the bench's own: started, watched, ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Daemon:
    """A running convod: its urls and processes."""

    process: subprocess.Popen[str]
    socket: str
    web: str

    def _family(self) -> list[int]:
        # A worker is the child of the thread that started it, until that thread ends.
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [self.process.pid, *(int(child) for thread in threads for child in thread.read_text().split())]

    def cpu_s(self, *, parent_only: bool = False) -> float:
        """Processor seconds that the daemon and its workers have used."""
        ticks = 0
        for pid in self._family()[: 1 if parent_only else None]:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory of the daemon's own process, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found
        return int(found.group(1)) / 1024


@contextmanager
def running(*flags: str, **environment: str) -> Iterator[Daemon]:
    """A daemon in a directory of its own until the end of the block; `environment` adds to its variables."""
    with tempfile.TemporaryDirectory(prefix="convo-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "convod", "--socket", f"{folder}/s", "--state-dir", f"{folder}/state",
             "--listen", "ws://127.0.0.1:0", *flags],
            stderr=subprocess.PIPE, text=True,
            env={
                **os.environ, "CONVOD_SUMMARY_PROVIDER": "extractive", "CONVOD_LOG_LEVEL": "info",
                "CONVOD_LISTEN_OPEN_LOOPBACK": "true", "CONVOD_LISTEN_OWNER_CONNECTIONS": "1024", **environment,
            },
        )  # fmt: skip
        assert process.stderr is not None
        web = ""
        try:
            for line in process.stderr:
                if found := re.search(r"ready on .*(ws://\S+)", line):
                    web = found.group(1)
                    break
            else:
                raise SystemExit("convod did not start")
            # Keep its pipe empty, or it would stop at a full one.
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield Daemon(process, f"unix:{folder}/s", web)
        finally:
            process.terminate()
            process.wait(60)
            drain.wait(10)
