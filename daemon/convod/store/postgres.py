"""PostgreSQL: a server somewhere, which may go and come back while it is used.

In: functions that take a connection. Out: what they return. A connection that was lost is opened again by who needs it
next. What was sent to be committed when it was lost may have been committed: then the caller is told `InDoubt`. It
knows nothing of sessions.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

import psycopg
import trio
from psycopg import errors

from convod.store import threads
from convod.store.base import Member, StoreFailed, TookTooLong
from convod.store.leases import SharedLeases
from convod.store.postgres_connection import (
    LostAtCommit,
    PostgresConnection,
    failed,
    is_gone,
    name_of,
    parameters_of,
    reason_of,
)
from convod.store.readers import Deadline
from convod.store.requests import ALIVE, LOCKS
from convod.store.sql import check_whole, chore, migrations, note_chore
from convod.store.threads import Pending, ThreadedDatabase
from convod.store.tsvector import TsVectors

log = logging.getLogger("convod.store")

T = TypeVar("T")

OLDEST: Final = 130000
"""The oldest server that will do."""

LOCK: Final = 0x636F6E766F64
"""The advisory lock that convods share for as long as they work, and that who moves a store has alone."""

MIGRATING: Final = LOCK + 1
"""The advisory lock of one that migrates the tables."""

LOCK_S: Final = 3.0
"""How long locks are waited for: a convod that was killed lets go of its own as soon as the server has noticed."""

SILENCE: Final = 140000
"""The oldest server that closes a connection which is silent for too long."""

LISTEN_AGAIN_S: Final = 1.0
"""Until a lost connection for notes is opened again."""

SILENT_S: Final = 0.5
"""A connection that fails after so long got no answer; one that is refused is told at once."""

TABLES: Final = (
    "sessions", "configs", "progress", "events", "annotations", "speakers", "voices", "paused", "chores", "notes",
    "lines", "removed", "requests", "deliveries",
)  # fmt: skip
"""All that may hold a word of somebody, or take room."""


class PostgresDatabase(ThreadedDatabase[PostgresConnection]):
    """`open` it and keep `run` running, then `write` and `read` from any task.

    Every commit has reached the server's disk before it is told: a server that is killed must not forget what was
    said. With `durable` it has reached the standbys, too, that the server waits for (synchronous_commit).

    Args:
        address: `postgresql://USER@HOST/DATABASE`, as libpq takes it.
        durable: whether every commit survives what standbys are there for.
        alone: whether it is opened to be filled or emptied by nobody else, and may be half a copy.
        member: who this convod is among others.

    Raises:
        StoreFailed: it is no such address.
    """

    ERROR = psycopg.Error
    DIFFERS: ClassVar[str] = "IS DISTINCT FROM"

    def __init__(
        self, address: str, *, durable: bool = False, alone: bool = False, member: Member | None = None
    ) -> None:
        self._parameters = parameters_of(address)
        super().__init__(name_of(self._parameters), durable=durable)
        self._alone = alone
        self._member = member or Member(secrets.token_hex(16), secrets.token_hex(16))
        self.leases = None if alone else SharedLeases(self, self._member)
        self.epoch = 0
        """Of this convod; 0 until it is open."""
        self.joins = 0
        """How often its locks were taken."""
        self._silent: tuple[float, psycopg.Error] | None = None  # until when it is not tried again, and why
        self._pid: int | None = None  # the server's process for the writer's last connection
        self.index = TsVectors()
        self.writer = PostgresConnection(self._parameters, timeout_s=0.0 if alone else None)
        self._reader = PostgresConnection(self._parameters)

    def open(self) -> None:
        """Connect, and migrate the tables. Blocks: for the start.

        Raises:
            StoreFailed: it cannot be reached or used, or was written by a newer convod.
        """
        try:
            self.writer.open()
            if self.writer.version < OLDEST:
                raise StoreFailed(f"{self.name} is older than PostgreSQL {OLDEST // 10000}; use a newer one")
            (encoding,) = self._one("SHOW server_encoding")
            if encoding != "UTF8":
                raise StoreFailed(f"{self.name} has encoding {encoding}; create it with `createdb --encoding UTF8`")
            self._lock()
            _migrate(self.writer, self.name)
            if not self._alone:
                check_whole(self.writer, self.name)
                self._register()
        except psycopg.Error as error:
            self.close()
            raise self._failed(error) from error
        except StoreFailed:
            self.close()
            raise

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...]:
        row = self.writer.execute(sql, values).fetchone()
        assert row is not None
        return row

    # The locks last as long as the writer's connection.

    def _lock(self) -> None:
        """Keep others from moving this store; if alone, keep everybody away."""
        kind, who = ("", "a convod, or another") if self._alone else ("_shared", "a")
        self._wait(
            lambda: self._one(f"SELECT pg_try_advisory_lock{kind}(?)", LOCK)[0],
            f"{who} `convod migrate-store` works with {self.name}; stop it first",
        )

    def _register(self) -> None:
        """Begin a new epoch, and show that it is alive."""
        known = f"SELECT 1 FROM daemons WHERE home = ? AND epoch IN {ALIVE}"
        self._wait(
            lambda: self.writer.execute(known, (self._member.home,)).fetchone() is None,
            f"a convod with a copy of this state directory works with {self.name}; delete the file `id` in the copy",
        )
        self.writer.run("BEGIN")
        self.writer.execute(
            f"DELETE FROM daemons WHERE epoch NOT IN {ALIVE} AND epoch NOT IN (SELECT epoch FROM progress) "
            "AND epoch NOT IN (SELECT epoch FROM deliveries) "
            # Of the others it is still told whose audio they have.
            "AND (home = ? OR spool NOT IN (SELECT spool FROM progress WHERE kept_bytes > 0))",
            (self._member.home,),
        )
        sql = "INSERT INTO daemons (home, spool, name) VALUES (?, ?, ?) RETURNING epoch"
        (self.epoch,) = self._one(sql, self._member.home, self._member.spool, self._member.name)
        self._one("SELECT pg_advisory_lock(?::INTEGER, ?::INTEGER)", LOCKS, self.epoch)
        self.writer.run("COMMIT")  # from now on it is seen, and alive
        self._joined()

    def _join(self) -> None:
        """Take the locks again, with a new connection."""
        self._lock()
        mine = "SELECT pg_try_advisory_lock(?::INTEGER, ?::INTEGER)"
        self._wait(self._take_back(mine), f"{self.name} has not noticed yet that a connection was lost; try again")
        self.writer.execute(
            "INSERT INTO daemons (epoch, home, spool, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self.epoch, self._member.home, self._member.spool, self._member.name),
        )
        self._joined()

    def _take_back(self, sql: str) -> Callable[[], bool]:
        def take() -> bool:
            if self._one(sql, LOCKS, self.epoch)[0]:
                return True
            # Nobody else takes this lock: the server has not noticed that our last connection is gone.
            self.writer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid = ? "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                (self._pid,),
            )
            return False

        return take

    def _wait(self, done: Callable[[], bool], why: str) -> None:
        until = time.monotonic() + LOCK_S
        while not done():
            if time.monotonic() >= until:
                raise StoreFailed(why)
            time.sleep(0.05)

    def _joined(self) -> None:
        self._pid = self.writer.pid
        self.joins += 1
        limit = round(self._member.lease_s * 1000)
        self.writer.run(f"SET idle_in_transaction_session_timeout = {limit}")
        if self.writer.version >= SILENCE:
            # A convod that hangs keeps its connection: the server must not take it for alive.
            self.writer.run(f"SET idle_session_timeout = {limit}")

    async def listen(self, began: Callable[[], None], heard: Mapping[str, Callable[[str], None]]) -> None:
        """Call what `heard` names for a channel with each note on it, and `began` whenever some may have been missed;
        until cancelled.
        """
        connection = PostgresConnection(self._parameters)
        try:
            while True:
                try:
                    await trio.to_thread.run_sync(connection.open)
                    connection.run("; ".join(f"LISTEN {channel}" for channel in heard))
                    began()
                    while True:
                        await trio.lowlevel.wait_readable(connection.fileno)
                        for channel, text in connection.notes():
                            heard[channel](text)
                except (psycopg.Error, OSError) as error:
                    log.info("notes of other convods are missed: %s", reason_of(error))
                connection.close()
                await trio.sleep(LISTEN_AGAIN_S)
        finally:
            connection.close()

    def close(self) -> None:
        """Close all connections; what was committed is safe."""
        self._long.close()
        for connection in (self._reader, self.writer):
            connection.close()

    async def check(self) -> None:
        """Nothing to look through: the server looks after its files."""

    async def flush(self) -> None:
        """Wait until nothing can undo what was committed so far, by this process or an earlier one.

        Raises:
            StoreFailed: it cannot be written now.
        """

        def work(connection: PostgresConnection) -> None:
            # A commit waits for all before it, if it writes anything.
            connection.execute("INSERT INTO notes VALUES ('flush', '') ON CONFLICT (name) DO UPDATE SET value = ''")

        await self.write(work, durable=True)

    async def size(self) -> int:
        """Bytes that all of it takes."""

        def work(connection: PostgresConnection) -> int:
            sizes = " + ".join(f"pg_total_relation_size('{table}')" for table in TABLES)
            return int((connection.execute(f"SELECT {sizes}").fetchone() or (0,))[0])

        return await self.read(work)

    async def scrub(self, most_s: float) -> None:
        """Rid tables and indexes of what was deleted, for at most that long."""
        if await self.read(chore) is None:
            return
        # First: what is deleted meanwhile is noted anew.
        await self.write(lambda connection: connection.execute("DELETE FROM chores WHERE name = 'scrub'").rowcount)
        done = False
        try:
            with contextlib.suppress(TookTooLong):
                await self.read_long(lambda connection, _: _vacuum(connection), who="\0vacuum", within_s=most_s)
                done = True
        finally:
            if not done:
                with contextlib.suppress(StoreFailed):
                    await self.write(note_chore)

    # --- connections ---------------------------------------------------------------------------------------------

    def _connect(self) -> PostgresConnection:
        # Opened by who uses it. It is for searches: how to look up a word depends on how common that is.
        return PostgresConnection(self._parameters, plans_anew=True)

    def _disconnect(self, connection: PostgresConnection) -> None:
        connection.close()

    def _open(self, connection: PostgresConnection) -> bool:
        """Open a connection unless it is; whether that was necessary.

        Who waits behind one that got no answer is told so at once, and does not wait as long again.
        """
        if connection.lost and self._silent is not None and time.monotonic() < self._silent[0]:
            raise self._silent[1]
        begun = time.monotonic()
        try:
            fresh = connection.open()
        except psycopg.OperationalError as error:
            if (took := time.monotonic() - begun) > SILENT_S:
                self._silent = begun + 2 * took, error
            raise
        self._silent = None
        return fresh

    def _interrupt(self, connection: PostgresConnection) -> None:
        connection.cancel()

    def _read(self, work: Callable[[PostgresConnection], T]) -> T:
        deadline = Deadline(threads.READ_S)
        try:
            return self._reading(self._reader, work, deadline)
        except (errors.QueryCanceled, TookTooLong) as error:
            if not deadline.passed:
                raise
            raise StoreFailed(
                f"{self.name} was not read within {deadline.seconds:g} s; try again, or look at what else it does"
            ) from error

    def _read_long(
        self, connection: PostgresConnection, work: Callable[[PostgresConnection, Deadline], T], deadline: Deadline
    ) -> T:
        try:
            return self._reading(connection, lambda one: work(one, deadline), deadline)
        except errors.QueryCanceled as error:
            if not deadline.passed:
                raise
            raise TookTooLong(deadline.seconds) from error

    def _reading(
        self, connection: PostgresConnection, work: Callable[[PostgresConnection], T], deadline: Deadline
    ) -> T:
        fresh = self._open(connection)
        connection.deadline = deadline
        try:
            return work(connection)
        except psycopg.OperationalError:
            if fresh or not connection.lost:
                raise
            self._open(connection)  # the server was started again since the last read
            return work(connection)
        finally:
            connection.deadline = None

    # --- writes ---------------------------------------------------------------------------------------------------

    def _apply(self, batch: list[Pending[PostgresConnection]]) -> None:
        for last in (False, True):
            fresh = committing = False
            try:
                fresh = self._open_writer()
                self._begin(any(pending.durable for pending in batch))
                if self._work(batch):
                    committing = True
                    self.writer.run("COMMIT")
            except (psycopg.Error, StoreFailed) as error:
                lost = self.writer.lost
                if committing and lost:
                    error = LostAtCommit(reason_of(error))
                elif lost and not fresh and not last:
                    continue  # nothing was committed: the server was started again since the last write
                self._roll_back()
                for pending in batch:
                    pending.error = pending.error or error
            return

    def _open_writer(self) -> bool:
        fresh = self._open(self.writer)
        if fresh:
            try:
                self._join()
            except StoreFailed as error:
                self.trouble = str(error)
                self.writer.close()
                raise
        return fresh

    def _begin(self, durable: bool) -> None:
        self.writer.run(f"BEGIN; SET LOCAL synchronous_commit = {'on' if durable else 'local'}")

    def _work(self, batch: list[Pending[PostgresConnection]]) -> bool:
        """Do each in a savepoint of its own; whether there is anything to commit."""
        connection = self.writer
        for pending in batch:
            pending.error = None
            if len(batch) > 1:
                connection.run("SAVEPOINT one")
            try:
                pending.result = pending.work(connection)
            except Exception as error:  # handed to the task that asked
                if connection.lost:
                    raise
                pending.error = error
                if len(batch) == 1:
                    connection.run("ROLLBACK")
                    return False
                connection.run("ROLLBACK TO one")
            if len(batch) > 1:
                connection.run("RELEASE one")
        return True

    def _roll_back(self) -> None:
        with contextlib.suppress(psycopg.Error):
            if not self.writer.lost and self.writer.in_transaction:
                self.writer.run("ROLLBACK")

    def _apply_bare(self, batch: list[Pending[PostgresConnection]]) -> None:
        raise NotImplementedError  # nothing here is written outside a transaction

    # --- what callers are told ------------------------------------------------------------------------------------

    def unwritten(self, error: Exception) -> Exception:
        """Return what the caller of a write that failed is told."""
        if isinstance(error, psycopg.OperationalError | psycopg.InternalError | errors.InsufficientPrivilege):
            failed = self._failed(error)
            self.trouble = str(failed)
            return failed
        return error

    def _unreadable(self, error: Exception) -> StoreFailed:
        failed = self._failed(error)
        if isinstance(error, psycopg.OperationalError) and is_gone(error):
            self.trouble = str(failed)
        return failed

    def _failed(self, error: Exception) -> StoreFailed:
        return failed(self.name, error)


def _vacuum(connection: PostgresConnection) -> None:
    connection.execute(f"VACUUM {', '.join(TABLES)}")


def _migrate(connection: PostgresConnection, name: str) -> None:
    scripts = migrations("migrations_postgres")
    connection.run("BEGIN; SET LOCAL statement_timeout = 0")  # a large store takes its time, and others wait for it
    try:
        connection.execute("SELECT pg_advisory_xact_lock(?)", (MIGRATING,))  # of convods that start at once, one
        connection.run("CREATE TABLE IF NOT EXISTS versions (version INTEGER NOT NULL)")
        row = connection.execute("SELECT max(version) FROM versions").fetchone()
        have = (row and row[0]) or 0
        if have > len(scripts):
            raise StoreFailed(f"{name} was written by a newer convod (version {have}); start that one")
        if 0 < have < len(scripts):
            log.info("bringing the tables of %s up to date: a large store takes minutes", name)
        for number, script in enumerate(scripts[have:], have + 1):
            connection.run(script)
            connection.execute("INSERT INTO versions VALUES (?)", (number,))
        connection.run("COMMIT")
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            if not connection.lost:
                connection.run("ROLLBACK")
        raise
