"""The Unix socket: bind it, or take it over from a dead daemon but never from a living one; its streams as links.

In: a path. Out: a link for each connection. A living daemon holds the lock of the lock file beside the socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import trio

from convo.address import check_place
from convo.messages import Code
from convod.listen.accept import accept
from convod.listen.limits import STRANGER_BYTES
from convod.listen.link import LinkLost
from convod.listen.pace import PacedStream

log = logging.getLogger("convod.listen")

READ_BYTES: Final = 1 << 16

BACKLOG: Final = 1024
"""How many connections may wait to be accepted."""

SPARE: Final = 32
"""Descriptors that are left free for requests; WebSocket listeners leave more, so that this socket still answers."""


class SocketTaken(Exception):
    """The socket cannot be bound; the text says why and what to do."""


class UnixLink:
    """A stream socket; frames carry their length."""

    is_json = False

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket
        self._stream = PacedStream(stream)
        self._read_bytes = STRANGER_BYTES

    async def receive(self, *, rest: bool = False) -> bytes | None:
        """Return some bytes, None at the end."""
        self._stream.rests = rest
        try:
            return bytes(await self._stream.receive_some(self._read_bytes)) or None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None

    def trust(self) -> None:
        """Read more at once."""
        self._read_bytes = READ_BYTES

    async def receive_ready(self) -> bytes | None:
        """Return nothing: a read brings all there is."""
        return None

    async def send(self, data: list[bytes]) -> None:
        """Send frames."""
        try:
            await self._stream.send_all(b"".join(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost from error

    async def close(self, code: Code | None, *, stopping: bool = False) -> None:
        """Close the stream; what was sent still arrives."""
        await self._stream.aclose()

    def abort(self) -> None:
        """Close at once."""
        self._socket.close()


@contextlib.contextmanager
def bound(path: Path, mode: int = 0o600, group: str = "") -> Iterator[trio.SocketListener]:
    """Listen at `path`, which users may open as `mode` and `group` say; the socket is removed at the end.

    Raises:
        SocketTaken: another daemon listens there, the place cannot be written, or there is no such group.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_place(str(path))
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SocketTaken(
            f"the socket {path} cannot be made ({error.strerror or error}); choose another with --socket"
        ) from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SocketTaken(f"another convod listens on {path}; stop it, or choose another with --socket") from error
        if os.path.lexists(path):
            if not path.is_socket():
                raise SocketTaken(f"{path} exists and is not a socket; move it away, or choose another with --socket")
            try:
                path.unlink()
            except OSError as error:
                raise SocketTaken(
                    f"the socket {path} cannot be replaced ({error.strerror}); choose another with --socket"
                ) from error
        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            # No other user may connect between bind and chmod.
            before = os.umask(0o177)
            try:
                bind_path(listener, path)
            except OSError as error:
                raise SocketTaken(
                    f"the socket {path} cannot be made ({error.strerror or error}); choose another with --socket"
                ) from error
            finally:
                os.umask(before)
            _open_to(path, mode, group)
            listener.listen(BACKLOG)
            yield trio.SocketListener(listener)
        finally:
            listener.close()
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # harmless: the next start replaces it
                log.warning("the socket %s stays behind (%s)", path, error.strerror)
    finally:
        # The lock file stays: if it were removed, two daemons could hold locks on two files of one name.
        os.close(held)


def _open_to(path: Path, mode: int, group: str) -> None:
    try:
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        path.chmod(mode)
    except KeyError as error:
        raise SocketTaken(f"there is no group {group!r}; set listen.socket_group to one that exists") from error
    except OSError as error:
        raise SocketTaken(
            f"the socket {path} cannot be given to group {group!r} ({error.strerror}); be a member of that group"
        ) from error


def bind_path(listener: trio.socket.SocketType, path: Path) -> None:
    """Bind to a path; `OSError` if the system refuses it."""
    import socket as stdlib

    # trio's bind is a coroutine because it may look up names, which a path does not need.
    stdlib.socket.bind(listener._sock, os.fspath(path))  # type: ignore[attr-defined]  # noqa: SLF001


async def listen(
    listener: trio.SocketListener,
    serve: Callable[[UnixLink, trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery | None = None,
) -> None:
    """Accept connections until cancelled; those that are open go on in `connections`."""

    async def handle(stream: trio.SocketStream) -> None:
        await serve(UnixLink(stream), stream)

    await accept(listener, handle, connections, spare=SPARE)
