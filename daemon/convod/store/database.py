"""SQLite behind two queues: one thread writes, one reads, the event loop never waits for a disk.

In: functions that take a connection. Out: what they return. Writes that wait together are committed together, each
in a savepoint of its own, and a write has been committed when its call returns. It knows nothing of sessions.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

T = TypeVar("T")

BATCH: Final = 256
"""Most writes in one transaction."""


_TO_DO: Final = (
    "nothing was changed: keep a copy of it, then restore a backup or what `sqlite3 FILE .recover` finds, "
    "or move it aside to begin anew"
)


class StoreFailed(Exception):
    """The database did not take a write, or cannot be opened; the text says why and what to do."""


class _Pending:
    """A write that waits for its commit."""

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.done = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class Database:
    """`open` it, keep `run` running, then `write` and `read` from any task."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: deque[_Pending] = deque()
        self._writer_parked = trio.lowlevel.ParkingLot()
        self._write_limit = trio.CapacityLimiter(1)
        self._read_limit = trio.CapacityLimiter(1)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open, check and migrate the file. Blocks: for the start.

        Raises:
            StoreFailed: it cannot be opened, is damaged, or was written by a newer convod.
        """
        try:
            # What was said is for its user alone; SQLite gives its other files the same mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._writer = self._connect()
            verdict = " ".join(self._writer.execute("PRAGMA quick_check(1)").fetchone()[0].split())
            if verdict != "ok":
                raise StoreFailed(f"{self.path} is damaged ({verdict}); {_TO_DO}")
            _migrate(self._writer, self.path)
            self._reader = self._connect()
        except StoreFailed:
            self.close()
            raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # a broken schema may be no text at all
            self.close()
            # SQLite quotes the schema, which may hold anything by now.
            reason = " ".join(str(error).split())
            raise StoreFailed(f"{self.path} cannot be used ({reason}); {_TO_DO}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        connection.row_factory = sqlite3.Row
        # WAL with NORMAL loses nothing when the process dies; a power cut may lose the last commits, but never
        # damages the file. Deleted text is overwritten, not just unlinked.
        try:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the file; what was committed is safe."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writing thread and wait for its commit.

        Raises:
            StoreFailed: the disk is full, or the file cannot be written.
        """
        pending = _Pending(work)
        self._queue.append(pending)
        self._writer_parked.unpark()
        await pending.done.wait()
        if isinstance(pending.error, sqlite3.OperationalError):
            raise StoreFailed(f"{self.path} cannot be written ({pending.error}); make room on its disk")
        if pending.error is not None:
            raise pending.error
        result: T = pending.result
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the reading thread.

        Raises:
            StoreFailed: the file cannot be read, or is damaged.
        """
        assert self._reader is not None
        try:
            return await trio.to_thread.run_sync(work, self._reader, limiter=self._read_limit)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise StoreFailed(f"{self.path} cannot be read ({error}); look into the daemon's log") from error

    async def run(self) -> None:
        """Commit writes until cancelled; those that wait then are still committed."""
        try:
            while True:
                if not self._queue:
                    await self._writer_parked.park()
                await self._commit()
        finally:
            with trio.CancelScope(shield=True):
                while self._queue:
                    await self._commit()

    async def _commit(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            await trio.to_thread.run_sync(self._apply, batch, limiter=self._write_limit)
        finally:
            for pending in batch:
                pending.done.set()

    def _apply(self, batch: list[_Pending]) -> None:
        assert self._writer is not None
        connection = self._writer
        try:
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
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for pending in batch:
                pending.error = pending.error or error


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = sorted(
        (file for file in resources.files("convod.store").joinpath("migrations").iterdir() if file.name[0].isdigit()),
        key=lambda file: file.name,
    )
    have = connection.execute("PRAGMA user_version").fetchone()[0]
    if have > len(scripts):
        raise StoreFailed(f"{path} was written by a newer convod (version {have}); start that one")
    for number, script in enumerate(scripts[have:], have + 1):
        connection.executescript(f"BEGIN;\n{script.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;")
