"""A service manager as far as convod can tell: opens sockets, starts it on them, listens to its notices.

In: a directory. Out: a process and what it says. It speaks sd_listen_fds(3) and sd_notify(3), without systemd.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LIMIT_S = 30.0

LAUNCH = """
import os, sys
for place, number in enumerate(filter(None, sys.argv[1].split(",")), 3):
    os.dup2(int(number), place)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What happens between fork and exec: the sockets get the numbers that they are promised, and the pid is said."""


class Manager:
    """Sockets that outlive the process which serves them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sockets: dict[str, socket.socket] = {}
        self.told: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))

    def open_unix(self, name: str = "unix") -> str:
        """A Unix socket to hand over; its url."""
        path = self.directory / "given.sock"
        one = socket.socket(socket.AF_UNIX)
        one.bind(str(path))
        one.listen(64)
        self.sockets[name] = one
        return f"unix:{path}"

    def open_tcp(self, name: str = "websocket", host: str = "127.0.0.1") -> str:
        """A TCP socket to hand over; its url."""
        one = socket.socket()
        one.bind((host, 0))
        one.listen(64)
        self.sockets[name] = one
        return "ws://{}:{}".format(*one.getsockname())

    def start(self, *flags: str, watchdog_s: float | None = None, **environment: str) -> None:
        """Start convod on the sockets."""
        # Descriptors above those that they become in the child, so that none is overwritten before its turn.
        numbers = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 50) for one in self.sockets.values()]
        words = [sys.executable, "-m", "convod", "--state-dir", str(self.directory / "state"), *flags]
        launch = [sys.executable, "-I", "-S", "-c", LAUNCH, ",".join(map(str, numbers)), *words]
        variables = {
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "CONVOD_MODEL": "builtin",
            "CONVOD_LISTEN_OPEN_LOOPBACK": "true",
            "CONVOD_SUMMARY_PROVIDER": "extractive",
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "LISTEN_FDS": str(len(numbers)),
            "LISTEN_FDNAMES": ":".join(self.sockets),
        }
        if watchdog_s is not None:
            variables["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CONVOD_", "CONVO_"))}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                launch, env=kept | variables | environment, pass_fds=numbers, stdin=subprocess.DEVNULL, stderr=log
            )  # fmt: skip
        for number in numbers:
            os.close(number)

    @property
    def log(self) -> str:
        """All that convod wrote."""
        return (self.directory / "log").read_text()

    def wait_told(self, what: str, limit_s: float = LIMIT_S) -> str:
        """The next notice that begins so; those before it go to `told`."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if select.select([self._notify], [], [], max(0.0, end - time.monotonic()))[0]:
                notice = self._notify.recv(65536).decode()
                self.told.append(notice)
                if notice.startswith(what):
                    return notice
        raise AssertionError(f"{what} was not told; {self.told[-5:]} was. Log:\n{self.log}")

    def forget(self) -> None:
        """What was told so far, and was not read, is not waited for."""
        self._notify.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._notify.recv(65536)
        self._notify.setblocking(True)
        self.told.clear()

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        """End what runs, close the sockets."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for one in (self._notify, *self.sockets.values()):
            one.close()


@contextmanager
def managing(directory: Path) -> Iterator[Manager]:
    """A manager until the end of the block."""
    manager = Manager(directory)
    try:
        yield manager
    finally:
        manager.close()
