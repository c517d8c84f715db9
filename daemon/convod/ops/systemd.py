"""The interface to systemd: sockets that it opened for us, and notices of our state.

In: the environment of the process. Out: listening sockets; datagrams to the service manager. Without systemd there are
no sockets and nothing is sent. Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Literal

import msgspec

log = logging.getLogger("convod.systemd")

FIRST: Final = 3
"""Descriptor of the first socket that was opened for us."""

Role = Literal["unix", "websocket", "metrics"]


class BadActivation(Exception):
    """A socket that was handed over cannot be listened on; the text says which."""


class ActivatedSocket(msgspec.Struct, frozen=True):
    """A listening socket that was opened for us, and what it is for."""

    role: Role
    socket: socket.socket


def activated_sockets(environment: MutableMapping[str, str]) -> list[ActivatedSocket]:
    """Return the sockets that were opened for this process, and remove the variables that name them.

    A socket named `metrics` is for the HTTP listener; of the others the family says what it is for.

    Raises:
        BadActivation: one is not a listening stream socket, or its name and its family disagree.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    environment.pop("LISTEN_PIDFDID", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for index in range(int(count)):
        fd = FIRST + index
        name = names[index] if index < len(names) else ""
        try:
            os.set_inheritable(fd, False)
            opened = socket.socket(fileno=fd)
            listens = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise BadActivation(f"file descriptor {fd} ({name}) is not a socket ({error.strerror})") from error
        if opened.type != socket.SOCK_STREAM or not listens:
            raise BadActivation(f"file descriptor {fd} ({name}) is not a listening stream socket; use ListenStream=")
        sockets.append(ActivatedSocket(_role(name, opened, fd), opened))
    return sockets


def _role(name: str, opened: socket.socket, fd: int) -> Role:
    of_family: Role = "unix" if opened.family == socket.AF_UNIX else "websocket"
    if name == "metrics":
        return "metrics"
    if name in ("unix", "websocket") and name != of_family:
        raise BadActivation(
            f"file descriptor {fd} is named {name} and is a {of_family} socket; correct its .socket unit"
        )
    return of_family


class Notifier:
    """Reports the state of this process to the service manager; does nothing if there is none."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self._status = ""

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Notifier:
        """Create it from the environment, and remove its variables. `watchdog_s`: the period of the watchdog."""
        address = environment.pop("NOTIFY_SOCKET", "")
        usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        wanted = usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(usec) / 1e6 if wanted else None)

    def ready(self) -> None:
        """Report that the start, or a reload, is done."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that settings are being read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, within_s: float) -> None:
        """Report that the daemon stops, and how long that takes at most."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((within_s + 10) * 1e6)}")

    def status(self, text: str) -> None:
        """Report a line for `systemctl status`, if it has changed."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """Send a sign of life to the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            # A manager that does not listen must not take the service with it.
            log.warning("the service manager cannot be told: %s", error.strerror)

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
