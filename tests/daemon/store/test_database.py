"""What only SQLite has: a file that may be damaged, and a log beside it. The rest is in `test_threads`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from contextlib import asynccontextmanager, closing
from importlib import resources

import pytest
import trio

from convod.store import Database, StoreFailed, TookTooLong
from convod.store.soundness import examine, record_clean_shutdown


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
    with closing(sqlite3.connect(file)) as plain:
        plain.execute("CREATE TABLE t (x INTEGER PRIMARY KEY) STRICT")
    database.close()
    return file


def insert(x):
    def work(connection):
        connection.execute("INSERT INTO t VALUES (?)", (x,))
        return x

    return work


def everything(connection):
    return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def limit_pages(writer: sqlite3.Connection) -> None:
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()


async def test_a_disk_that_is_full_is_said_and_later_writes_go_through(path):
    async with opened(path) as database:
        await database.write(limit_pages)

        def much(connection):
            for x in range(100_000):
                connection.execute("INSERT INTO t VALUES (?)", (x,))

        with pytest.raises(StoreFailed, match="make room"):
            await database.write(much)
        await database.write(lambda writer: writer.execute("PRAGMA max_page_count = 1000000").fetchall())
        await database.write(insert(1))
        assert await database.read(everything) == [1]


@pytest.mark.parametrize("at_work", [False, True])
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


# --- whether it is sound ----------------------------------------------------------------------------------


@pytest.fixture
def looked(monkeypatch):
    """What was looked through: None for the whole file, else a table."""
    seen = []

    def spy(connection, path, table=None):
        seen.append(table)
        examine(connection, path, table)

    monkeypatch.setattr("convod.store.database.examine", spy)
    return seen


async def test_after_a_clean_stop_the_file_is_looked_through_while_it_is_served(path, looked):
    async with opened(path) as database:
        assert looked == ["sessions"]
        await database.write(insert(1))
        await database.check()
        assert looked == ["sessions", None]
        await database.check()
        assert looked == ["sessions", None]  # once a run
    async with opened(path):
        assert looked == ["sessions", None, "sessions"]


def kill(path):
    """Leave the file as a killed daemon does: a log beside it, no note of a clean shutdown."""
    database = Database(path)
    database.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as plain:
        plain.execute("INSERT INTO t VALUES (1)")
    files = {file.name: file.read_bytes() for file in path.parent.glob("convod.sqlite*")}
    database.close()
    for file in path.parent.glob("convod.sqlite*"):
        file.unlink()
    for name, data in files.items():
        (path.parent / name).write_bytes(data)


def change(path):
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()


def put_back(path):
    """As restoring a copy does, times of last writing and all."""
    shutil.copy2(path, path.with_name("copy"))
    shutil.copy2(path.with_name("copy"), path)


def unchecked(path):
    """A run that was too short for its check notes no clean shutdown."""
    database = Database(path)
    database.open()
    database.close()


def no_note(path):
    path.with_name("convod.sqlite-sound").unlink()


def odd_note(path):
    path.with_name("convod.sqlite-sound").write_bytes(b"{nonsense")


@pytest.mark.parametrize("what", [kill, change, put_back, unchecked, no_note, odd_note])
def test_after_anything_else_it_is_looked_through_before_it_is_served(path, looked, what):
    what(path)
    looked.clear()
    database = Database(path)
    database.open()
    database.close()
    assert looked == [None]


def spoil(path):
    """Damage one page of a table, as a disk does: times do not change, so the clean shutdown is noted anew."""
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(x,) for x in range(20_000)])
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    data = bytearray(path.read_bytes())
    data[-4096:] = os.urandom(4096)
    path.write_bytes(data)
    record_clean_shutdown(path)


async def test_damage_that_shows_while_it_is_served_ends_it_and_the_next_start_is_refused(path):
    spoil(path)
    database = Database(path)
    database.open()
    try:
        with pytest.raises(StoreFailed, match="restore a backup"):
            await database.check()
    finally:
        database.close()
    assert "restore a backup" in refused(path)


async def test_a_check_that_is_not_waited_for_ends_at_once(path, monkeypatch):
    began = threading.Event()

    def endless(connection, path):
        began.set()
        connection.execute(
            "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        ).fetchall()

    async with opened(path) as database:
        monkeypatch.setattr("convod.store.database.examine", endless)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.check)
            await trio.to_thread.run_sync(began.wait)
            nursery.cancel_scope.cancel()
    assert not path.with_name("convod.sqlite-sound").exists()


async def test_the_log_is_emptied_though_a_check_reads_the_file(path, monkeypatch):
    began, go = threading.Event(), threading.Event()

    def slow(connection, path):
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM t").fetchall()  # a reader, who keeps the log from being emptied
        began.set()
        assert go.wait(30)

    async with opened(path) as database:
        monkeypatch.setattr("convod.store.database.examine", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.check)
            await trio.to_thread.run_sync(began.wait)
            await database.write(insert(1))
            nursery.start_soon(database.checkpoint)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(4):  # SQLite would wait for the reader for 5 s, and all who write with it
                await database.write(insert(2))
            go.set()
        assert path.with_name("convod.sqlite-wal").stat().st_size == 0


async def test_damage_that_a_write_meets_is_told_as_such(path):
    async with opened(path) as database:

        def meet(connection):
            raise sqlite3.DatabaseError("database disk image is malformed")

        with pytest.raises(StoreFailed, match="restore a backup"):
            await database.write(meet)
    assert not path.with_name("convod.sqlite-sound").exists()


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
        with closing(sqlite3.connect(database.path)) as plain:
            assert plain.execute("PRAGMA user_version").fetchone()[0] == len(scripts)
        database.close()


async def test_a_long_read_that_took_too_long_is_told_from_a_fault(path):
    async with opened(path) as database:
        with pytest.raises(TookTooLong):
            await database.read_long(lambda connection, deadline: deadline.check(), within_s=0.0)
        await database.check()
    assert path.with_name("convod.sqlite-sound").exists()  # nothing is wrong with the file


async def test_a_log_is_emptied_between_long_reads_and_no_writer_waits_for_them(path, monkeypatch):
    monkeypatch.setattr("convod.store.database.LOG_BYTES", 0)
    began, go = threading.Event(), threading.Event()

    def slow(connection, deadline):
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM t").fetchall()
        began.set()
        assert go.wait(30)
        connection.execute("COMMIT")

    async with opened(path) as database, trio.open_nursery() as nursery:
        nursery.start_soon(database.read_long, slow)
        await trio.to_thread.run_sync(began.wait)
        await database.write(insert(1))
        nursery.start_soon(database.checkpoint)
        await trio.testing.wait_all_tasks_blocked(0.02)
        with trio.fail_after(4):  # SQLite would wait for the reader for 5 s, and all who write with it
            await database.write(insert(2))
        assert path.with_name("convod.sqlite-wal").stat().st_size > 0
        go.set()
        await database.write(insert(3))
        await database.read_long(lambda connection, deadline: None)
        assert path.with_name("convod.sqlite-wal").stat().st_size == 0
