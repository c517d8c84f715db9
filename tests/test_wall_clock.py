"""No test sleeps or polls where it need not, and whoever does is found."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from tests.support import wall_clock

MAY_POLL = {
    "protocol/test_asyncio_client.py": "asyncio does not say when all its tasks wait",
    # Helpers for tests of whole processes, which no event reaches.
    "support/browser.py": "of a page",
    "support/daemon.py": "of a daemon's log",
    "support/faults.py": "of another process",
    "support/redis.py": "a wire that is as long as a test says, in a thread",
}


def test_no_test_polls():
    files = {
        str(file.relative_to(wall_clock.TESTS)): file
        for file in wall_clock.TESTS.rglob("*.py")
        if not wall_clock.may_sleep(file)
    }
    found = {name: [*wall_clock.polls(file.read_text())] for name, file in files.items()}
    assert {name: lines for name, lines in found.items() if lines and name not in MAY_POLL} == {}
    assert {name for name, lines in found.items() if lines} == {*MAY_POLL}, "who polls no longer needs no reason"


@pytest.mark.parametrize(
    "loop",
    [
        "while not done: await trio.sleep(0)",
        "while not done: await trio.lowlevel.checkpoint()",
        "while not done:\n  for _ in range(9):\n    await asyncio.sleep(0)",
        "while not done:\n  go_on()\n  await checkpoint()",
        "while not done: time.sleep(0.1)",
    ],
)
def test_a_loop_that_polls_is_found(loop):
    assert [*wall_clock.polls(loop)] == [1]


@pytest.mark.parametrize(
    "loop",
    [
        "while True: await trio.sleep(1)",
        "while not done:\n  await changed.wait()\n  await checkpoint()",
        "while more(): count += 1",
        "for _ in range(9): await checkpoint()",
    ],
)
def test_a_loop_that_serves_waits_or_counts_is_none(loop):
    assert [*wall_clock.polls(loop)] == []


@pytest.fixture
def noted(monkeypatch) -> list[str]:
    """What is noted of this test, which it need not answer for."""
    mine: list[str] = []
    monkeypatch.setattr(wall_clock, "noted", mine)
    return mine


def test_a_test_that_sleeps_is_noted_in_whatever_thread_and_goes_on(noted):
    time.sleep(0.001)
    thread = threading.Thread(target=lambda: time.sleep(0.001))
    thread.start()
    thread.join()
    asyncio.run(main_of_asyncio())
    assert [where.split(" calls ")[1] for where in noted] == [
        "time.sleep(0.001,)", "time.sleep(0.001,)", "asyncio.sleep(0.001,)",
    ]  # fmt: skip
    assert noted[0].startswith("tests/test_wall_clock.py:")


async def main_of_asyncio():
    await asyncio.sleep(0.001)
    await asyncio.sleep(0)


async def test_a_sleep_under_trio_is_noted(noted):
    await trio.sleep(0.001)
    await trio.sleep_until(trio.current_time())
    assert [where.split("(")[0].split(" calls ")[1] for where in noted] == ["trio.sleep", "trio.sleep_until"]


async def test_a_sleep_on_a_virtual_clock_is_none(noted, autojump_clock):
    await trio.sleep(1000)
    await trio.sleep_until(3000)
    assert noted == []


async def test_what_the_product_sleeps_is_its_own_affair(noted):
    # As by a module that lies elsewhere.
    sleeps = compile("async def sleeps(): await trio.sleep(0.001)", "/elsewhere/module.py", "exec")
    names = {"trio": trio}
    exec(sleeps, names)
    await names["sleeps"]()
    assert noted == []


@pytest.mark.parametrize(
    ("file", "may"),
    [("e2e/test_x.py", True), ("faults/a/b.py", True), ("daemon/e2e/test_x.py", False), ("x.py", False)],
)
def test_only_tests_of_whole_processes_may_sleep(file, may):
    assert wall_clock.may_sleep(wall_clock.TESTS / file) is may


def test_a_test_that_slept_fails_at_its_end_and_those_of_whole_processes_do_not(request, noted):
    name = str(wall_clock.TESTS / "conftest.py")
    (conftest,) = (one for one in request.config.pluginmanager.get_plugins() if getattr(one, "__file__", "") == name)
    for file, fails in (("daemon/test_x.py", True), ("e2e/test_x.py", False), ("daemon/test_x.py", None)):
        teardown = conftest.pytest_runtest_teardown(SimpleNamespace(path=wall_clock.TESTS / file))
        next(teardown)
        if fails is not None:
            noted.append("tests/daemon/test_x.py:1 calls time.sleep(1,)")
        with pytest.raises(pytest.fail.Exception if fails else StopIteration) as raised:
            teardown.send(None)
        assert not fails or "calls time.sleep" in str(raised.value)
        assert noted == []
