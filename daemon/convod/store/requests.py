"""Requests that a client of one convod makes of a session at another one, by way of their PostgreSQL.

In: a request as bytes, and whom to ask. Out: the answer as bytes, and at the other convod what it is asked. A request
is done by one convod, and begun at most once: who begins it marks it, and who takes it back is told of that mark. Notes
make it quick, and nothing is lost with one. It does not know what bytes mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from convod.auto_reset_event import AutoResetEvent
from convod.store.base import Asked, Asking, Holder, Member
from convod.store.sql import Connection, SqlDatabase
from convod.store.tables import THEIRS

CHANNEL: Final = "convo_requests"
"""Where a convod is told that it is asked, or answered."""

LOCKS: Final = 0x636F6E76
"""The class of the advisory locks on epochs."""

ALIVE: Final = (
    f"(SELECT objid::BIGINT FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCKS} AND objsubid = 2 "
    "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
"""SQL: the epochs of convods that are alive."""

KEPT: Final = "10 minutes"
"""How long a request is kept that nobody took back: its client has left long before."""


class SharedRequests:
    """Those of one convod. `database` has its `epoch`."""

    def __init__(self, database: Any, member: Member) -> None:
        self._database: SqlDatabase = database
        self._epochs: Any = database
        self._member = member
        self._asked = AutoResetEvent()
        self._answered: dict[int, AutoResetEvent] = {}

    @property
    def _epoch(self) -> int:
        return int(self._epochs.epoch)

    # --- at the convod that asks ----------------------------------------------------------------------------------

    async def holder(self, session: str, owner: str | None, *, audio: bool = False) -> Holder | None:
        """Return the other convod that works on a session of the owner (anybody's if None); with `audio`, if none does,
        one that has its audio, which is not here. None: this convod may do what is asked.
        """

        def work(connection: Connection) -> Holder | None:
            theirs = connection.execute(f"SELECT 1 FROM sessions WHERE id = ? AND {THEIRS}", (session, owner, owner))
            if theirs.fetchone() is None:
                return None
            found = holder_of(connection, session, self._epoch)
            return self._with_audio(connection, session) if found is None and audio else found

        return await self._database.read(work)

    def _with_audio(self, connection: Connection, session: str) -> Holder | None:
        row = connection.execute(
            f"SELECT daemons.epoch, name, daemons.epoch IN {ALIVE} AS alive, TRUE FROM daemons "
            "JOIN progress ON progress.spool = daemons.spool "
            "WHERE session = ? AND kept_bytes > 0 AND progress.spool NOT IN ('', ?) "
            "ORDER BY alive DESC, daemons.epoch DESC LIMIT 1",
            (session, self._member.spool),
        ).fetchone()
        return None if row is None else Holder(*row)

    async def ask(self, session: str, epoch: int, body: bytes) -> int | None:
        """Make a request of a convod; None if the session was deleted."""

        def work(connection: Connection) -> int | None:
            row = connection.execute(
                "INSERT INTO requests (session, epoch, asker, body) SELECT id, ?, ?, ? FROM sessions WHERE id = ? "
                "RETURNING id",
                (epoch, self._epoch, body, session),
            ).fetchone()
            if row is None:
                return None
            _tell(connection, epoch, row[0])
            return int(row[0])

        return await self._database.write(work)

    @contextmanager
    def answered(self, id: int) -> Iterator[AutoResetEvent]:
        """An event that is set when there may be an answer."""
        event = self._answered[id] = AutoResetEvent()
        try:
            yield event
        finally:
            del self._answered[id]

    async def look(self, id: int) -> Asking | None:
        """Return what became of a request; None if it is gone."""
        sql = f"SELECT taken = 1, answer, epoch IN {ALIVE} FROM requests WHERE id = ?"
        return await self._database.read(lambda connection: _asking(connection.execute(sql, (id,)).fetchone()))

    async def withdraw(self, id: int) -> Asking | None:
        """Take a request back, and return what had become of it; None if it is gone."""
        sql = f"DELETE FROM requests WHERE id = ? RETURNING taken = 1, answer, epoch IN {ALIVE}"
        return await self._database.write(lambda connection: _asking(connection.execute(sql, (id,)).fetchone()))

    # --- at the convod that is asked ------------------------------------------------------------------------------

    async def wait_asked(self) -> None:
        """Wait until this convod may have been asked for something."""
        await self._asked.wait()

    async def take(self, most: int) -> list[Asked]:
        """Take some requests made of this convod, oldest first; each is taken once."""

        def work(connection: Connection) -> list[Asked]:
            rows = connection.execute(
                "UPDATE requests SET taken = 1 WHERE id IN "
                "(SELECT id FROM requests WHERE epoch = ? AND taken = 0 ORDER BY id LIMIT ?) "
                "RETURNING id, session, body",
                (self._epoch, most),
            ).fetchall()
            connection.execute(f"DELETE FROM requests WHERE made < now() - INTERVAL '{KEPT}'")
            return sorted(Asked(*row) for row in rows)

        return await self._database.write(work)

    async def answer(self, id: int, answer: bytes) -> None:
        """Answer a request; empty: it was not done, and belongs elsewhere."""

        def work(connection: Connection) -> None:
            row = connection.execute(
                "UPDATE requests SET answer = ? WHERE id = ? RETURNING asker", (answer, id)
            ).fetchone()
            if row is not None:
                _tell(connection, row[0], id)

        await self._database.write(work)

    # --- notes ----------------------------------------------------------------------------------------------------

    def told(self, text: str) -> None:
        """Take a note: whom it is for, and the number of a request."""
        epoch, id = map(int, text.split(" "))
        if epoch == self._epoch:
            self._answered.get(id, self._asked).set()

    def wake_all(self) -> None:
        """Have everybody look: notes may have been missed."""
        for event in (self._asked, *self._answered.values()):
            event.set()


def holder_of(connection: Connection, session: str, but: int) -> Holder | None:
    """Return the convod that a session is leased to; None if that is nobody, or the one with the epoch `but`."""
    row = connection.execute(
        f"SELECT progress.epoch, coalesce(name, ''), progress.epoch IN {ALIVE} FROM progress "
        "LEFT JOIN daemons ON daemons.epoch = progress.epoch WHERE session = ? AND progress.epoch NOT IN (0, ?)",
        (session, but),
    ).fetchone()
    return None if row is None else Holder(*row)


def _asking(row: Any) -> Asking | None:
    return None if row is None else Asking(*row)


def _tell(connection: Connection, epoch: int, id: int) -> None:
    connection.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"{epoch} {id}")).fetchone()
