"""Leases of sessions, where several convods work with one PostgreSQL database.

In: a session, or what another convod did. Out: who may write which session, and what is left of convods that stopped.
A convod has a new epoch at each start, and an advisory lock on it for as long as its connection lives: the lock shows
that it is alive. Each write of a session names the writer's epoch and fails once another convod has taken the session
over, so that one which was thought dead does no harm when it wakes up. It decides nothing: `sessions.takeover` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from convod.store.base import Delivery, Held, LeaseLost, Member, Note, Record
from convod.store.requests import ALIVE, SharedRequests, holder_of
from convod.store.requests import CHANNEL as REQUESTS
from convod.store.sql import Connection, SqlDatabase
from convod.store.tables import FINAL, RECORDS, record_of

CHANNEL: Final = "convo"
"""Where convods tell each other what they have changed."""

SAFE: Final = 0.8
"""The part of a lease in which its holder relies on it: clocks differ, and a beat takes time."""


class Listening(Protocol):
    """A database that passes on notes."""

    epoch: int
    joins: int

    async def listen(self, began: Callable[[], None], heard: Mapping[str, Callable[[str], None]]) -> None:
        """Call what `heard` names for a channel with each note on it, and `began` whenever some may have been missed;
        until cancelled.
        """


class SharedLeases:
    """Those of one convod."""

    def __init__(self, database: Any, member: Member) -> None:
        self._database: SqlDatabase = database
        self._listening: Listening = database
        self.member = member
        self.requests = SharedRequests(database, member)
        self._renewed = _now()

    @property
    def epoch(self) -> int:
        """This convod's."""
        return self._listening.epoch

    @property
    def joins(self) -> int:
        """How often this convod has connected."""
        return self._listening.joins

    @property
    def valid(self) -> bool:
        """Whether no other convod can have taken this one for dead."""
        return _now() < self._renewed + self.member.lease_s * SAFE

    async def beat(self) -> Callable[[], None]:
        """Show that this convod is alive: a connection that is silent for longer than a lease is closed.

        Call what is returned once the sessions that were lost meanwhile are stopped: the leases of the others hold.
        """
        begun = _now()
        await self._database.write(lambda connection: connection.execute("SELECT 1").fetchone())

        def renew() -> None:
            self._renewed = begun

        return renew

    # --- one session ----------------------------------------------------------------------------------------------

    async def lease(self, session: str) -> Record | None:
        """Let this convod write a session; return it as it is stored, None if there is no such session.

        One that is over, and of which no summary is being written, may be written by any convod in turn.

        Raises:
            LeaseLost: another convod works on it.
        """

        def work(connection: Connection) -> Record | None:
            changed = connection.execute(
                "UPDATE progress SET epoch = ? WHERE session = ? AND (epoch IN (0, ?) OR EXISTS "
                f"(SELECT FROM sessions WHERE id = session AND {FINAL} AND asked = '[]'))",
                (self.epoch, session, self.epoch),
            ).rowcount
            record = _get(connection, session)
            if record is not None and not changed:
                raise self.lost(connection, session)
            return record

        return await self._database.write(work)

    def lost(self, connection: Connection, session: str) -> LeaseLost:
        """Return the error for who wrote a session that this convod does not hold."""
        holder = holder_of(connection, session, self.epoch)
        if holder is None:
            return LeaseLost("another convod has changed this session meanwhile, or deleted it; try again")
        return LeaseLost(holder.sentence)

    async def take_over(self, held: Held) -> Record | None:
        """Lease a session from a convod that is dead; None if it came back, or another one was first."""

        def work(connection: Connection) -> Record | None:
            changed = connection.execute(
                "UPDATE progress SET epoch = ?, spool = CASE WHEN spool = '' THEN ? ELSE spool END "
                f"WHERE session = ? AND epoch = ? AND epoch NOT IN {ALIVE}",
                (self.epoch, held.spool, held.session, held.epoch),
            ).rowcount
            return _get(connection, held.session) if changed else None

        return await self._database.write(work)

    # --- all of them ----------------------------------------------------------------------------------------------

    async def of_others(self) -> list[Held]:
        """Return sessions that others hold, or nobody, and on which there is something to do."""

        def work(connection: Connection) -> list[Held]:
            rows = connection.execute(
                f"WITH due AS (SELECT id, state, {FINAL} AS final FROM sessions WHERE NOT {FINAL} "
                f"UNION SELECT id, state, {FINAL} FROM sessions WHERE asked <> '[]') "
                f"SELECT id, progress.epoch, progress.spool, coalesce(home, ''), progress.epoch IN {ALIVE}, final, "
                "state = 'transcribed' FROM due JOIN progress ON session = id "
                "LEFT JOIN daemons ON daemons.epoch = progress.epoch WHERE progress.epoch <> ? ORDER BY id",
                (self.epoch,),
            )
            return [Held(*row) for row in rows]

        return await self._database.read(work)

    async def positions(self, sessions: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return the newest event of each session that is stored, and the epoch that it is leased to."""
        ids = list(sessions)

        def work(connection: Connection) -> dict[str, tuple[int, int]]:
            rows = connection.execute("SELECT session, seq, epoch FROM progress WHERE session = ANY(?)", (ids,))
            return {session: (seq, epoch) for session, seq, epoch in rows}

        return await self._database.read(work) if ids else {}

    # --- hooks ----------------------------------------------------------------------------------------------------

    async def left_deliveries(self) -> list[Delivery]:
        """Return what hooks of convods that are dead have not told."""

        def work(connection: Connection) -> list[Delivery]:
            rows = connection.execute(
                "SELECT session, seq, since, deliveries.epoch, coalesce(home = ?, FALSE) FROM deliveries "
                "LEFT JOIN daemons ON daemons.epoch = deliveries.epoch "
                f"WHERE deliveries.epoch <> ? AND deliveries.epoch NOT IN {ALIVE} ORDER BY since",
                (self.member.home, self.epoch),
            )
            return [Delivery(*row) for row in rows]

        return await self._database.read(work)

    async def take_delivery(self, delivery: Delivery) -> bool:
        """Have hooks of this convod tell it; False if its convod came back, or another one was first."""
        sql = (
            "UPDATE deliveries SET epoch = ? WHERE session = ? AND seq = ? AND epoch = ? "
            f"AND epoch NOT IN {ALIVE}"
        )  # fmt: skip
        values = (self.epoch, delivery.session, delivery.seq, delivery.epoch)
        return await self._database.write(lambda connection: connection.execute(sql, values).rowcount > 0)

    # --- audio ----------------------------------------------------------------------------------------------------

    async def kept(self) -> dict[str, int]:
        """Sessions whose audio is noted in this convod's folder, or in none, and its bytes; none that others hold."""

        def work(connection: Connection) -> dict[str, int]:
            rows = connection.execute(
                "SELECT session, kept_bytes FROM progress WHERE kept_bytes > 0 AND spool IN (?, '') "
                "AND epoch IN (0, ?)", (self.member.spool, self.epoch),
            )  # fmt: skip
            return dict(map(tuple, rows))

        return await self._database.read(work)

    async def removed(self) -> list[str]:
        """Return sessions that were deleted and whose audio is in this convod's folder."""

        def work(connection: Connection) -> list[str]:
            rows = connection.execute("SELECT session FROM removed WHERE spool = ?", (self.member.spool,))
            return [session for (session,) in rows]

        return await self._database.read(work)

    async def forget_removed(self, session: str) -> None:
        """Note that the audio of a deleted session is gone."""
        sql = "DELETE FROM removed WHERE spool = ? AND session = ?"
        await self._database.write(lambda connection: connection.execute(sql, (self.member.spool, session)).rowcount)

    # --- what convods tell each other -----------------------------------------------------------------------------

    async def listen(self, began: Callable[[], None], heard: Callable[[Note], None]) -> None:
        """Call `heard` with what other convods change, and `began` whenever that may be incomplete; until cancelled."""

        def parse(text: str) -> None:
            epoch, session, seq = text.split(" ")
            if int(epoch) != self.epoch:
                heard(Note(session, int(seq)))

        def all_may_be_missed() -> None:
            began()
            self.requests.wake_all()

        await self._listening.listen(all_may_be_missed, {CHANNEL: parse, REQUESTS: self.requests.told})

    def tell(self, connection: Connection, session: str = "", seq: int = 0) -> None:
        """Tell other convods of a change, if it is committed."""
        connection.execute("SELECT pg_notify(?, ?)", (CHANNEL, f"{self.epoch} {session} {seq}")).fetchone()

    def note_removed(self, connection: Connection, session: str) -> None:
        """Note that a session is deleted whose audio is in another folder."""
        connection.execute(
            "INSERT INTO removed SELECT session, spool FROM progress WHERE session = ? AND spool NOT IN (?, '') "
            "ON CONFLICT DO NOTHING", (session, self.member.spool),
        )  # fmt: skip


def _get(connection: Connection, session: str) -> Record | None:
    row = connection.execute(f"{RECORDS} WHERE id = ?", (session,)).fetchone()
    return None if row is None else record_of(row)


def _now() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
