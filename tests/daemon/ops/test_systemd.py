from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from convod.ops.systemd import Notifier

SCRIPT = """
import os, sys, json
from convod.ops.systemd import activated_sockets, BadActivation
os.environ["LISTEN_PID"] = str(os.getpid()) if os.environ["LISTEN_PID"] == "me" else os.environ["LISTEN_PID"]
try:
    given = [(one.role, one.socket.fileno(), one.socket) for one in activated_sockets(os.environ)]
    print([(role, number, os.get_inheritable(number)) for role, number, _ in given])
except BadActivation as error:
    print(error)
print([name for name in os.environ if name.startswith("LISTEN")])
"""


def given(*sockets: socket.socket, names: str, pid: str = "me", count: str | None = None) -> list[str]:
    """What a process sees that was started with these as descriptors 3, 4, …"""
    numbers = [one.fileno() for one in sockets]

    def place() -> None:
        safe = [os.dup2(number, 100 + at) for at, number in enumerate(numbers)]
        for at, number in enumerate(safe):
            os.dup2(number, 3 + at)

    environment = {**os.environ, "LISTEN_PID": pid, "LISTEN_FDS": count or str(len(numbers)), "LISTEN_FDNAMES": names}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, preexec_fn=place, close_fds=False, capture_output=True,
        text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def unix(tmp_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        yield one


@pytest.fixture
def tcp():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one


@pytest.mark.parametrize("names", ["unix:websocket:metrics", ":", "convod.socket:convod-web.socket:metrics"])
def test_sockets_are_known_by_name_and_family_and_no_child_gets_them(unix, tcp, names):
    third = "metrics" if names.endswith("metrics") else "websocket"
    assert given(unix, tcp, tcp, names=names) == [
        f"[('unix', 3, False), ('websocket', 4, False), ('{third}', 5, False)]",
        "[]",
    ]


def test_sockets_of_another_process_are_not_ours(unix):
    assert given(unix, names="unix", pid="1") == ["[]", "[]"]
    assert given(unix, names="unix", count="x") == ["[]", "[]"]


def test_a_name_that_does_not_fit_is_told(tcp):
    assert "is named unix" in given(tcp, names="unix")[0]


def test_what_does_not_listen_is_told(tcp):
    with socket.socket() as deaf, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for one in (deaf, datagrams):
            assert "not a listening stream socket" in given(one, names="websocket")[0]
    refusal = given(names="unix", count="1")[0]
    assert "is not a socket" in refusal or "not a listening" in refusal


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(10)
        yield one


def test_what_happens_is_told_in_the_managers_words(manager):
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier.from_environment(environment)
    assert environment == {}
    assert notifier.watchdog_s == 3.0
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two\nlines")
    notifier.alive()
    notifier.reloading()
    notifier.stopping(5)
    notifier.close()
    notifier.ready()
    told = [manager.recv(4096).decode() for _ in range(5)]
    assert told[:3] == ["READY=1", "STATUS=two lines", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert told[4] == "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000"
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_an_abstract_address_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0convo-test-{os.getpid()}")
        manager.settimeout(10)
        notifier = Notifier(f"@convo-test-{os.getpid()}")
        notifier.ready()
        assert manager.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}])
def test_without_a_manager_nothing_is_said_and_nothing_expected(environment):
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_s is None
    notifier.ready()
    notifier.close()


def test_a_manager_that_is_gone_harms_nobody(tmp_path, caplog):
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.ready()
    notifier.close()
    assert "cannot be told" in caplog.text
