"""What tests of the command share: a scripted daemon, the real one, and ways to run `convo`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from convo_cli.__main__ import main
from tests.cli.fake import WAIT_S, FakeDaemon, fake_daemon
from tests.support.daemon import Daemon, running


@dataclass(frozen=True)
class Result:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("CONVO_URL", "CONVO_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A scripted daemon to which CONVO_URL points."""
    with fake_daemon(tmp_path / "fake.sock") as daemon:
        monkeypatch.setenv("CONVO_URL", daemon.url)
        yield daemon


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real convod with the built-in model, for all tests that want one."""
    with running(tmp_path_factory.mktemp("convod"), "--model", "builtin") as daemon:
        yield daemon


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process."""

    def run(*words: str) -> Result:
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def start(fake: FakeDaemon) -> Iterator[Start]:
    """Starts a command line in a process of its own, talking to the scripted daemon; it has ended when the test has."""
    started: list[subprocess.Popen[bytes]] = []
    watchdogs: list[threading.Timer] = []

    def start(*words: str, **more: Any) -> subprocess.Popen[bytes]:
        streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        command = [sys.executable, "-m", "convo_cli", *map(str, words)]
        environment = {**os.environ, "CONVO_URL": fake.url, "TERM": "xterm"}
        child = subprocess.Popen(command, env=environment, **(streams | more))
        started.append(child)
        watchdogs.append(threading.Timer(WAIT_S, child.kill))
        watchdogs[-1].start()
        return child

    yield start
    for watchdog in watchdogs:
        watchdog.cancel()
    for child in started:
        if child.poll() is None:
            child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                stream.close()
