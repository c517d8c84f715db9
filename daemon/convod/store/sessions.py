"""Sessions and their events in SQLite: what `base.Store` promises.

In and out: structs. One call that changes a session is one transaction: its events, its counters and the search
index move together. It never sends anything to anybody.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from convo.messages import (
    DURABLE,
    Bookmark,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Hit,
    Mark,
    Segment,
    SessionInfo,
    State,
    StoredSummary,
    Summary,
    SummaryEvent,
    SummaryOptions,
    TranscriptSegment,
    encode,
    from_map,
)
from convod.store import search
from convod.store.base import Record, StoreFailed
from convod.store.database import Database

log = logging.getLogger("convod.store")

TIDY_S: Final = 2.0
"""How long who deletes something waits for the index to be rid of it; the rest is done at leisure."""


class SessionStore:
    """Sessions in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: Record, *, lasting: bool = False) -> Record:
        """Store a new session; if its owner has one with the same key, that one is returned instead."""

        def work(connection: sqlite3.Connection) -> Record:
            if record.key is not None and (there := _keyed(connection, record.owner, record.key)) is not None:
                return there
            columns = _columns(record)
            connection.execute(
                f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            )
            return record

        return await self._database.write(work, lasting=lasting)

    async def save(self, record: Record, events: Sequence[DurableEvent] = (), *, lasting: bool = False) -> None:
        """Store a session's changed fields together with new events; their `seq` are the next ones."""
        columns = _columns(record)
        columns["seq"] = events[-1].seq if events else record.seq

        def work(connection: sqlite3.Connection) -> None:
            sets = ", ".join(f"{name} = ?" for name in columns)
            connection.execute(f"UPDATE sessions SET {sets} WHERE id = ?", (*columns.values(), record.id))
            for event in events:
                segment = event.segment if isinstance(event, TranscriptSegment) else None
                connection.execute(
                    "INSERT INTO events (session, seq, type, segment, body) VALUES (?, ?, ?, ?, ?)",
                    (record.id, event.seq, event.__struct_config__.tag, segment, encode(event)),
                )
                if isinstance(event, TranscriptSegment):
                    search.add(connection, record.id, "segment", event.segment, event.start, event.end, event.text)
                elif isinstance(event, FinalSummary):
                    search.remove(connection, record.id, "summary")
                    text = search.summary_text(event)
                    search.add(connection, record.id, "summary", 0, 0.0, record.duration_s, text)

        await self._database.write(work, lasting=lasting)

    async def delete(self, session: str) -> None:
        """Forget a session, its events and its words."""

        def work(connection: sqlite3.Connection) -> None:
            search.remove(connection, session)
            connection.execute("DELETE FROM sessions WHERE id = ?", (session,))

        await self._database.write(work, lasting=True)
        await self.tidy(TIDY_S)

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was stored so far, by this process or an earlier one."""
        await self._database.flush()

    async def tidy(self, most_s: float = float("inf")) -> None:
        """Rid the index and the log of what was deleted, for at most that long."""

        def due(connection: sqlite3.Connection) -> bool:
            return connection.execute("SELECT 1 FROM chores WHERE name = 'scrub'").fetchone() is not None

        if await self._database.read(due):
            until = time.monotonic() + most_s
            done = await self._database.write(lambda connection: search.scrub(connection, begin=True))
            while not done and time.monotonic() < until:
                done = await self._database.write(lambda connection: search.scrub(connection, begin=False))
        await self._database.checkpoint()

    async def get(self, session: str) -> Record | None:
        """A session, None if there is none of that id."""

        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute("SELECT * FROM sessions WHERE id = ?", (session,)).fetchone()
            return None if row is None else _record(row)

        return await self._database.read(work)

    async def keyed(self, owner: str, key: str) -> Record | None:
        """The owner's session with that key, None if there is none."""
        return await self._database.read(lambda connection: _keyed(connection, owner, key))

    async def unfinished(self) -> list[Record]:
        """Sessions that are in no final state, oldest first."""
        return await self._oldest_first("state NOT IN ('completed', 'failed', 'cancelled')")

    async def asked(self) -> list[Record]:
        """Sessions of which a summary was asked for that is not written yet, oldest first."""
        return await self._oldest_first("asked <> '[]'")

    async def _oldest_first(self, where: str) -> list[Record]:
        def work(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(f"SELECT * FROM sessions WHERE {where} ORDER BY created")
            return list(_records(rows))

        return await self._database.read(work)

    async def finished(self, *, before: float | None = None, limit: int = 100) -> list[Record]:
        """Sessions in a final state, created before that time, oldest first."""

        def work(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(
                "SELECT * FROM sessions WHERE state IN ('completed', 'failed', 'cancelled') AND created < ? "
                "ORDER BY created LIMIT ?",
                (float("inf") if before is None else before, limit),
            )
            return list(_records(rows))

        return await self._database.read(work)

    async def newest(
        self,
        owner: str | None,
        *,
        state: State | None = None,
        kind: str | None = None,
        before: float | None = None,
        prefix: str | None = None,
        limit: int = 100,
    ) -> list[SessionInfo]:
        """An owner's sessions, newest first; everybody's if that is None."""
        wanted: list[tuple[str, Any]] = [] if owner is None else [("owner = ?", owner)]
        if state is not None:
            wanted.append(("state = ?", str(state)))
        if kind is not None:
            wanted.append(("kind = ?", kind))
        if before is not None:
            wanted.append(("created < ?", before))
        if prefix:
            wanted.append(("substr(id, 1, length(?)) = ?", prefix))
        where = " AND ".join(clause for clause, _ in wanted) or "TRUE"
        values = [value for clause, value in wanted for _ in range(clause.count("?"))]

        def work(connection: sqlite3.Connection) -> list[SessionInfo]:
            rows = connection.execute(
                f"SELECT * FROM sessions WHERE {where} ORDER BY created DESC, id LIMIT ?", (*values, limit)
            )
            return [record.info for record in _records(rows)]

        return await self._database.read(work)

    async def events(self, session: str, after: int, limit: int) -> list[DurableEvent]:
        """Stored events with `seq` above `after`, oldest first."""

        def work(connection: sqlite3.Connection) -> list[DurableEvent]:
            rows = connection.execute(
                "SELECT type, body FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?",
                (session, after, limit),
            )
            return [_event(row) for row in rows]

        return await self._database.read(work)

    async def segments(self, session: str, after: int = -1, limit: int = 1 << 30) -> list[Segment]:
        """Transcript segments numbered above `after`, in order."""

        def work(connection: sqlite3.Connection) -> list[Segment]:
            rows = connection.execute(
                "SELECT type, body FROM events WHERE session = ? AND segment > ? ORDER BY segment LIMIT ?",
                (session, after, limit),
            )
            return [segment_of(event) for row in rows if isinstance(event := _event(row), TranscriptSegment)]

        return await self._database.read(work)

    async def summary(self, session: str) -> Summary | None:
        """The newest final summary, None before there is one."""
        newest = await self.summaries(session)
        return newest[0].summary if newest else None

    async def summaries(
        self, session: str, kind: type[SummaryEvent] = FinalSummary, *, before: int | None = None, limit: int = 1
    ) -> list[StoredSummary]:
        """Summaries of one kind, newest first, those with `seq` below `before`."""

        def work(connection: sqlite3.Connection) -> list[StoredSummary]:
            rows = connection.execute(
                "SELECT type, body FROM events WHERE session = ? AND type = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
                (session, kind.__struct_config__.tag, before if before is not None else 1 << 62, limit),
            )
            events = [_event(row) for row in rows]
            return [StoredSummary(seq=event.seq, summary=summary_of(event)) for event in events]

        return await self._database.read(work)

    async def marks(self, session: str) -> list[Bookmark]:
        """What was marked in a session, in the order of the times."""

        def work(connection: sqlite3.Connection) -> list[Bookmark]:
            rows = connection.execute(
                "SELECT type, body FROM events WHERE session = ? AND type = 'mark' ORDER BY seq", (session,)
            )
            found = [event for row in rows if isinstance(event := _event(row), Mark)]
            return [Bookmark(time=mark.time, text=mark.text) for mark in sorted(found, key=lambda mark: mark.time)]

        return await self._database.read(work)

    async def search(self, owner: str | None, query: str, limit: int, *, summaries: bool = False) -> list[Hit]:
        """What the owner's sessions (everybody's if None) and, if wanted, their summaries say with these words.

        Best first.
        """
        return await self._database.read(
            lambda connection: search.find(connection, owner, query, limit, summaries=summaries)
        )

    async def paused(self) -> set[str]:
        """Owners whose files are not worked on."""
        return await self._database.read(
            lambda connection: {owner for (owner,) in connection.execute("SELECT owner FROM paused")}
        )

    async def pause(self, owner: str, paused: bool) -> None:
        """Remember whether an owner's files are worked on."""
        change = "INSERT OR IGNORE INTO paused VALUES (?)" if paused else "DELETE FROM paused WHERE owner = ?"
        await self._database.write(lambda connection: connection.execute(change, (owner,)).fetchall())

    async def note(self, name: str) -> str | None:
        """What was noted under a name, None if nothing was."""

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])

        return await self._database.read(work)

    async def set_note(self, name: str, value: str) -> None:
        """Note something, in place of what was noted under that name before."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

        await self._database.write(work)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written, as far as is known."""
        return self._database.trouble

    async def probe(self) -> None:
        """Find out whether something can be written again, and note it."""
        with contextlib.suppress(StoreFailed):
            await self.set_note("probe", secrets.token_hex(8))

    async def size(self) -> int:
        """Bytes that all of it takes, without what could be used again."""

        def work(connection: sqlite3.Connection) -> int:
            page, count, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
            return int(page * (count - free))

        return await self._database.read(work)

    async def backup(self, path: Path) -> None:
        """Write a consistent copy, whole or not at all, while others read and write."""
        await self._database.backup(path)


def segment_of(event: TranscriptSegment) -> Segment:
    """The segment that an event carries."""
    return Segment(**{name: getattr(event, name) for name in Segment.__struct_fields__})


def summary_of(event: DurableEvent) -> Summary:
    """The summary that an event carries."""
    assert isinstance(event, SummaryEvent)
    return Summary(**{name: getattr(event, name) for name in Summary.__struct_fields__})


def _keyed(connection: sqlite3.Connection, owner: str, key: str) -> Record | None:
    row = connection.execute("SELECT * FROM sessions WHERE owner = ? AND key = ?", (owner, key)).fetchone()
    return None if row is None else _record(row)


def _columns(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    fields["config"] = msgspec.json.encode(record.config).decode()
    fields["asked"] = msgspec.json.encode(record.asked).decode()
    fields["state"] = str(record.state)
    fields["ended"] = int(record.ended)
    return fields


def _record(row: sqlite3.Row) -> Record:
    fields = dict(zip(row.keys(), tuple(row), strict=True))
    try:
        fields["config"] = msgspec.json.decode(fields["config"], type=CreateSession)
        fields["asked"] = msgspec.json.decode(fields["asked"], type=list[SummaryOptions])
        fields["state"] = State(fields["state"])
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(
            f"session {fields['id']!r} in the database is damaged ({error}); restore a backup, or delete the session"
        ) from error
    fields["ended"] = bool(fields["ended"])
    return Record(**fields)


def _records(rows: Iterable[sqlite3.Row]) -> Iterator[Record]:
    """The sessions that can be read; one that cannot does not hide the others."""
    for row in rows:
        try:
            yield _record(row)
        except StoreFailed as error:
            log.error("a session is left out: %s", error)


def _event(row: sqlite3.Row) -> DurableEvent:
    try:
        event = from_map(msgspec.msgpack.decode(row["body"]), DURABLE[row["type"]])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(f"an event in the database is damaged ({error}); restore a backup") from error
    assert isinstance(event, DurableEvent)
    return event
