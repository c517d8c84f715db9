from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import asynccontextmanager
from importlib import resources

import pytest
import trio

from convod.store import Database, StoreFailed
from convod.store.database import BATCH


@asynccontextmanager
async def opened(path):
    database = Database(path)
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield database
            nursery.cancel_scope.cancel()
    finally:
        database.close()


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "convod.sqlite"
    database = Database(file)
    database.open()
    assert database._writer is not None
    database._writer.execute("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT")
    database.close()
    return file


def insert(x):
    def work(connection):
        connection.execute("INSERT INTO t VALUES (?)", (x,))
        return x

    return work


def everything(connection):
    return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


async def test_a_write_gives_what_its_work_returned_and_can_be_read_then(path):
    async with opened(path) as database:
        assert await database.write(insert(7)) == 7
        assert await database.read(everything) == [7]


async def test_writes_that_wait_together_are_committed_together(path):
    async with opened(path) as database:
        commits = []
        assert database._writer is not None
        database._writer.set_trace_callback(lambda statement: commits.append(statement == "COMMIT"))
        began, go = threading.Event(), threading.Event()

        def slow(connection):
            began.set()
            assert go.wait(30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.write, slow)
            await trio.to_thread.run_sync(began.wait)
            for x in range(BATCH + 10):
                nursery.start_soon(database.write, insert(x))
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert sum(commits) == 3  # the slow one, a full batch, the rest
        assert await database.read(everything) == list(range(BATCH + 10))


async def test_an_error_in_one_write_leaves_the_others_of_its_batch(path):
    async with opened(path) as database:
        results: dict[object, object] = {}

        async def write(x):
            try:
                results[x] = await database.write(insert(x))
            except sqlite3.IntegrityError as error:
                results[x] = error

        async def write_half():
            def half(connection):
                connection.execute("INSERT INTO t VALUES (99)")
                raise RuntimeError("in the middle")

            with pytest.raises(RuntimeError, match="in the middle"):
                await database.write(half)

        async with trio.open_nursery() as nursery:
            for x in (1, "no number", 2):
                nursery.start_soon(write, x)
            nursery.start_soon(write_half)
        assert isinstance(results.pop("no number"), sqlite3.IntegrityError)
        assert results == {1: 1, 2: 2}
        assert await database.read(everything) == [1, 2]


async def test_a_disk_that_is_full_is_said_and_later_writes_go_through(path):
    async with opened(path) as database:
        assert database._writer is not None
        pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count = {pages}")

        def much(connection):
            for x in range(100_000):
                connection.execute("INSERT INTO t VALUES (?)", (x,))

        with pytest.raises(StoreFailed, match="make room"):
            await database.write(much)
        database._writer.execute("PRAGMA max_page_count = 1000000")
        await database.write(insert(1))
        assert await database.read(everything) == [1]


async def test_a_write_whose_caller_went_away_is_committed_all_the_same(path):
    async with opened(path) as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(insert(5))
        assert scope.cancelled_caught
        await database.write(insert(6))
        assert await database.read(everything) == [5, 6]


async def test_writes_that_wait_when_it_stops_are_committed(path):
    database = Database(path)
    database.open()
    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        await trio.testing.wait_all_tasks_blocked()
        for x in range(20):
            callers.start_soon(database.write, insert(x))
        nursery.cancel_scope.cancel()
    database.close()
    async with opened(path) as again:
        assert await again.read(everything) == list(range(20))


async def test_what_was_written_is_there_after_closing_and_opening(path):
    async with opened(path) as database:
        await database.write(insert(1))
    async with opened(path) as database:
        assert await database.read(everything) == [1]


def refused(path) -> str:
    database = Database(path)
    try:
        with pytest.raises(StoreFailed) as failed:
            database.open()
    finally:
        database.close()
    assert "\n" not in str(failed.value)
    assert str(path) in str(failed.value)
    return str(failed.value)


def test_a_file_of_a_newer_convod_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert "newer convod" in refused(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "convod.sqlite"
    path.write_bytes(b"Dear diary, " * 1000)
    assert "move it aside" in refused(path)
    assert path.read_bytes().startswith(b"Dear diary")


def test_a_damaged_file_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.executemany("INSERT INTO t VALUES (?)", [(x,) for x in range(5000)])
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    assert "move it aside" in refused(path)


def test_a_place_that_is_no_directory_is_refused(tmp_path):
    assert "cannot be used" in refused(tmp_path / "none" / "convod.sqlite")


def test_what_is_kept_is_for_its_user_alone(path):
    before = os.umask(0o022)
    try:
        fresh = Database(path.with_name("fresh.sqlite"))
        fresh.open()
        fresh.close()
    finally:
        os.umask(before)
    for file in path.parent.glob("fresh.sqlite*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_migrations_are_numbered_without_gaps_and_run_once(tmp_path):
    scripts = sorted(
        file.name for file in resources.files("convod.store").joinpath("migrations").iterdir() if file.name[0].isdigit()
    )
    assert [int(name[:4]) for name in scripts] == list(range(1, len(scripts) + 1))
    for _ in range(2):
        database = Database(tmp_path / "convod.sqlite")
        database.open()
        assert database._writer is not None
        assert database._writer.execute("PRAGMA user_version").fetchone()[0] == len(scripts)
        database.close()


async def test_a_write_that_comes_after_the_end_is_refused_at_once(path):
    database = Database(path)
    database.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        assert await database.write(insert(1)) == 1
        nursery.cancel_scope.cancel()
    with trio.fail_after(10), trio.CancelScope(shield=True), pytest.raises(StoreFailed, match="stopping"):
        await database.write(insert(2))
    database.close()
