"""Who is at the other end of a Unix socket; the default socket where other users could have made its place first."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import convo
from convo import address, unix_peer
from convo.address import UntrustedSocket, check_place, default_socket, default_url
from convo.unix_peer import NOBODY, check_peer, is_ambiguous, peer_uid
from convod.listen.unix import SocketTaken, bound

OTHER = 54321
"""A user that is neither this one nor root."""

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two users")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the default socket's directory goes in the directory for temporary files; there is no other."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("CONVO_URL", raising=False)
    monkeypatch.setattr(address, "runtime_directory", lambda: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    os.chmod(tmp_path, 0o1777)
    return tmp_path / f"convod-{os.getuid()}"


def plant(place: Path, how: str) -> str:
    """A directory that somebody else could have made; what a sentence says about it."""
    if how == "link":
        (place.parent / "elsewhere").mkdir(mode=0o700)
        place.symlink_to("elsewhere")
        return "is not a directory"
    if how == "replaceable":
        place.mkdir(mode=0o700)
        os.chmod(place.parent, 0o777)
        return "can be replaced by other users"
    place.mkdir()
    os.chmod(place, 0o700 if how == "another's" else 0o755)
    if how == "another's":
        os.chown(place, OTHER, -1)
        return f"belongs to another user (uid {OTHER})"
    return "is open to other users (mode 0755)"


PLANTED = pytest.mark.parametrize("how", ["link", "open", "replaceable", pytest.param("another's", marks=as_root)])


def listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


@PLANTED
def test_the_daemon_does_not_listen_in_a_directory_that_may_be_anothers(place: Path, how: str) -> None:
    said = plant(place, how)
    with pytest.raises(SocketTaken) as refused, bound(Path(default_socket())):
        pass
    assert said in str(refused.value)
    assert "--socket" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(place.iterdir()) == []


@PLANTED
@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_a_client_says_nothing_to_a_socket_in_a_directory_that_may_be_anothers(
    place: Path, how: str, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = plant(place, how)
    monkeypatch.setattr(address, "SYSTEM_SOCKET", str(place.parent / "system.sock"))
    with listening(default_socket()) as listener:
        assert default_url() == f"unix:{default_socket()}"
        listener.setblocking(False)
        with pytest.raises(convo.CannotConnect) as refused:
            connect(loop)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert said in str(refused.value)


def connect(loop: str, token: str | None = "secret") -> None:
    async def run() -> None:
        async with convo.connect(token=token, connect_timeout=5):
            pass

    if loop == "trio":
        trio.run(run)
    else:
        asyncio.run(run())


def test_a_planted_directory_does_not_hide_the_systems_socket(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(place, "open")
    monkeypatch.setattr(address, "SYSTEM_SOCKET", str(tmp_path / "system.sock"))
    with listening(default_socket()), listening(str(tmp_path / "system.sock")):
        assert default_url() == f"unix:{tmp_path}/system.sock"


async def test_a_directory_of_ones_own_is_made_and_used(place: Path) -> None:
    with bound(Path(default_socket())):
        assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
        check_place(default_socket())
        assert default_url() == f"unix:{default_socket()}"


@pytest.fixture
def squatter(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Another user who listens at the default socket, and tells what comes."""
    place.mkdir(mode=0o700)
    code = (
        "import os, socket, sys; one = socket.socket(socket.AF_UNIX); one.bind(sys.argv[1])\n"
        "os.setuid(int(sys.argv[2])); one.listen(); print(flush=True)\n"
        "peer, _ = one.accept(); print(peer.recv(100), flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, default_socket(), str(OTHER)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@as_root
@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_a_client_says_nothing_to_another_user_who_listens_at_its_default_socket(
    squatter: subprocess.Popen[bytes], loop: str
) -> None:
    with pytest.raises(convo.CannotConnect, match=f"another user .uid {OTHER}. listens"):
        connect(loop)
    assert squatter.stdout is not None
    assert squatter.stdout.readline() == b"b''\n", "not a byte came"


def test_the_peer_of_another_path_is_the_users_own_choice(place: Path, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
        check_peer(str(tmp_path / "chosen.sock"), ours)
        check_peer(default_socket(), ours)


@pytest.mark.parametrize(
    ("uid", "uid_map", "ambiguous"),
    [
        (0, "0 0 4294967295", False),
        (65534, "         0          0 4294967295\n", False),
        (NOBODY, "0 0 4294967295", True),
        (65534, "0 0 1\n", True),
        (65534, "0 0 65536", True),
        (65534, "0 0 1\n998 998 1\n", True),
        (998, "0 0 1\n998 998 1\n", False),
        (65534, "garbage", True),
        (65534, None, True),
    ],
)
def test_an_id_is_ambiguous_where_users_without_one_share_it(
    monkeypatch: pytest.MonkeyPatch, uid: int, uid_map: str | None, ambiguous: bool
) -> None:
    def read(path: Path) -> str:
        if path.name == "overflowuid" or uid_map is None:
            raise FileNotFoundError(path)  # as under ProcSubset=pid
        return uid_map

    monkeypatch.setattr(unix_peer.Path, "read_text", read)
    assert is_ambiguous(uid) is ambiguous


def test_a_client_does_not_trust_an_ambiguous_user(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix_peer, "peer_uid", lambda connection: NOBODY)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(UntrustedSocket):
        check_peer(default_socket(), ours)
