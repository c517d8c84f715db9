"""How sessions and events lie in the tables: structs as rows, and rows as structs.

In and out: structs and rows. A row that cannot be read is a `StoreFailed`, or left out of a list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Final

import msgspec

from convo.messages import (
    DURABLE,
    CreateSession,
    DurableEvent,
    Segment,
    SessionInfo,
    SessionState,
    State,
    Summary,
    SummaryEvent,
    SummaryOptions,
    TranscriptSegment,
    from_map,
)
from convo.transcript import corrected
from convod.store.base import Failure, Record, Refining, StoreFailed
from convod.store.sql import Connection

log = logging.getLogger("convod.store")

FIXED: Final = ("id", "owner", "kind", "created", "key")
"""Columns of `sessions` that never change."""

SELDOM: Final = ("title", "state", "heard_language", "digest", "asked")
"""Columns of `sessions` that do. `asked`: all that was requested of a session and is not done, as a JSON list: options
of summaries, and `{"refine": …}` where it is heard again."""

OFTEN: Final = (
    "duration_s", "ended", "audio_bytes", "kept_bytes", "seq", "segments", "checkpoint_sample", "checkpoint_utterance"
)  # fmt: skip
"""Columns of `progress`, which is written with each event."""

INFO: Final = ("id", "kind", "title", "state", "created", "duration_s", "heard_language")
"""What lists show of each session."""

FAILURE: Final = (
    "SELECT body FROM events WHERE session = id AND type BETWEEN 'session_state' AND 'session_state' "
    "AND segment IS NULL ORDER BY type DESC, seq DESC LIMIT 1"
)
"""The event that says why a failed session failed. For `type = ...` SQLite would read all events behind it: only this
takes the index by type."""

COLUMNS: Final = (*FIXED, *SELDOM, *OFTEN, "config")
"""Those of a `Record`."""

RECORDS: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM sessions "
    "JOIN progress ON progress.session = id LEFT JOIN configs ON configs.session = id"
)
"""All that a `Record` holds."""

FINAL: Final = "state IN ('completed', 'failed', 'cancelled')"
"""SQL: the session is over, as the index has it."""

UNFINISHED: Final = "state NOT IN ('completed', 'failed', 'cancelled')"
"""SQL: it is not, as another index has it."""

THEIRS: Final = "(CAST(? AS TEXT) IS NULL OR owner = ?)"
"""SQL: the session is an owner's, who is named twice; or anybody's if that is NULL."""


def rows(record: Record) -> dict[str, dict[str, Any]]:
    """What a new session is in each table."""
    config = msgspec.json.encode(record.config)
    return {
        "sessions": values_of(record, FIXED + SELDOM),
        "configs": {"session": record.id, "config": config.decode()},
        "progress": {"session": record.id, "text_bytes": len(config)} | values_of(record, OFTEN),
    }


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> bool:
    """Insert a row into one of the tables, unless there is one like it; return whether it was."""
    sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places(row)}) ON CONFLICT DO NOTHING"
    return bool(connection.execute(sql, tuple(row.values())).rowcount)


def places(columns: Sized) -> str:
    """SQL: a value for each column."""
    return ", ".join("?" * len(columns))


def values_of(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """Some of a record's fields as their columns hold them."""
    values = {name: getattr(record, name) for name in names}
    if "asked" in values:
        refine = [] if record.refining is None else [{"refine": record.refining}]
        values["asked"] = msgspec.json.encode([*record.asked, *refine]).decode()
        values["state"] = str(record.state)
    else:
        values["ended"] = int(record.ended)
    return values


def record_of(row: Sequence[Any]) -> Record:
    """Make a record of a row of RECORDS."""
    fields = dict(zip(COLUMNS, row, strict=True))
    try:
        fields["config"] = msgspec.json.decode(fields["config"], type=CreateSession)
        asked = msgspec.json.decode(fields["asked"], type=list[dict[str, Any]])
        fields["asked"] = [msgspec.convert(one, SummaryOptions) for one in asked if "refine" not in one]
        fields["refining"] = next((msgspec.convert(one["refine"], Refining) for one in asked if "refine" in one), None)
        fields["state"] = State(fields["state"])
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(
            f"session {fields['id']!r} in the database is damaged ({error}); restore a backup, or delete the session"
        ) from error
    fields["ended"] = bool(fields["ended"])
    return Record(**fields)


def records(rows: Iterable[Sequence[Any]]) -> Iterator[Record]:
    """The sessions that can be read; one that cannot does not hide the others."""
    for row in rows:
        try:
            yield record_of(row)
        except StoreFailed as error:
            log.error("a session is left out: %s", error)


def infos(rows: Iterable[Sequence[Any]]) -> Iterator[SessionInfo]:
    """What lists show, of rows of INFO with why each failed; one that cannot be read does not hide the others."""
    for *row, why in rows:
        fields = dict(zip(INFO, row, strict=True))
        try:
            fields["state"] = State(fields["state"])
        except ValueError as error:
            log.error("a session is left out: session %r in the database is damaged (%s)", fields["id"], error)
            continue
        fields["duration_s"] = round(fields["duration_s"], 3)
        fields["language"] = fields.pop("heard_language")
        fields["code"], fields["message"] = failure_of(why)
        yield SessionInfo(session=fields.pop("id"), **fields)


def failure_of(body: Any) -> Failure:
    """Why a session failed, of its newest state; nothing if there is none that can be read."""
    if body is None:
        return None, None
    try:
        event = event_of(("session_state", body))
    except StoreFailed as error:
        log.error("a session's failure is left out: %s", error)
        return None, None
    assert isinstance(event, SessionState)
    return event.code, event.message


def event_of(row: Sequence[Any]) -> DurableEvent:
    """An event, of its type and its body.

    Raises:
        StoreFailed: it is damaged.
    """
    kind, body = row
    try:
        event = from_map(msgspec.msgpack.decode(body), DURABLE[kind])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreFailed(f"an event in the database is damaged ({error}); restore a backup") from error
    assert isinstance(event, DurableEvent)
    return event


def segment_of(row: tuple[Any, ...]) -> Segment:
    """A segment as it reads now; the times of its words are those of its own text."""
    kind, body, speaker, text = row
    event = event_of((kind, body))
    assert isinstance(event, TranscriptSegment)
    names = [name for name in Segment.__struct_fields__ if name not in ("speaker", "original")]
    segment = Segment(**{name: getattr(event, name) for name in names}, speaker=speaker)
    return segment if text is None else corrected(segment, text)


def summary_of(event: DurableEvent) -> Summary:
    """The summary that an event carries."""
    assert isinstance(event, SummaryEvent)
    return Summary(**{name: getattr(event, name) for name in Summary.__struct_fields__})
