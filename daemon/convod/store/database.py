"""SQLite behind queues: one thread writes, one makes short reads, a few make long ones; the event loop never waits for
a disk.

In: functions that take a connection. Out: what they return. Writes that wait together are committed together, each
in a savepoint of its own, and a write has been committed when its call returns. It knows nothing of sessions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from convod.disk import sync_folder
from convod.store.base import StoreFailed, TookTooLong
from convod.store.readers import Deadline, Readers, unwatch
from convod.store.search import FUNCTIONS
from convod.store.soundness import TO_DO, examine, record_clean_shutdown, take_clean_shutdown

log = logging.getLogger("convod.store")

T = TypeVar("T")

BATCH: Final = 256
"""Most writes in one transaction."""

READ_S: Final = 30.0
"""Most seconds of a read that others wait for: a sick disk, or more than was ever meant to be read at once."""

LONG_AT_ONCE: Final = 2
"""Long reads at a time."""

LOG_BYTES: Final = 64 << 20
"""A log longer than this is emptied between two long reads: while one reads, SQLite cannot begin it anew."""

LARGE: Final = 100 << 20
"""Bytes of a file that takes long enough to look through that the log says so."""


class _Pending:
    """A write that waits for its commit; one that is `bare` runs alone and outside any transaction, and one that is
    `durable` has reached the disk when it is done, with all that was committed before it.
    """

    def __init__(self, work: Callable[[sqlite3.Connection], Any], *, bare: bool = False, durable: bool = False) -> None:
        self.work = work
        self.bare = bare
        self.durable = durable
        self.done = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class Database:
    """`open` it, keep `run` running and have it `check`ed, then `write` and `read` from any task.

    It is looked through whole once a run: before anything else, unless a clean stop came before and nothing touched the
    file since. Then only the disk can have harmed it, and it is looked through while it is served. With `durable` every
    commit survives a power cut.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path = path
        self._durable = durable
        self._queue: deque[_Pending] = deque()
        self._writer_parked = trio.lowlevel.ParkingLot()
        self._ended = False
        self._write_limit = trio.CapacityLimiter(1)
        self._read_limit = trio.CapacityLimiter(1)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._long = Readers(self._connect, LONG_AT_ONCE)
        self._sound = False
        self._checking: trio.Event | None = None
        self._log_doubtful = False  # a write to the log failed: what the system says it wrote before may be lost
        self.trouble: str | None = None
        """Why nothing can be written, as far as is known."""

    def open(self) -> None:
        """Open, check and migrate the file. Blocks: for the start. `check` must follow.

        Raises:
            StoreFailed: it cannot be opened, is damaged, or was written by a newer convod.
        """
        try:
            # What was said is for its user alone; SQLite gives its other files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            untouched = take_clean_shutdown(self.path)
            self._writer = self._connect()
            if untouched:
                examine(self._writer, self.path, "sessions")
            else:
                if (size := self.path.stat().st_size) > LARGE:
                    log.info("the database is looked through, as no clean stop came before: %d MiB", size >> 20)
                examine(self._writer, self.path)
                self._sound = True
            _migrate(self._writer, self.path)
            self._reader = self._connect()
        except StoreFailed:
            self._give_up()
            raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # a broken schema may be no text at all
            self._give_up()
            raise StoreFailed(f"{self.path} cannot be used ({_reason(error)}); {_todo(error)}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        connection.row_factory = sqlite3.Row
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

    def _give_up(self) -> None:
        self._sound = False  # it may lack tables: the next start looks at all of it
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is safe."""
        self._long.close()
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        if self._sound and self._writer is not None:
            record_clean_shutdown(self.path)
        self._reader = self._writer = None

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
                    nursery.start_soon(_interrupt_when_cancelled, connection, ended)
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

    async def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run `work` in the writing thread and wait for its commit; if `durable`, until a power cut cannot undo it.

        Raises:
            StoreFailed: the disk is full, or the file cannot be written.
        """
        result: T = await self._write(_Pending(work, durable=durable or self._durable))
        return result

    async def checkpoint(self) -> None:
        """Empty the log, so that nothing of what was deleted is left in it; readers may put that off."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        if self._checking is not None:
            await self._checking.wait()  # it reads for long, and the log cannot be emptied before
        async with self._long.paused():  # while one reads, the writer would wait, and all who write with it
            await self._write(_Pending(work, bare=True))

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was committed so far, by this process or an earlier one.

        Raises:
            StoreFailed: the disk does not take it.
        """

        def work(connection: sqlite3.Connection) -> None:
            # A checkpoint syncs the whole log first, however much of it can be moved.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

        await self._write(_Pending(work, bare=True))

    async def backup(self, path: Path) -> None:
        """Write a consistent copy to `path`, whole or not at all; others go on reading and writing.

        Raises:
            StoreFailed: it could not be written, or is not sound.
        """
        await trio.to_thread.run_sync(backup, self.path, path)

    async def _write(self, pending: _Pending) -> Any:
        if self._ended:
            # The writer has ended: a write that is shielded from cancellation would wait forever.
            raise StoreFailed(f"{self.path} is closed: convod is stopping")
        self._queue.append(pending)
        self._writer_parked.unpark()
        await pending.done.wait()
        if type(pending.error) is sqlite3.DatabaseError:  # its subclasses are other things
            self._sound = False
            raise StoreFailed(f"{self.path} is damaged ({pending.error}); {TO_DO}")
        if isinstance(pending.error, sqlite3.OperationalError):
            todo = "make room on its disk" if "full" in str(pending.error) else "look at its disk"
            self.trouble = f"{self.path} cannot be written ({pending.error}); {todo}"
            raise StoreFailed(self.trouble)
        if pending.error is not None:
            raise pending.error
        self.trouble = None
        return pending.result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which must be short, in the reading thread.

        Raises:
            StoreFailed: the file cannot be read, is damaged, or took longer than READ_S.
        """
        reader = self._reader
        assert reader is not None
        try:
            return await trio.to_thread.run_sync(self._timed, reader, work, limiter=self._read_limit)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    def _timed(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        deadline = Deadline(READ_S)
        deadline.watch(connection)
        try:
            return work(connection)
        except sqlite3.OperationalError as error:
            if not deadline.passed:
                raise
            raise StoreFailed(
                f"{self.path} was not read within {READ_S:g} s; try again, or look at its disk"
            ) from error
        finally:
            unwatch(connection)

    def _unreadable(self, error: Exception) -> StoreFailed:
        self._sound = False  # the next start looks it through
        return StoreFailed(f"{self.path} cannot be read ({error}); look into the daemon's log")

    async def read_long(
        self,
        work: Callable[[sqlite3.Connection, Deadline], T],
        *,
        who: str = "",
        within_s: float = float("inf"),
    ) -> T:
        """Run `work`, which checks its deadline, beside all others: only long reads of the same `who` wait for it.

        The seconds count from when it begins. It ends soon if it is cancelled.

        Raises:
            TookTooLong: it was not done in time.
            StoreFailed: the file cannot be read, or is damaged.
        """
        done: list[T] = []
        failure: Exception | None = None
        try:
            async with self._long.reader(who) as connection, trio.open_nursery() as nursery:
                deadline = Deadline(within_s)
                nursery.start_soon(_give_up_when_cancelled, deadline)
                try:
                    done.append(await trio.to_thread.run_sync(_long, connection, work, deadline))
                except (sqlite3.Error, UnicodeDecodeError, TookTooLong, StoreFailed) as error:
                    failure = error
                nursery.cancel_scope.cancel()
        except sqlite3.Error as error:  # there is no connection
            failure = error
        await trio.lowlevel.checkpoint_if_cancelled()  # what was given up is a failure, too
        await self._empty_long_log()
        if isinstance(failure, sqlite3.Error | UnicodeDecodeError):
            raise self._unreadable(failure) from failure
        if failure is not None:
            raise failure
        return done[0]

    async def _empty_long_log(self) -> None:
        with contextlib.suppress(OSError, StoreFailed):
            if self.path.with_name(f"{self.path.name}-wal").stat().st_size > LOG_BYTES:
                await self.checkpoint()

    async def run(self) -> None:
        """Commit writes until cancelled; those that wait then are still committed, those that come later refused."""
        self._ended = False
        try:
            while True:
                if self._queue:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    await self._writer_parked.park()
                await self._commit()
        finally:
            while self._queue:
                await self._commit()
            self._ended = True

    async def _commit(self) -> None:
        batch = [self._queue.popleft()]
        while not batch[0].bare and self._queue and not self._queue[0].bare and len(batch) < BATCH:
            batch.append(self._queue.popleft())
        apply = self._apply_bare if batch[0].bare else self._apply
        try:
            # Cancelled before its thread began, it would say of writes that they are done which never were.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(apply, batch, limiter=self._write_limit)
        except BaseException:
            for pending in batch:  # no caller may believe that it was written
                pending.error = pending.error or StoreFailed(f"{self.path} was not written; look into the log")
            raise
        finally:
            for pending in batch:
                pending.done.set()

    def _apply(self, batch: list[_Pending]) -> None:
        assert self._writer is not None
        connection = self._writer
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

    def _apply_bare(self, batch: list[_Pending]) -> None:
        assert self._writer is not None
        for pending in batch:
            try:
                pending.result = pending.work(self._writer)
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


def _long(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection, Deadline], T], deadline: Deadline) -> T:
    deadline.watch(connection)
    try:
        return work(connection, deadline)
    except sqlite3.OperationalError as error:
        if not deadline.passed:
            raise
        raise TookTooLong(deadline.seconds) from error
    finally:
        unwatch(connection)


async def _give_up_when_cancelled(deadline: Deadline) -> None:
    """Make a read in a thread end soon when its caller is cancelled."""
    try:
        await trio.sleep_forever()
    finally:
        deadline.give_up()


async def _interrupt_when_cancelled(connection: sqlite3.Connection, ended: trio.Event) -> None:
    """Interrupt a statement that runs in a thread when its caller is cancelled."""
    try:
        await ended.wait()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            while not ended.is_set():
                connection.interrupt()  # for nothing if the statement has not begun yet
                with trio.move_on_after(0.02):
                    await ended.wait()
        raise


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = sorted(
        (file for file in Path(__file__).with_name("migrations").iterdir() if file.name[0].isdigit()),
        key=lambda file: file.name,
    )
    have = connection.execute("PRAGMA user_version").fetchone()[0]
    if have > len(scripts):
        raise StoreFailed(f"{path} was written by a newer convod (version {have}); start that one")
    for number, script in enumerate(scripts[have:], have + 1):
        connection.executescript(f"BEGIN;\n{script.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;")
