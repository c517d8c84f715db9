"""SQLite: one file, which is looked through once a run.

In: functions that take a connection. Out: what they return. Writes that are committed together have a savepoint each.
It knows nothing of sessions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, TypeVar

import trio

from convod.disk import sync_folder
from convod.store import threads
from convod.store.base import StoreFailed, TookTooLong
from convod.store.fts5 import FUNCTIONS, Fts5
from convod.store.readers import Deadline, unwatch
from convod.store.soundness import TO_DO, examine, record_clean_shutdown, take_clean_shutdown
from convod.store.sql import check_whole, chore, migrations
from convod.store.threads import Pending, ThreadedDatabase

log = logging.getLogger("convod.store")

T = TypeVar("T")

LOG_BYTES: Final = 64 << 20
"""A log longer than this is emptied between two long reads: while one reads, SQLite cannot begin it anew."""

LARGE: Final = 100 << 20
"""Bytes of a file that takes long enough to look through that the log says so."""


class Database(ThreadedDatabase[sqlite3.Connection]):
    """`open` it, keep `run` running and have it `check`ed, then `write` and `read` from any task.

    It is looked through whole once a run: before anything else, unless a clean stop came before and nothing touched the
    file since. Then only the disk can have harmed it, and it is looked through while it is served. With `durable` every
    commit survives a power cut. `alone`: it is opened to be filled or emptied, and may be half a copy.
    """

    ERROR = sqlite3.Error
    DIFFERS: ClassVar[str] = "IS NOT"  # what standard SQL calls it, SQLite knows since 3.39

    def __init__(self, path: Path, *, durable: bool = False, alone: bool = False) -> None:
        super().__init__(str(path), durable=durable)
        self.path = path
        self._alone = alone
        self.index = Fts5()
        self.writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._sound = False
        self._checking: trio.Event | None = None
        self._log_doubtful = False  # a write to the log failed: what the system says it wrote before may be lost

    def open(self) -> None:
        """Open, check and migrate the file. Blocks: for the start. `check` must follow.

        Raises:
            StoreFailed: it cannot be opened, is damaged, or was written by a newer convod.
        """
        try:
            # What was said is for its user alone; SQLite gives its other files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            untouched = take_clean_shutdown(self.path)
            self.writer = self._connect()
            if untouched:
                examine(self.writer, self.path, "sessions")
            else:
                if (size := self.path.stat().st_size) > LARGE:
                    log.info("the database is looked through, as no clean stop came before: %d MiB", size >> 20)
                examine(self.writer, self.path)
                self._sound = True
            _migrate(self.writer, self.path)
            if not self._alone:
                check_whole(self.writer, self.name)
            self._reader = self._connect()
        except StoreFailed:
            self._give_up()
            raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # a broken schema may be no text at all
            self._give_up()
            raise StoreFailed(f"{self.path} cannot be used ({_reason(error)}); {_todo(error)}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        for name, function in FUNCTIONS.items():
            connection.create_function(name, 1, function, deterministic=True)
        # WAL with NORMAL loses nothing when the process dies; a power cut may lose the last commits, but never
        # damages the file. Deleted text is overwritten, not just unlinked.
        try:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def _interrupt(self, connection: sqlite3.Connection) -> None:
        connection.interrupt()

    def _give_up(self) -> None:
        self._sound = False  # it may lack tables: the next start looks at all of it
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is safe."""
        self._long.close()
        for connection in (self._reader, self.writer):
            if connection is not None:
                connection.close()
        if self._sound and self.writer is not None:
            record_clean_shutdown(self.path)
        self._reader = self.writer = None

    async def check(self) -> None:
        """Look the whole file through, if `open` did not, while others read and write.

        Raises:
            StoreFailed: it is damaged, and must not be served any longer.
        """
        if self._sound:
            return
        self._checking = trio.Event()
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        failure: Exception | None = None
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=5)) as connection:
                async with trio.open_nursery() as nursery:
                    ended = trio.Event()
                    nursery.start_soon(self.interrupt_when_cancelled, connection, ended)
                    try:
                        await trio.to_thread.run_sync(examine, connection, self.path)
                    except (sqlite3.Error, StoreFailed) as error:
                        failure = error
                    ended.set()
        finally:
            self._checking.set()
        await trio.lowlevel.checkpoint_if_cancelled()  # the interrupt is a failure, too
        if isinstance(failure, sqlite3.OperationalError):  # the disk cannot be read now: no verdict on the file
            log.error("the database could not be looked through (%s); the next start does that", failure)
            return
        if failure is not None:
            log.error("the database is damaged; convod stops")
            if isinstance(failure, StoreFailed):
                raise failure
            raise StoreFailed(f"{self.path} is damaged ({failure}); {TO_DO}") from failure
        self._sound = True

    async def checkpoint(self) -> None:
        """Empty the log, so that nothing of what was deleted is left in it; readers may put that off."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        if self._checking is not None:
            await self._checking.wait()  # it reads for long, and the log cannot be emptied before
        async with self._long.paused():  # while one reads, the writer would wait, and all who write with it
            await self._write(Pending(work, bare=True))

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was committed so far, by this process or an earlier one.

        Raises:
            StoreFailed: the disk does not take it.
        """

        def work(connection: sqlite3.Connection) -> None:
            # A checkpoint syncs the whole log first, however much of it can be moved.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

        await self._write(Pending(work, bare=True))

    async def backup(self, path: Path) -> None:
        """Write a consistent copy to `path`, whole or not at all; others go on reading and writing.

        Raises:
            StoreFailed: it could not be written, or is not sound.
        """
        await trio.to_thread.run_sync(backup, self.path, path)

    async def size(self) -> int:
        """Bytes that all of it takes, without what could be used again."""

        def work(connection: sqlite3.Connection) -> int:
            page, count, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
            return int(page * (count - free))

        return await self.read(work)

    async def scrub(self, most_s: float) -> None:
        """Rid the index and the log of what was deleted, for at most that long."""
        until = time.monotonic() + most_s
        done = not await self.read(lambda connection: chore(connection) is not None)
        begin = True
        while not done and (begin or time.monotonic() < until):
            done = await self.write(partial(self.index.scrub, begin=begin))
            begin = False
        await self.checkpoint()

    def unwritten(self, error: Exception) -> Exception:
        """Return what the caller of a write that failed is told."""
        if type(error) is sqlite3.DatabaseError:  # its subclasses are other things
            self._sound = False
            return StoreFailed(f"{self.path} is damaged ({error}); {TO_DO}")
        if isinstance(error, sqlite3.OperationalError):
            todo = "make room on its disk" if "full" in str(error) else "look at its disk"
            self.trouble = f"{self.path} cannot be written ({error}); {todo}"
            return StoreFailed(self.trouble)
        return error

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._reader
        assert connection is not None
        deadline = Deadline(threads.READ_S)
        deadline.watch(connection)
        try:
            return work(connection)
        except sqlite3.OperationalError as error:
            if not deadline.passed:
                raise
            raise StoreFailed(
                f"{self.path} was not read within {deadline.seconds:g} s; try again, or look at its disk"
            ) from error
        finally:
            unwatch(connection)

    def _unreadable(self, error: Exception) -> StoreFailed:
        self._sound = False  # the next start looks it through
        return StoreFailed(f"{self.path} cannot be read ({error}); look into the daemon's log")

    def _read_long(
        self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection, Deadline], T], deadline: Deadline
    ) -> T:
        deadline.watch(connection)
        try:
            return work(connection, deadline)
        except sqlite3.OperationalError as error:
            if not deadline.passed:
                raise
            raise TookTooLong(deadline.seconds) from error
        finally:
            unwatch(connection)

    async def _after_long_read(self) -> None:
        with contextlib.suppress(OSError, StoreFailed):
            if self.path.with_name(f"{self.path.name}-wal").stat().st_size > LOG_BYTES:
                await self.checkpoint()

    def _apply(self, batch: list[Pending[sqlite3.Connection]]) -> None:
        assert self.writer is not None
        connection = self.writer
        try:
            # FULL waits at the commit until the whole log is on the disk.
            durable = any(pending.durable for pending in batch)
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            if durable and self._log_doubtful:
                # The system reports a failed write once: a second sync of the log would succeed without it. All that
                # is in the log is written again, to the database, and the log restarted.
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise sqlite3.OperationalError("its log has to be written again, and is being read")
                self._log_doubtful = False
            connection.execute("BEGIN IMMEDIATE")
            for pending in batch:
                connection.execute("SAVEPOINT one")
                try:
                    pending.result = pending.work(connection)
                except Exception as error:  # handed to the task that asked
                    pending.error = error
                    connection.execute("ROLLBACK TO one")
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._log_doubtful = True
            for pending in batch:
                pending.error = pending.error or error
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # then the next one cannot begin, and tries it again
                    connection.execute("ROLLBACK")

    def _apply_bare(self, batch: list[Pending[sqlite3.Connection]]) -> None:
        assert self.writer is not None
        for pending in batch:
            try:
                pending.result = pending.work(self.writer)
            except Exception as error:  # handed to the task that asked
                pending.error = error


def backup(source: Path, target: Path) -> None:
    """Copy the database at `source`, which may be in use, to `target`, and check the copy. Blocks.

    Raises:
        StoreFailed: it could not be read or written, or is damaged; `target` is as it was.
    """
    if not source.is_file():
        raise StoreFailed(f"there is no database at {source}; say where it is with --state-dir")
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as reader,
            contextlib.closing(sqlite3.connect(part)) as writer,
        ):
            # All pages in one step: a copy that lets writers in between starts over at each write.
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode = DELETE")
            verdict = " ".join(writer.execute("PRAGMA integrity_check(1)").fetchone()[0].split())
        if verdict != "ok":
            raise StoreFailed(f"{source} is damaged ({verdict}); restore an earlier backup")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
        sync_folder(target.absolute().parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"{target} cannot be written ({_reason(error)}); choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """An error in one line, without the path that is named beside it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # SQLite quotes the schema, which may hold anything by now.
    return " ".join(str(error).split())


def _todo(error: Exception) -> str:
    """Return what to do about a file that cannot be opened: is its content at fault, or only its surroundings?"""
    if isinstance(error, OSError):
        return "look at its disk, and who may write there"
    if isinstance(error, sqlite3.OperationalError):
        kind = error.sqlite_errorcode & 0xFF
        if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return "end the program that holds it, then start again"
        if kind == sqlite3.SQLITE_FULL:
            return "make room on its disk"
        if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return "look at its disk, and who may write there"
    return TO_DO


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = migrations("migrations")
    have = connection.execute("PRAGMA user_version").fetchone()[0]
    if have > len(scripts):
        raise StoreFailed(f"{path} was written by a newer convod (version {have}); start that one")
    for number, script in enumerate(scripts[have:], have + 1):
        connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
