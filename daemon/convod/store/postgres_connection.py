"""A connection to PostgreSQL: its address, what it runs, and what its errors mean.

In: addresses and SQL with the placeholders of SQLite. Out: rows, and one sentence for each error, with what to do. No
error or log line names a password.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, LiteralString

import psycopg
from psycopg import conninfo, pq

from convod.store import threads
from convod.store.base import InDoubt, StoreAway, StoreFailed
from convod.store.readers import Deadline
from convod.store.sql import without_nul

DEFAULTS: Final = {
    "application_name": "convod",
    # A server that does not answer is noticed by then; the system's own limits are some minutes.
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}
"""Parameters of connections, unless the address says otherwise."""

BEGINNING: Final = (
    "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET jit = off; SET bytea_output = 'hex'; "
    # A text may be anywhere on the disk, which is none that turns.
    "SET random_page_cost = 1.1; SET work_mem = '32MB'; "
    "SET statement_timeout = {timeout}; SET idle_in_transaction_session_timeout = 60000; "
    # The server, too, must notice a machine that is gone: it holds locks for it.
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)

GONE: Final = ("08", "57P")
"""SQLSTATEs, by how they begin, of a server that is stopping, starting or gone."""

TO_DO: Final = {
    "28": "look at the user and the password in its address, and at the server's pg_hba.conf",
    "3D": "create it (`createdb --encoding UTF8 NAME`), or name another in store.url",
    "53100": "make room on its disk",
    "53300": "raise its max_connections, or end others",
    "53": "look at the server's memory and disk",
    "25006": "store.url must name a server that takes writes, not a standby",
    "42501": "make the user the database's owner, or GRANT it what it may not do",
    "58": "look at the server's disk",
    "XX001": "the database is damaged: restore a backup",
    "XX002": "an index of the database is damaged: run `reindexdb`",
    "57014": "try again, or look at what else the server does",
    "55P03": "try again, or look at what else the server does",
}
"""What to do, by how the SQLSTATE begins; the longest that fits counts."""


REFUSED: Final = {
    "authentication": "28",
    "pg_hba.conf": "28",
    "no password supplied": "28",
    "role ": "28",
    "database ": "3D",
    "connection slots": "53300",
    "too many clients": "53300",
}
"""What a server says to who connects, where libpq passes on its words alone, and the SQLSTATE of it."""


class LostAtCommit(psycopg.OperationalError):
    """A commit got no answer."""


class Raw(psycopg.Connection[tuple[Any, ...]]):
    """A connection as psycopg has it."""


class PostgresConnection:
    """A connection that can be opened again; `execute` takes what SQLite's does."""

    def __init__(self, parameters: dict[str, Any], *, timeout_s: float | None = None, plans_anew: bool = False) -> None:
        self._parameters = parameters
        self._plans_anew = plans_anew  # else a statement that comes often is planned for any values
        self._timeout_s = timeout_s
        self.raw: Raw | None = None
        self._timeout_ms: int | None = None
        self.deadline: Deadline | None = None
        """Until when statements may run, where that is known."""

    @property
    def lost(self) -> bool:
        """Whether it is closed, by whomever."""
        return self.raw is None or self.raw.closed or self.raw.broken

    def open(self) -> bool:
        """Open it unless it is; whether that was necessary.

        Raises:
            psycopg.Error: it cannot be opened.
        """
        if not self.lost:
            return False
        self.close()
        self.raw = Raw.connect(**self._parameters, autocommit=True)
        try:
            self._timeout_ms = None
            seconds = threads.READ_S if self._timeout_s is None else self._timeout_s
            self.run(BEGINNING.format(timeout=round(seconds * 1000)))
            if self._plans_anew:
                self.run("SET plan_cache_mode = force_custom_plan")
        except BaseException:
            self.close()
            raise
        return True

    def close(self) -> None:
        """Close it; it can be opened again."""
        if self.raw is not None:
            self.raw.close()
        self.raw = None

    def cancel(self) -> None:
        """End the statement that runs in another thread."""
        raw = self.raw
        if raw is not None:
            with contextlib.suppress(psycopg.Error):
                raw.cancel_safe(timeout=2)

    def run(self, sql: str) -> None:
        """Run statements without values."""
        assert self.raw is not None
        self.raw.execute(sql)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement, for as long as there is time."""
        assert self.raw is not None
        if self.deadline is not None:
            self.deadline.check()
            self._limit(self.deadline.left)
        return self.raw.execute(_translated(sql), [without_nul(value) for value in values])

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row."""
        assert self.raw is not None
        with self.raw.cursor() as cursor:
            cursor.executemany(_translated(sql), [[without_nul(value) for value in row] for row in rows])

    def copy(self, table: str, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows at once."""
        assert self.raw is not None
        names = ", ".join(f'"{column}"' for column in columns)
        with self.raw.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as into:
            for row in rows:
                into.write_row([without_nul(value) for value in row])

    def _limit(self, seconds: float) -> None:
        wanted = 0 if seconds == math.inf else max(1, math.ceil(seconds * 1000))
        if wanted != self._timeout_ms:
            self.run(f"SET statement_timeout = {wanted}")
            self._timeout_ms = wanted

    @property
    def fileno(self) -> int:
        """Its socket."""
        assert self.raw is not None
        return self.raw.fileno()

    def notes(self) -> Iterator[tuple[str, str]]:
        """What was notified and has arrived, each with its channel; call it once the socket can be read.

        Raises:
            psycopg.Error: it is lost.
        """
        assert self.raw is not None
        self.raw.pgconn.consume_input()
        while (note := self.raw.pgconn.notifies()) is not None:
            yield note.relname.decode(errors="replace"), note.extra.decode(errors="replace")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, be it one that failed."""
        return self.raw is not None and self.raw.info.transaction_status in (
            pq.TransactionStatus.INTRANS,
            pq.TransactionStatus.INERROR,
        )

    @property
    def pid(self) -> int:
        """The server's process for it."""
        assert self.raw is not None
        return self.raw.info.backend_pid

    @property
    def version(self) -> int:
        """The server's, such as 150004."""
        assert self.raw is not None
        return self.raw.info.server_version


@lru_cache(256)
def _translated(sql: str) -> LiteralString:
    return sql.replace("%", "%%").replace("?", "%s")


def failed(name: str, error: Exception) -> StoreFailed:
    """What an error of the database of this name means, in one sentence with what to do."""
    if isinstance(error, psycopg.OperationalError) and is_gone(error):
        kind = InDoubt if isinstance(error, LostAtCommit) else StoreAway
        return kind(f"{name} cannot be reached ({reason_of(error)}); start it, or look at the network")
    state = getattr(error, "sqlstate", None) or next(
        (state for text, state in REFUSED.items() if text in str(error)), ""
    )
    fits = [begin for begin in TO_DO if state.startswith(begin)]
    todo = TO_DO[max(fits, key=len)] if fits else "look into its log"
    return StoreFailed(f"{name} cannot be used ({reason_of(error)}); {todo}")


def is_gone(error: psycopg.OperationalError) -> bool:
    """Whether the server is not there, or not yet, or not any more."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith(GONE)
    return not any(text in str(error) for text in REFUSED)


def reason_of(error: Exception) -> str:
    """An error in one line: the server's own words, or libpq's last ones."""
    diagnosis = getattr(error, "diag", None)
    text = (diagnosis and diagnosis.message_primary) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    *_, line = [one for one in lines if not one.startswith(("Is the server", "Multiple connection"))] or [""]
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".") or type(error).__name__


def parameters_of(address: str) -> dict[str, Any]:
    """Parameters of connections to an address.

    Raises:
        StoreFailed: it is no address of PostgreSQL; the text does not repeat it, as a password may stand in it.
    """
    try:
        given = conninfo.conninfo_to_dict(address)
    except psycopg.Error:
        raise StoreFailed(BAD_ADDRESS) from None  # its text quotes what it does not understand
    # A password with a sign that has a meaning ends up in the host, the port or the name, which errors show.
    odd = any(sign in str(given.get(part, "")) for part, signs in ODD.items() for sign in signs)
    if odd or not re.fullmatch("[0-9,]*", str(given.get("port", ""))):
        raise StoreFailed(BAD_ADDRESS)
    return {**DEFAULTS, **given}


ODD: Final = {"host": "@?#", "dbname": "@/?#:"}
"""Signs that no part of an address has, but for a mistake."""


BAD_ADDRESS: Final = (
    "store.url is no address that PostgreSQL's client understands: expected postgresql://USER@HOST:PORT/DATABASE, "
    "with %40 for @ and %2F for / within a part"
)


def name_of(parameters: dict[str, Any]) -> str:
    """What errors call a database: where it is, and nothing of who comes with which password."""
    host = parameters.get("host") or parameters.get("hostaddr") or parameters.get("service") or "the default host"
    port = f":{parameters['port']}" if "port" in parameters else ""
    database = parameters.get("dbname") or parameters.get("user") or ""
    return f"the PostgreSQL database {database + ' ' if database else ''}at {host}{port}"
