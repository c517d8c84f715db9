"""Where a daemon listens, as a person writes it.

In: text such as `unix:/run/convod/convod.sock` or `wss://host/convo`, and the environment. Out: an `Address`.
This module never opens a socket; it only looks whether a path is there, and whose its directory is.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

SYSTEM_SOCKET = "/run/convod/convod.sock"
"""Where the daemon listens as a system service."""

_SOCKET_NAME = "convod.sock"
_LONGEST_PATH = 107  # bytes: sun_path of unix(7) holds 108 with the final zero
_PORTS = {"ws": 80, "wss": 443}


class UntrustedSocket(OSError):
    """The place of the default socket may belong to another user; the text says how, in half a sentence."""


@dataclass(frozen=True)
class Address:
    """A place to connect to: a Unix socket (`path`), or a WebSocket (`host`, `port`, `path` with its query)."""

    scheme: Literal["unix", "ws", "wss"]
    path: str
    host: str = ""
    port: int = 0

    @property
    def secure(self) -> bool:
        """Whether TLS goes around it."""
        return self.scheme == "wss"

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        """The address as `parse` reads it."""
        return f"unix:{self.path}" if self.scheme == "unix" else f"{self.scheme}://{self.authority}{self.path}"


def parse(text: str) -> Address:
    """Read `unix:PATH`, a plain path, `ws://host[:port][/path]` or `wss://…`.

    Raises:
        ValueError: it is none of these; the text says what to write instead.
    """
    scheme, colon, rest = text.partition(":")
    if scheme in ("ws", "wss") and colon:
        return _parse_websocket(text)
    if scheme == "unix" and colon:
        return _unix("/" + rest.lstrip("/") if rest.startswith("//") else rest)
    if "://" in text:
        raise ValueError(f"{text!r}: write unix:PATH, ws://host:port or wss://host:port.")
    return _unix(text)


def _unix(path: str) -> Address:
    if not path:
        raise ValueError("The path of the socket is missing: write unix:PATH.")
    if "\0" in path:
        raise ValueError("The path of a socket holds no zero characters.")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ValueError(f"{path!r}: the path of a socket has at most {_LONGEST_PATH} bytes; use a shorter one.")
    return Address("unix", path)


def _parse_websocket(text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write ws://host:port.") from None
    if not text[len(parts.scheme) :].startswith("://") or not parts.hostname:
        raise ValueError(f"{text!r}: the host is missing; write {parts.scheme}://host:port.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("A URL holds no user name or password here; give a token instead.")
    if parts.fragment:
        raise ValueError(f"{text!r}: a WebSocket URL has no #fragment; leave it out.")
    if any(ord(char) <= 32 or ord(char) > 126 for char in parts.path + parts.query + parts.hostname):
        raise ValueError(f"{text!r}: a URL is plain ASCII without spaces; percent-encode the rest.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    scheme: Literal["ws", "wss"] = "wss" if parts.scheme == "wss" else "ws"
    return Address(scheme, path, parts.hostname, _PORTS[scheme] if port is None else port)


def default_socket() -> str:
    """The path at which a daemon that a user starts listens, and its clients look first."""
    return str((runtime_directory() or _fallback_directory()) / _SOCKET_NAME)


def runtime_directory() -> Path | None:
    """Return where sockets of this user belong, None if there is no such place."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime)
    directory = Path(f"/run/user/{os.getuid()}")
    return directory if directory.is_dir() else None


def _fallback_directory() -> Path:
    import tempfile  # rarely needed, and slow to import

    return Path(tempfile.gettempdir(), f"convod-{os.getuid()}")


def check_place(path: str) -> None:
    """Check that no other user can have created, or can replace, the directory of the default socket.

    Only the default socket among temporary files is checked, where any user could have made the directory first.

    Raises:
        UntrustedSocket: the directory is a link, is another user's, or is open to other users.
    """
    if runtime_directory() is not None or path != default_socket():
        return
    directory = Path(path).parent
    try:
        about, above = os.lstat(directory), os.stat(directory.parent)
    except FileNotFoundError:
        return
    wrong = ""
    if not stat.S_ISDIR(about.st_mode):
        wrong = "is not a directory"
    elif about.st_uid != os.getuid():
        wrong = f"belongs to another user (uid {about.st_uid})"
    elif about.st_mode & 0o077:
        wrong = f"is open to other users (mode {stat.S_IMODE(about.st_mode):04o})"
    elif above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        wrong = "can be replaced by other users"
    if wrong:
        raise UntrustedSocket(f"its directory {directory} {wrong}; remove it, or set XDG_RUNTIME_DIR")


def default_url() -> str:
    """Return where to connect by default: CONVO_URL, else the user's socket or the system's, whichever exists."""
    url = os.environ.get("CONVO_URL")
    if url:
        return url
    own = default_socket()
    if not _is_own_socket(own) and _is_socket(SYSTEM_SOCKET):
        return f"unix:{SYSTEM_SOCKET}"
    return f"unix:{own}"


def _is_own_socket(path: str) -> bool:
    try:
        check_place(path)
    except UntrustedSocket:
        return False
    return _is_socket(path)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
