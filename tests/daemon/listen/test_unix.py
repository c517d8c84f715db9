from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from convo.messages import Code
from convod.listen import auth, unix
from convod.listen.unix import SocketTaken, bound


def leave_a_dead_socket(path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.is_socket()


async def test_a_socket_is_its_users_alone_and_gone_at_the_end(tmp_path):
    path = tmp_path / "run" / "convod.sock"
    with bound(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_the_mask_of_the_process_stays_what_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        with bound(tmp_path / "convod.sock"):
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


async def test_the_socket_of_a_dead_daemon_is_taken_over(tmp_path):
    path = tmp_path / "convod.sock"
    leave_a_dead_socket(path)
    with bound(path):
        stream = await trio.open_unix_socket(str(path))
        await stream.aclose()


async def test_the_socket_of_a_living_daemon_is_left_alone(tmp_path):
    path = tmp_path / "convod.sock"
    with bound(path):
        with pytest.raises(SocketTaken, match="another convod") as taken, bound(path):
            pass
        assert "--socket" in str(taken.value)
        stream = await trio.open_unix_socket(str(path))  # it still listens
        await stream.aclose()
    with bound(path):
        pass


@pytest.mark.parametrize("what", ["file", "directory", "dangling link"])
def test_what_is_no_socket_is_left_alone(tmp_path, what):
    path = tmp_path / "convod.sock"
    if what == "file":
        path.write_text("mine")
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(SocketTaken, match="is not a socket"), bound(path):
        pass
    assert os.path.lexists(path)


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SocketTaken, match="--socket"), bound(tmp_path / "file" / "convod.sock"):
        pass


async def test_a_path_that_is_too_long_is_a_sentence(tmp_path):
    with pytest.raises(SocketTaken, match="--socket"), bound(tmp_path / ("x" * 100) / "convod.sock"):
        pass


async def test_bytes_go_both_ways_and_the_peer_is_known(tmp_path, nursery):
    path = tmp_path / "convod.sock"
    owners = []

    async def echo(link: unix.UnixLink, stream: trio.SocketStream) -> None:
        owners.append(auth.unix_grant(stream.socket).owner)
        while (data := await link.receive()) is not None:
            await link.send([data, b"!"])
        await link.close(None)

    with bound(path) as listener:
        nursery.start_soon(unix.listen, listener, echo)
        stream = await trio.open_unix_socket(str(path))
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello!"
        await stream.send_eof()
        assert await stream.receive_some() == b""
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert owners == [f"uid:{os.getuid()}"]


async def test_a_client_that_left_is_the_end_not_a_fault(tmp_path, nursery):
    path = tmp_path / "convod.sock"
    ended = trio.Event()

    async def talk(link: unix.UnixLink, stream: trio.SocketStream) -> None:
        assert await link.receive() is None
        with pytest.raises(unix.LinkLost):
            while True:
                await link.send([bytes(1 << 16)])
        link.abort()
        assert await link.receive() is None
        await link.close(Code.INTERNAL)
        ended.set()

    with bound(path) as listener:
        nursery.start_soon(unix.listen, listener, talk)
        stream = await trio.open_unix_socket(str(path))
        await stream.aclose()
        with trio.fail_after(60):
            await ended.wait()
        nursery.cancel_scope.cancel()
