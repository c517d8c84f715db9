"""Sessions, their events and the search over them: the typed interface that the rest of the daemon sees.

In and out: structs. One call that changes a session is one transaction: its events, its counters and the search
index move together. It never sends anything to anybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from convo.messages import (
    DURABLE,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Hit,
    Segment,
    SessionInfo,
    State,
    StoredSummary,
    Summary,
    SummaryEvent,
    TranscriptSegment,
    encode,
    from_map,
)
from convod.store.database import Database, StoreFailed


class Record(msgspec.Struct, kw_only=True):
    """A session as it is stored. `mark_sample` and `mark_utterance`: what lies before them is accounted for."""

    id: str
    owner: str
    kind: Literal["live", "file"]
    title: str
    state: State
    created: float
    config: CreateSession
    key: str | None = None
    duration_s: float = 0.0
    ended: bool = False
    audio_bytes: int = 0
    seq: int = 0
    segments: int = 0
    mark_sample: int = 0
    mark_utterance: int = 0

    @property
    def info(self) -> SessionInfo:
        """The session as a list shows it."""
        return SessionInfo(
            session=self.id,
            kind=self.kind,
            title=self.title,
            state=self.state,
            created=self.created,
            duration_s=round(self.duration_s, 3),
        )


class SessionStore:
    """Sessions in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: Record) -> Record:
        """Store a new session; if its owner has one with the same key, that one is returned instead."""

        def work(connection: sqlite3.Connection) -> Record:
            if record.key is not None:
                row = connection.execute(
                    "SELECT * FROM sessions WHERE owner = ? AND key = ?", (record.owner, record.key)
                ).fetchone()
                if row is not None:
                    return _record(row)
            columns = _columns(record)
            connection.execute(
                f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            )
            return record

        return await self._database.write(work)

    async def save(self, record: Record, events: Sequence[DurableEvent] = ()) -> None:
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
                    connection.execute(
                        'INSERT INTO said (text, session, segment, start, "end") VALUES (?, ?, ?, ?, ?)',
                        (event.text, record.id, event.segment, event.start, event.end),
                    )

        await self._database.write(work)

    async def delete(self, session: str) -> None:
        """Forget a session, its events and its words."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM said WHERE session = ?", (session,))
            connection.execute("DELETE FROM sessions WHERE id = ?", (session,))

        await self._database.write(work)

    async def get(self, session: str) -> Record | None:
        """A session, None if there is none of that id."""

        def work(connection: sqlite3.Connection) -> Record | None:
            row = connection.execute("SELECT * FROM sessions WHERE id = ?", (session,)).fetchone()
            return None if row is None else _record(row)

        return await self._database.read(work)

    async def unfinished(self) -> list[Record]:
        """Sessions that are in no final state, oldest first."""

        def work(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(
                "SELECT * FROM sessions WHERE state NOT IN ('completed', 'failed', 'cancelled') ORDER BY created"
            )
            return [_record(row) for row in rows]

        return await self._database.read(work)

    async def newest(
        self,
        owner: str | None,
        *,
        state: State | None = None,
        kind: str | None = None,
        before: float | None = None,
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
        where = " AND ".join(clause for clause, _ in wanted) or "TRUE"
        values = [value for _, value in wanted]

        def work(connection: sqlite3.Connection) -> list[SessionInfo]:
            rows = connection.execute(
                f"SELECT * FROM sessions WHERE {where} ORDER BY created DESC, id LIMIT ?", (*values, limit)
            )
            return [_record(row).info for row in rows]

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

    async def search(self, owner: str | None, query: str, limit: int) -> list[Hit]:
        """Segments of the owner's sessions (everybody's if None) that hold the query's words, best first."""
        words = query.replace("\0", " ").split()  # SQLite takes a NUL for the end of a text

        def work(connection: sqlite3.Connection) -> list[Hit]:
            # Trigrams cannot find a word of one or two characters, of which wide scripts have many.
            short = [word for word in words if len(word) < 3]
            long = [word for word in words if len(word) >= 3]
            clauses = [] if owner is None else ["sessions.owner = ?"]
            values: list[Any] = [] if owner is None else [owner]
            if long:
                clauses.append("said MATCH ?")
                values.append(" AND ".join('"' + word.replace('"', '""') + '"' for word in long))
            for word in short:
                clauses.append("instr(lower(said.text), lower(?)) > 0")
                values.append(word)
            order = "rank" if long else "sessions.created DESC, said.segment"
            rows = connection.execute(
                'SELECT said.session, said.segment, said.start, said."end", said.text '
                "FROM said JOIN sessions ON sessions.id = said.session "
                f"WHERE {' AND '.join(clauses)} ORDER BY {order} LIMIT ?",
                (*values, limit),
            )
            return [Hit(session=row[0], segment=row[1], start=row[2], end=row[3], text=row[4]) for row in rows]

        return await self._database.read(work) if words else []


def segment_of(event: TranscriptSegment) -> Segment:
    """The segment that an event carries."""
    return Segment(**{name: getattr(event, name) for name in Segment.__struct_fields__})


def summary_of(event: DurableEvent) -> Summary:
    """The summary that an event carries."""
    assert isinstance(event, SummaryEvent)
    return Summary(**{name: getattr(event, name) for name in Summary.__struct_fields__})


def _columns(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    fields["config"] = msgspec.json.encode(record.config).decode()
    fields["state"] = str(record.state)
    fields["ended"] = int(record.ended)
    return fields


def _record(row: sqlite3.Row) -> Record:
    fields = dict(zip(row.keys(), tuple(row), strict=True))
    try:
        fields["config"] = msgspec.json.decode(fields["config"], type=CreateSession)
        fields["state"] = State(fields["state"])
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(
            f"session {fields['id']!r} in the database is damaged ({error}); restore a backup, or delete the session"
        ) from error
    fields["ended"] = bool(fields["ended"])
    return Record(**fields)


def _event(row: sqlite3.Row) -> DurableEvent:
    try:
        event = from_map(msgspec.msgpack.decode(row["body"]), DURABLE[row["type"]])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(f"an event in the database is damaged ({error}); restore a backup") from error
    assert isinstance(event, DurableEvent)
    return event
