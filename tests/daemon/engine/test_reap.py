from __future__ import annotations

import signal
import sys

import pytest
import trio

from convod.engine.reap import KILLED_S, reap


class Stuck:
    """A process that waits for a device, as the system shows it: killed, and there."""

    pid = 4711
    kills = 0

    def kill(self) -> None:
        self.kills += 1

    async def wait(self) -> int:
        await trio.sleep_forever()


async def test_a_process_that_not_even_a_kill_ends_is_left_to_the_system(autojump_clock, caplog):
    stuck = Stuck()
    with trio.CancelScope() as stopping:
        stopping.cancel()
        await reap(stuck)
        assert trio.current_time() == pytest.approx(KILLED_S)
    assert stuck.kills == 1
    assert "4711 does not end" in caplog.text


async def test_one_that_is_held_still_is_gone_at_once(caplog):
    process = await trio.lowlevel.open_process([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    process.send_signal(signal.SIGSTOP)
    with trio.CancelScope() as stopping:
        stopping.cancel()
        await reap(process)
    assert process.returncode == -signal.SIGKILL
    assert caplog.text == ""
