"""Who reads long takes turns with others, and waits for nobody but themselves."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import trio
import trio.testing

from convod.store.base import TookTooLong
from convod.store.readers import Deadline, Readers, unwatch
from tests.daemon.support.house import run_inline

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


class Reading:
    """Readers of one connection each; `begun` says who had a turn."""

    def __init__(self, readers: Readers, nursery: trio.Nursery) -> None:
        self.readers, self.nursery = readers, nursery
        self.begun: list[str] = []
        self.go: dict[str, trio.Event] = {}
        self.scopes: dict[str, trio.CancelScope] = {}

    async def begin(self, name: str) -> None:
        self.nursery.start_soon(self._read, name)
        await trio.testing.wait_all_tasks_blocked()

    async def end(self, name: str) -> None:
        self.go[name].set()
        await trio.testing.wait_all_tasks_blocked()

    async def _read(self, name: str) -> None:
        self.go[name] = trio.Event()
        self.scopes[name] = trio.CancelScope()
        with self.scopes[name]:
            async with self.readers.reader(name[0]):
                self.begun.append(name)
                await self.go[name].wait()


@pytest.fixture
async def reading(monkeypatch):
    run_inline(monkeypatch)  # while a thread opens a connection all tasks are blocked, and nobody has a turn yet
    readers = Readers(lambda: sqlite3.connect(":memory:", check_same_thread=False), sqlite3.Connection.close, 2)
    async with trio.open_nursery() as nursery:
        yield Reading(readers, nursery)
        nursery.cancel_scope.cancel()
    readers.close()


async def test_one_user_reads_once_at_a_time_and_leaves_room_for_others(reading):
    for name in ("a1", "a2", "a3", "b1"):
        await reading.begin(name)
    assert reading.begun == ["a1", "b1"]
    await reading.end("a1")
    assert reading.begun == ["a1", "b1", "a2"]


async def test_users_take_turns_however_many_one_asks_for(reading):
    for name in ("a1", "b1", "a2", "a3", "a4", "b2", "c1"):
        await reading.begin(name)
    await reading.end("a1")
    assert reading.begun[2:] == ["c1"]  # who came last, and had no turn yet
    await reading.end("b1")
    assert reading.begun[3:] == ["a2"]
    await reading.end("a2")
    assert reading.begun[4:] == ["b2"]


async def test_who_goes_away_gives_the_turn_back(reading):
    for name in ("a1", "b1", "c1", "d1"):
        await reading.begin(name)
    reading.scopes["c1"].cancel()
    reading.scopes["a1"].cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert reading.begun == ["a1", "b1", "d1"]
    for name in ("b1", "d1"):
        await reading.end(name)
    assert not reading.readers.last_turns  # nothing is remembered of who is gone


async def test_a_turn_that_comes_with_the_going_is_given_back(reading):
    for name in ("a1", "b1", "c1"):
        await reading.begin(name)
    reading.go["a1"].set()
    reading.scopes["c1"].cancel()
    await trio.testing.wait_all_tasks_blocked()
    await reading.begin("d1")
    assert reading.begun[-1] == "d1"


async def test_nobody_reads_during_a_pause(reading):
    await reading.begin("a1")
    paused, over = trio.Event(), trio.Event()

    async def pause() -> None:
        async with reading.readers.paused():
            paused.set()
            await over.wait()

    reading.nursery.start_soon(pause)
    await trio.testing.wait_all_tasks_blocked()  # before anything else begins
    await reading.begin("b1")
    assert not paused.is_set()
    await reading.end("a1")
    await paused.wait()
    assert reading.begun == ["a1"]
    over.set()
    await trio.testing.wait_all_tasks_blocked()
    assert reading.begun == ["a1", "b1"]


def test_a_deadline_interrupts_what_runs_and_the_steps_between():
    deadline = Deadline(0.02)
    with closing(sqlite3.connect(":memory:")) as connection:
        deadline.watch(connection)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection.execute(ENDLESS).fetchall()
        with pytest.raises(TookTooLong, match=r"0\.02 s"):
            deadline.check()
        unwatch(connection)
        assert connection.execute("SELECT count(*) FROM pragma_function_list").fetchone()[0] > 10
