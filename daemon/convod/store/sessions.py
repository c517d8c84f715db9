"""Sessions and their events in an SQL database: what `base.Store` promises.

In and out: structs. One call that changes a session is one transaction: its events, its counters and the search
index move together. It never sends anything to anybody.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    Bookmark,
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
    TranscriptSegment,
    encode,
)
from convod.store import search, tables
from convod.store.annotations import annotate, said_by, speakers
from convod.store.base import (
    AlreadyStored,
    Delivery,
    E,
    Failure,
    Record,
    SpeakerNames,
    StoredVoice,
    StoreFailed,
    TooMany,
)  # fmt: skip
from convod.store.readers import Deadline
from convod.store.sql import Connection, SqlDatabase, note_chore
from convod.store.usage import Usage

log = logging.getLogger("convod.store")

PAGE: Final = 1000
"""Segments or marks that are read at a time: other reads come in between."""

TIDY_S: Final = 2.0
"""How long who deletes something waits for the index to be rid of it; the rest is done at leisure."""


class SessionStore:
    """Sessions in a database. What they take is counted in `usage`."""

    def __init__(self, database: SqlDatabase, usage: Usage | None = None) -> None:
        self.database = database
        self.leases = database.leases
        self._usage = usage or Usage()

    async def create(self, record: Record, *, durable: bool = False, most: int = 0) -> Record:
        """Store a new session; if its owner has one with the same key, that one is returned instead.

        Raises:
            TooMany: the owner has `most` sessions (0: any number).
        """
        new = tables.rows(record)

        def work(connection: Connection) -> Record:
            if record.key is not None and (there := _keyed(connection, record.owner, record.key)) is not None:
                return there
            if most and _count(connection, record.owner, most) >= most:
                raise TooMany(record.owner)
            if not self._insert(connection, new):
                assert record.key is not None
                there = _keyed(connection, record.owner, record.key)  # another convod's, created meanwhile
                if there is None:
                    raise StoreFailed("the session with this key was deleted just now; try again")
                return there
            for number, name in enumerate(record.config.channel_names, 1):
                if name and record.config.channels == "split":
                    folded = search.folded_name(name)
                    tables.insert(connection, "speakers", {"session": record.id, "speaker": number, "folded": folded})
            return record

        with trio.CancelScope(shield=True):  # what is stored must be counted
            stored = await self.database.write(work, durable=durable)
        if stored is record:
            self._usage.count(record.owner, new["progress"]["text_bytes"])
        return stored

    @property
    def _epoch(self) -> int:
        return 0 if self.leases is None else self.leases.epoch

    def _insert(self, connection: Connection, new: dict[str, dict[str, Any]]) -> bool:
        """Insert the rows of a session; whether there was none with its key."""
        about = dict(new)
        if not tables.insert(connection, "sessions", about.pop("sessions")):
            return False
        if self.leases is not None:
            lease = {"epoch": self.leases.epoch, "spool": self.leases.member.spool}
            about["progress"] = about["progress"] | lease
        for table, row in about.items():
            tables.insert(connection, table, row)
        return True

    async def save(
        self,
        record: Record,
        events: Sequence[DurableEvent] = (),
        *,
        durable: bool = False,
        in_doubt: Sequence[DurableEvent] = (),
        deliver: int = 0,
    ) -> None:
        """Store a session's changed fields together with new events; their `seq` are the next ones.

        One that is over is leased to nobody afterwards, unless something is requested of it that is not done.

        Raises:
            AlreadyStored: the events that were `in_doubt` are stored, and nothing else was written.
            LeaseLost: it is not leased to this convod.
        """
        often, seldom = tables.values_of(record, tables.OFTEN), tables.values_of(record, tables.SELDOM)
        often["seq"] = events[-1].seq if events else record.seq
        config = msgspec.json.encode(record.config).decode()
        bodies = [encode(event) for event in events]
        more = sum(map(len, bodies))
        index, leases = self.database.index, self.leases
        fence = ""
        if leases is not None:
            fence = f" AND epoch = {leases.epoch}"
            often["epoch"] = 0 if record.state.final and not (record.asked or record.refining) else leases.epoch

        def work(connection: Connection) -> None:
            # First: with them, the session may have been leased to nobody.
            if in_doubt and _are_stored(connection, in_doubt):
                raise AlreadyStored
            sets = ", ".join(f"{name} = ?" for name in often)
            changed = connection.execute(
                f"UPDATE progress SET {sets}, text_bytes = text_bytes + ? WHERE session = ?{fence}",
                (*often.values(), more, record.id),
            ).rowcount
            if leases is not None:
                if not changed:
                    raise leases.lost(connection, record.id)
                if events:
                    leases.tell(connection, record.id, events[-1].seq)
            # Written only where something changed: a row is written whole, and with it its page.
            connection.execute(
                f"UPDATE sessions SET ({', '.join(seldom)}) = ({tables.places(seldom)}) "
                f"WHERE id = ? AND ({', '.join(seldom)}) {self.database.DIFFERS} ({tables.places(seldom)})",
                (*seldom.values(), record.id, *seldom.values()),
            )
            connection.execute(
                "UPDATE configs SET config = ? WHERE session = ? AND config <> ?", (config, record.id, config)
            )
            if deliver:
                connection.execute(
                    "INSERT INTO deliveries VALUES (?, ?, ?, ?) ON CONFLICT (session) "
                    "DO UPDATE SET seq = excluded.seq, since = excluded.since, epoch = excluded.epoch",
                    (record.id, deliver, time.time(), self._epoch),
                )
            for event, body in zip(events, bodies, strict=True):
                segment = event.segment if isinstance(event, TranscriptSegment) else None
                connection.execute(
                    "INSERT INTO events (session, seq, type, segment, body) VALUES (?, ?, ?, ?, ?)",
                    (record.id, event.seq, event.__struct_config__.tag, segment, body),
                )
                if isinstance(event, TranscriptSegment):
                    index.add(connection, record.id, "segment", event.segment, event.start, event.end, event.text)
                elif isinstance(event, FinalSummary):
                    index.remove(connection, record.id, "summary")
                    text = search.summary_text(event)
                    index.add(connection, record.id, "summary", 0, 0.0, record.duration_s, text)
                else:
                    annotate(index, connection, event)

        try:
            with trio.CancelScope(shield=True):
                await self.database.write(work, durable=durable)
        except AlreadyStored:
            self._usage.count(record.owner, sum(len(encode(event)) for event in in_doubt))
            raise
        self._usage.count(record.owner, more)

    async def delete(self, session: str) -> None:
        """Forget a session, its events and its words."""

        def work(connection: Connection) -> tuple[str, int] | None:
            self.database.index.remove(connection, session)
            if self.leases is not None:
                self.leases.note_removed(connection, session)
                self.leases.tell(connection, session, -1)
            taken = connection.execute(
                "SELECT owner, text_bytes FROM sessions JOIN progress ON session = id WHERE id = ?", (session,)
            ).fetchone()
            connection.execute("DELETE FROM sessions WHERE id = ?", (session,))
            return None if taken is None else (taken[0], taken[1])

        with trio.CancelScope(shield=True):
            taken = await self.database.write(work, durable=True)
        if taken is not None:
            owner, size = taken
            self._usage.count(owner, -size)
        await self.tidy(TIDY_S)

    async def flush(self) -> None:
        """Wait until a power cut cannot undo anything that was stored so far, by this process or an earlier one."""
        await self.database.flush()

    async def tidy(self, most_s: float = float("inf")) -> None:
        """Rid the index and the log of what was deleted, for at most that long."""
        await self.database.scrub(most_s)

    async def get(self, session: str) -> Record | None:
        """Return a session, None if there is none with that id."""

        def work(connection: Connection) -> Record | None:
            row = connection.execute(f"{tables.RECORDS} WHERE id = ?", (session,)).fetchone()
            return None if row is None else tables.record_of(row)

        return await self.database.read(work)

    async def owner(self, session: str) -> str | None:
        """Return the owner of a session, even of a damaged one; None if there is no such session."""

        def work(connection: Connection) -> str | None:
            row = connection.execute("SELECT owner FROM sessions WHERE id = ?", (session,)).fetchone()
            return None if row is None else str(row[0])

        return await self.database.read(work)

    async def keyed(self, owner: str, key: str) -> Record | None:
        """The owner's session with that key, None if there is none."""
        return await self.database.read(lambda connection: _keyed(connection, owner, key))

    async def unfinished(self, owner: str | None = None) -> list[Record]:
        """Sessions that are in no final state, of an owner or of all, oldest first."""
        return await self._oldest_first(f"{tables.UNFINISHED} AND {tables.THEIRS}", owner, owner)

    async def asked(self) -> list[Record]:
        """Return sessions of which something was requested that is not done, oldest first."""
        return await self._oldest_first("asked <> '[]'")

    async def _oldest_first(self, where: str, *values: object) -> list[Record]:
        def work(connection: Connection, deadline: Deadline) -> list[Record]:
            return list(tables.records(connection.execute(f"{tables.RECORDS} WHERE {where} ORDER BY created", values)))

        return await self.database.read_long(work)

    async def finished(
        self, *, owner: str | None = None, before: float | None = None, limit: int = 100
    ) -> list[Record]:
        """Sessions in a final state, of an owner or of all, created before that time, oldest first."""

        def work(connection: Connection, deadline: Deadline) -> list[Record]:
            rows = connection.execute(
                f"{tables.RECORDS} WHERE {tables.FINAL} AND created < ? AND {tables.THEIRS} ORDER BY created LIMIT ?",
                (float("inf") if before is None else before, owner, owner, limit),
            )
            return list(tables.records(rows))

        return await self.database.read_long(work)

    async def kept(self) -> dict[str, int]:
        """Sessions that have audio, as of when each was last saved, and the bytes of it."""

        def work(connection: Connection, deadline: Deadline) -> dict[str, int]:
            return dict(map(tuple, connection.execute("SELECT session, kept_bytes FROM progress WHERE kept_bytes > 0")))

        return await self.database.read_long(work)

    async def set_kept(self, sizes: Mapping[str, int]) -> None:
        """Correct the bytes of audio that sessions have."""

        def work(connection: Connection) -> None:
            for session, size in sizes.items():
                connection.execute("UPDATE progress SET kept_bytes = ? WHERE session = ?", (size, session))

        await self.database.write(work)

    async def used(self, owner: str | None = None, *, final: bool = False) -> dict[str, int]:
        """Bytes of text and of kept audio that the sessions of an owner, or of each, take; `final`: those in a final
        state alone.
        """

        def work(connection: Connection, deadline: Deadline) -> dict[str, int]:
            rows = connection.execute(
                "SELECT owner, CAST(sum(text_bytes + kept_bytes) AS BIGINT) "
                "FROM sessions JOIN progress ON session = id "
                f"WHERE {tables.THEIRS} AND {tables.FINAL if final else 'TRUE'} GROUP BY owner",
                (owner, owner),
            )
            return dict(map(tuple, rows))

        return await self.database.read_long(work)

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
            wanted += [("id >= ?", prefix), ("id <= ?", prefix + chr(0x10FFFF))]
        where = " AND ".join(clause for clause, _ in wanted) or "TRUE"
        values = [value for _, value in wanted]

        def work(connection: Connection) -> list[SessionInfo]:
            rows = connection.execute(
                f"SELECT {', '.join(tables.INFO)}, CASE state WHEN 'failed' THEN ({tables.FAILURE}) END "
                f"FROM sessions JOIN progress ON progress.session = id WHERE {where} ORDER BY created DESC, id LIMIT ?",
                (*values, limit),
            )
            return list(tables.infos(rows))

        return await self.database.read(work)

    async def failure(self, session: str) -> Failure:
        """Why a session failed."""
        sql = f"SELECT ({tables.FAILURE}) FROM sessions WHERE id = ? AND state = 'failed'"

        def work(connection: Connection) -> Failure:
            row = connection.execute(sql, (session,)).fetchone()
            return (None, None) if row is None else tables.failure_of(row[0])

        return await self.database.read(work)

    async def events(self, session: str, after: int, limit: int) -> list[DurableEvent]:
        """Stored events with `seq` above `after`, oldest first."""

        def work(connection: Connection) -> list[DurableEvent]:
            rows = connection.execute(
                "SELECT type, body FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?",
                (session, after, limit),
            )
            return [tables.event_of(row) for row in rows]

        return await self.database.read(work)

    async def segments(self, session: str, after: int = -1, limit: int = 1 << 30) -> list[Segment]:
        """Transcript segments numbered above `after`, in order, as they read now."""
        found: list[Segment] = []
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            page = await self._segments(session, found[-1].segment if found else after, wanted)
            found += page
            if len(page) < wanted:
                break
        return found

    async def _segments(self, session: str, after: int, limit: int) -> list[Segment]:
        def work(connection: Connection) -> list[Segment]:
            rows = connection.execute(
                "SELECT type, body, speaker, text FROM events LEFT JOIN annotations AS known "
                "ON known.session = events.session AND known.segment = events.segment "
                "WHERE events.session = ? AND events.segment > ? ORDER BY events.segment LIMIT ?",
                (session, after, limit),
            )
            return [tables.segment_of(row) for row in rows]

        return await self.database.read(work)

    async def summary(self, session: str) -> Summary | None:
        """The newest final summary, None before there is one."""
        newest = await self.summaries(session)
        return newest[0].summary if newest else None

    async def summaries(
        self, session: str, kind: type[SummaryEvent] = FinalSummary, *, before: int | None = None, limit: int = 1
    ) -> list[StoredSummary]:
        """Summaries of one kind, newest first, those with `seq` below `before`."""

        def work(connection: Connection) -> list[StoredSummary]:
            rows = connection.execute(
                "SELECT type, body FROM events "
                "WHERE session = ? AND type = ? AND segment IS NULL AND seq < ? ORDER BY seq DESC LIMIT ?",
                (session, kind.__struct_config__.tag, before if before is not None else 1 << 62, limit),
            )
            events = [tables.event_of(row) for row in rows]
            return [StoredSummary(seq=event.seq, summary=tables.summary_of(event)) for event in events]

        return await self.database.read(work)

    async def marks(self, session: str) -> list[Bookmark]:
        """What was marked in a session, in the order of the times."""
        marks = await self.of_kind(session, Mark)
        return sorted((Bookmark(time=mark.time, text=mark.text) for mark in marks), key=lambda mark: mark.time)

    async def speakers(self, session: str) -> SpeakerNames:
        """The speakers of a session, and what was said of them."""
        return await self.database.read(lambda connection: speakers(connection, session))

    async def said_by(self, session: str, speaker: int) -> set[int]:
        """The segments that a speaker says, by their newest labels."""
        return await self.database.read(lambda connection: said_by(connection, session, speaker))

    async def of_kind(self, session: str, kind: type[E]) -> list[E]:
        """All events of one kind, other than segments, oldest first."""
        found: list[E] = []
        while page := await self._page_of(session, kind, found[-1].seq if found else 0):
            found += page
        return found

    async def count(self, session: str, kind: type[DurableEvent]) -> int:
        """How many events of one kind there are, other than segments."""

        def work(connection: Connection) -> int:
            row = connection.execute(
                "SELECT count(*) FROM events WHERE session = ? AND type = ? AND segment IS NULL",
                (session, kind.__struct_config__.tag),
            ).fetchone()
            return int(row[0])

        return await self.database.read(work)

    async def _page_of(self, session: str, kind: type[E], after: int) -> list[E]:
        def work(connection: Connection) -> list[E]:
            rows = connection.execute(
                "SELECT type, body FROM events "
                "WHERE session = ? AND type = ? AND segment IS NULL AND seq > ? ORDER BY seq LIMIT ?",
                (session, kind.__struct_config__.tag, after, PAGE),
            )
            return [event for row in rows if isinstance(event := tables.event_of(row), kind)]

        return await self.database.read(work)

    async def search(
        self,
        owner: str | None,
        query: str,
        limit: int,
        *,
        summaries: bool = False,
        within_s: float = float("inf"),
        who: str | None = None,
    ) -> list[Hit]:
        """What the owner's sessions (everybody's if None) and, if wanted, their summaries say with these words.

        Best first. No other call waits for it, but another search of `who` (the owner if None).

        Raises:
            TookTooLong: not all that must be read for it could be read within `within_s` seconds.
        """

        def work(connection: Connection, deadline: Deadline) -> list[Hit]:
            return search.find(
                self.database.index, connection, owner, query, limit, summaries=summaries, check=deadline.check
            )

        return await self.database.read_long(work, who=(owner or "") if who is None else who, within_s=within_s)

    async def voices(self, owner: str) -> list[StoredVoice]:
        """The voices that an owner asked to be remembered, by name."""

        def work(connection: Connection) -> list[StoredVoice]:
            rows = connection.execute(
                "SELECT name, model, created, seconds, vector FROM voices WHERE owner = ? ORDER BY name", (owner,)
            )
            return [
                StoredVoice(name=name, model=model, created=created, seconds=seconds, vector=vector)
                for name, model, created, seconds, vector in rows
            ]

        return await self.database.read(work)

    async def put_voice(self, owner: str, voice: StoredVoice, most: int) -> None:
        """Remember a voice, in place of the one of that name.

        Raises:
            TooMany: the owner has `most` others.
        """

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM voices WHERE owner = ? AND name = ?", (owner, voice.name))
            (others,) = connection.execute("SELECT count(*) FROM voices WHERE owner = ?", (owner,)).fetchone()
            if others >= most:
                raise TooMany(owner)
            tables.insert(connection, "voices", {"owner": owner, **msgspec.structs.asdict(voice)})

        await self.database.write(work)

    async def delete_voice(self, owner: str, name: str) -> bool:
        """Forget a voice, as `delete` does a session; return whether there was one."""

        def work(connection: Connection) -> bool:
            gone = connection.execute("DELETE FROM voices WHERE owner = ? AND name = ?", (owner, name)).rowcount
            if gone:
                note_chore(connection)
            return gone > 0

        found = await self.database.write(work, durable=True)
        await self.tidy(TIDY_S)
        return found

    async def paused(self) -> set[str]:
        """Owners whose files are not worked on."""
        return await self.database.read(
            lambda connection: {owner for (owner,) in connection.execute("SELECT owner FROM paused")}
        )

    async def pause(self, owner: str, paused: bool) -> None:
        """Remember whether an owner's files are worked on."""
        change = (
            "INSERT INTO paused VALUES (?) ON CONFLICT DO NOTHING" if paused else "DELETE FROM paused WHERE owner = ?"
        )

        def work(connection: Connection) -> None:
            connection.execute(change, (owner,))
            if self.leases is not None:
                self.leases.tell(connection)

        await self.database.write(work)

    async def note(self, name: str) -> str | None:
        """What was noted under a name, None if nothing was."""

        def work(connection: Connection) -> str | None:
            row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])

        return await self.database.read(work)

    async def set_note(self, name: str, value: str) -> None:
        """Note something, in place of what was noted under that name before."""

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
            )

        await self.database.write(work)

    async def deliveries(self) -> list[Delivery]:
        """What hooks of this convod must still tell, oldest first."""
        sql = "SELECT session, seq, since, epoch FROM deliveries WHERE epoch = ? ORDER BY since"

        def work(connection: Connection) -> list[Delivery]:
            return [Delivery(*row) for row in connection.execute(sql, (self._epoch,))]

        return await self.database.read(work)

    async def must_deliver(self, session: str, seq: int) -> bool:
        """Whether hooks of this convod must still tell of that event."""
        sql = "SELECT 1 FROM deliveries WHERE session = ? AND seq = ? AND epoch = ?"
        values = (session, seq, self._epoch)
        return await self.database.read(lambda connection: connection.execute(sql, values).fetchone() is not None)

    async def delivered(self, session: str, seq: int) -> None:
        """Note that hooks need not tell of that event any more."""
        sql = "DELETE FROM deliveries WHERE session = ? AND seq = ? AND epoch = ?"
        values = (session, seq, self._epoch)
        await self.database.write(lambda connection: connection.execute(sql, values).rowcount)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written; None as long as no write has failed."""
        return self.database.trouble

    async def probe(self) -> None:
        """Check whether writes succeed again, and note it in `trouble`."""
        with contextlib.suppress(StoreFailed):
            await self.set_note("probe", secrets.token_hex(8))

    async def size(self) -> int:
        """Bytes that all of it takes, without what could be used again."""
        return await self.database.size()


def _are_stored(connection: Connection, events: Sequence[DurableEvent]) -> bool:
    """Whether these very events are stored; another convod may have stored others with their numbers."""
    found = connection.execute(
        "SELECT body FROM events WHERE session = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (events[0].session, events[0].seq, len(events)),
    ).fetchall()
    return [bytes(body) for (body,) in found] == [encode(event) for event in events]


def _keyed(connection: Connection, owner: str, key: str) -> Record | None:
    row = connection.execute(f"{tables.RECORDS} WHERE owner = ? AND key = ?", (owner, key)).fetchone()
    return None if row is None else tables.record_of(row)


def _count(connection: Connection, owner: str, most: int) -> int:
    counted = "SELECT count(*) FROM (SELECT 1 FROM sessions WHERE owner = ? LIMIT ?) AS theirs"
    return int(connection.execute(counted, (owner, most)).fetchone()[0])
