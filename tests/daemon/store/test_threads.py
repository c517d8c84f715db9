"""Databases behind queues, SQLite and PostgreSQL alike: what is committed with what, who waits for whom, what ends."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest
import trio

from convod.store import StoreFailed, TookTooLong, database_at
from convod.store.threads import BATCH

WRONG = (sqlite3.IntegrityError, psycopg.DataError)


@pytest.fixture
def place(store_url, tmp_path):
    """Makes a database that has a table of numbers, the same each time."""
    make = partial(database_at, store_url, tmp_path / "convod.sqlite")
    database = make()
    database.open()
    database.writer.execute("DROP TABLE IF EXISTS t")
    database.writer.execute(f"CREATE TABLE t (x INTEGER PRIMARY KEY) {'' if store_url else 'STRICT'}")
    database.close()
    return make


@asynccontextmanager
async def opened(place):
    database = place()
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield database
            nursery.cancel_scope.cancel()
    finally:
        database.close()


def insert(x):
    def work(connection):
        connection.execute("INSERT INTO t VALUES (?)", (x,))
        return x

    return work


def everything(connection):
    return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def synchronous(connection):
    name = "PRAGMA synchronous" if isinstance(connection, sqlite3.Connection) else "SHOW synchronous_commit"
    return connection.execute(name).fetchone()[0]


def traced(database) -> list[str]:
    """The statements that the writer runs from now on."""
    statements: list[str] = []
    if isinstance(database.writer, sqlite3.Connection):
        database.writer.set_trace_callback(statements.append)
    else:
        run = database.writer.run
        database.writer.run = lambda sql: statements.append(sql) or run(sql)
    return statements


async def test_only_what_is_to_last_waits_for_the_disk(place):
    async with opened(place) as database:
        seen = [await database.write(synchronous, durable=durable) for durable in (False, True, False)]
        assert seen in ([1, 2, 1], ["local", "on", "local"])  # 1 and 2 are SQLite's NORMAL and FULL


async def test_all_of_it_lasts_where_it_is_said_to(place):
    database = place(durable=True)
    database.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        assert await database.write(synchronous) in (2, "on")
        nursery.cancel_scope.cancel()
    database.close()


async def test_a_write_gives_what_its_work_returned_and_can_be_read_then(place):
    async with opened(place) as database:
        assert await database.write(insert(7)) == 7
        assert await database.read(everything) == [7]


async def test_writes_that_wait_together_are_committed_together(place):
    async with opened(place) as database:
        commits = traced(database)
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
        assert commits.count("COMMIT") == 3  # the slow one, a full batch, the rest
        assert await database.read(everything) == list(range(BATCH + 10))


async def test_an_error_in_one_write_leaves_the_others_of_its_batch(place):
    async with opened(place) as database:
        results: dict[object, object] = {}

        async def write(x):
            try:
                results[x] = await database.write(insert(x))
            except WRONG as error:
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
        assert isinstance(results.pop("no number"), WRONG)
        assert results == {1: 1, 2: 2}
        assert await database.read(everything) == [1, 2]


async def test_a_write_whose_caller_went_away_is_committed_all_the_same(place):
    async with opened(place) as database:
        with trio.CancelScope() as scope:
            scope.cancel()
            await database.write(insert(5))
        assert scope.cancelled_caught
        await database.write(insert(6))
        assert await database.read(everything) == [5, 6]


@pytest.mark.parametrize("at_work", [False, True])
async def test_writes_that_wait_when_it_stops_are_committed(place, at_work):
    database = place()
    database.open()
    began, go_on = threading.Event(), threading.Event()

    def slow(connection):
        began.set()
        go_on.wait(30)

    async with trio.open_nursery() as callers, trio.open_nursery() as nursery:
        if at_work:
            nursery.start_soon(database.run)
            callers.start_soon(database.write, slow)
            await trio.to_thread.run_sync(began.wait, 30)
        for x in range(20):
            callers.start_soon(database.write, insert(x))
        await trio.testing.wait_all_tasks_blocked()  # all of them wait in the queue
        if not at_work:
            nursery.start_soon(database.run)
        nursery.cancel_scope.cancel()
        go_on.set()
    database.close()
    async with opened(place) as again:
        assert await again.read(everything) == list(range(20))


async def test_what_was_written_is_there_after_closing_and_opening(place):
    async with opened(place) as database:
        await database.write(insert(1))
    async with opened(place) as database:
        assert await database.read(everything) == [1]


async def test_a_write_that_comes_after_the_end_is_refused_at_once(place):
    database = place()
    database.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        assert await database.write(insert(1)) == 1
        nursery.cancel_scope.cancel()
    with trio.fail_after(10), trio.CancelScope(shield=True), pytest.raises(StoreFailed, match="stopping"):
        await database.write(insert(2))
    database.close()


async def test_a_write_is_never_taken_for_done_where_its_thread_had_a_fault(place, monkeypatch):
    database = place()
    database.open()

    async def run_sync(*work, **how):
        raise MemoryError

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    with pytest.raises(ExceptionGroup) as failed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            with pytest.raises(StoreFailed, match="was not written"), trio.CancelScope(shield=True):
                await database.write(lambda connection: connection.execute("SELECT 1").fetchall())
            await trio.sleep_forever()
    assert failed.group_contains(MemoryError) if hasattr(failed, "group_contains") else True
    database.close()


# --- long reads -------------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT (x + 1) % 1000 FROM n) SELECT max(x) FROM n"


def endless(connection, *deadline):
    return connection.execute(ENDLESS).fetchall()


async def test_a_long_read_ends_in_time_and_is_told_from_a_fault(place):
    async with opened(place) as database:
        with pytest.raises(TookTooLong):
            await database.read_long(endless, within_s=0.02)
        await database.write(insert(1))
        assert await database.read_long(lambda connection, deadline: everything(connection)) == [1]


async def test_a_short_read_that_is_long_is_refused(place, monkeypatch):
    monkeypatch.setattr("convod.store.threads.READ_S", 0.02)
    async with opened(place) as database:
        with pytest.raises(StoreFailed, match=r"not read within 0\.02 s"):
            await database.read(endless)
        assert await database.read(everything) == []


async def test_others_read_and_write_while_long_reads_go_on_and_end_when_nobody_waits(place):
    async with opened(place) as database, trio.open_nursery() as nursery:
        began = threading.Semaphore(0)

        def long(connection, deadline):
            began.release()
            endless(connection)

        for who in "aabbc":
            nursery.start_soon(partial(database.read_long, long, who=who))
        with trio.fail_after(20):
            for _ in range(2):
                await trio.to_thread.run_sync(began.acquire)
            await database.write(insert(1))
            assert await database.read(everything) == [1]
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                assert await database.read_long(lambda connection, deadline: everything(connection)) == [1]
