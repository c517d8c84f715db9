"""convod in a network namespace in which there is no network at all: everything works, and nothing is asked for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import convo
from tests.support.sessions import states, talk_live, text
from tests.support.speech import pcm, truth, word_error_rate


def unshared() -> list[str] | None:
    """What starts a program without a network, if that is allowed here."""
    for words in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return None


UNSHARED = unshared()


def listener(path: Path) -> int:
    """The process that listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        pid, _, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


@pytest.mark.skipif(UNSHARED is None, reason="unshare --net is not allowed here")
async def test_a_talk_is_heard_and_summarised_without_any_network(tmp_path: Path) -> None:
    assert UNSHARED is not None
    tracer = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(tmp_path / "trace")]
    words = [*UNSHARED, *(tracer if shutil.which("strace") else []), sys.executable, "-m", "convod",
             "--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state")]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CONVOD_SUMMARY_PROVIDER": "extractive"}
    environment["CONVOD_MODEL"] = "builtin"
    process = await trio.lowlevel.open_process(words, env=environment)
    try:
        while not (tmp_path / "s").exists():  # noqa: ASYNC110
            await trio.sleep(0.02)
        async with convo.connect(f"unix:{tmp_path / 's'}", connect_timeout=30) as client:
            events = await talk_live(client, pcm("single.flac"))
        # What was started is `unshare` or `strace`: convod itself is who listens.
        os.kill(listener(tmp_path / "s"), signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    assert states(events)[-1] == "completed"
    assert word_error_rate(truth("single"), text(events)) < 0.3
    if shutil.which("strace"):
        asked = [line for line in (tmp_path / "trace").read_text().splitlines() if "AF_INET" in line]
        assert asked == [], "somebody wanted to reach the network"
