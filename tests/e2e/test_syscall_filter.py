"""A file is transcribed under the unit's own filter for system calls, and under one that forbids a little more.

Where systemd boots, `test_booted` says more; this needs neither root nor namespaces.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import convo
from convod.engine import sandbox
from tests.support import syscalls
from tests.support.sessions import OFF, states, text, upload
from tests.support.speech import DATA, truth, word_error_rate

UNIT = syscalls.ROOT / "daemon/systemd/system/convod.service"

pytestmark = pytest.mark.skipif(not syscalls.available(), reason="systemd-analyze or libseccomp is not installed")


@asynccontextmanager
async def filtered(directory: Path, calls: set[str]) -> AsyncIterator[str]:
    """A daemon with these system calls only; its url."""
    socket = directory / "s"
    words = syscalls.only(
        calls, sys.executable, "-m", "convod", "--socket", str(socket), "--state-dir", str(directory / "state")
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "CONVOD_MODEL": "builtin",
        "CONVOD_SUMMARY_PROVIDER": "extractive",
    }
    process = await trio.lowlevel.open_process(words, env=environment)
    try:
        while not socket.exists():
            assert process.poll() is None
            await trio.sleep(0.02)
        yield f"unix:{socket}"
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize("forbidden", [set(), {"setpriority", "setrlimit"}], ids=["as shipped", "and @resources"])
async def test_a_file_is_transcribed(tmp_path: Path, forbidden: set[str]) -> None:
    calls = syscalls.allowed(UNIT.read_text())
    assert {"read", "openat", "setpriority"} <= calls
    assert not {"mount", "reboot", "setuid", "sched_setaffinity"} & calls
    async with filtered(tmp_path, calls - forbidden) as url, convo.connect(url, connect_timeout=30) as client:
        events = await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF)
    assert states(events)[-1] == "completed"
    assert word_error_rate(truth("single"), text(events)) < 0.3


@pytest.mark.parametrize("machine", sandbox.CALLS)
def test_the_units_filter_lets_a_decoder_shut_itself_in(machine: str) -> None:
    """By name, whatever the numbers are: on each architecture that decoders have a filter for."""
    calls = syscalls.allowed(UNIT.read_text())
    assert sandbox.CALLS[machine].keys() <= calls
    assert {"prctl", "landlock_create_ruleset", "landlock_restrict_self"} <= calls
