"""Databases of earlier versions, kept in `tests/data/databases`, and what is in each of them.

After a change to the tables, `python -m tests.support.databases` writes the one of this version. None that is there is
ever written again: it is what people have on their disks.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import trio

from convo.messages import (
    ActionItem,
    AudioFormat,
    CreateSession,
    DurableEvent,
    FinalSummary,
    Mark,
    SessionState,
    SessionWarning,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.store import Database, Record, SessionStore

FOLDER: Final = Path(__file__).parents[1] / "data" / "databases"

TALK: Final = "1111111111talk"
FILE: Final = "2222222222file"
OPEN: Final = "3333333333open"
FAILED: Final = "4444444444gone"

TEXTS: Final = ("We meet on Friday.", "Grüße an Ann.", "東京は雨です。")

CREATED: Final = 1_790_000_000.0


def records() -> list[Record]:
    """The sessions, as they are stored at the end."""
    return [
        Record(
            id=TALK, owner="uid:1000", kind="live", title="Monday", state=State.COMPLETED, created=CREATED, key="k1",
            config=CreateSession(
                kind="live", title="Monday", language="en", prompt="Ann, Friday", key="k1", endpoint_ms=700, vad_mode=2,
                frame_ms=30, keep_audio=True, model="builtin", summary=SummaryOptions(style="brief"),
            ),
            duration_s=12.5, ended=True, audio_bytes=400_000, seq=9, segments=3,
            checkpoint_sample=200_000, checkpoint_utterance=3, heard_language="en",
            asked=[SummaryOptions(style="minutes")],
        ),
        Record(
            id=FILE, owner="uid:1000", kind="file", title="talk.flac", state=State.PROCESSING, created=CREATED + 10,
            config=CreateSession(
                kind="file", audio=AudioFormat(name="talk.flac", size=5000), keep_audio=False, priority="high"
            ),
            ended=True, audio_bytes=5000, seq=2, digest="ab" * 32,
        ),
        Record(
            id=OPEN, owner="token:ann", kind="live", title="", state=State.PENDING, created=CREATED + 20,
            config=CreateSession(kind="live", keep_audio=False), seq=1,
        ),
        Record(
            id=FAILED, owner="token:ann", kind="file", title="x", state=State.FAILED, created=CREATED + 30,
            config=CreateSession(kind="file", keep_audio=False), ended=True, audio_bytes=7, seq=1,
        ),
    ]  # fmt: skip


def events() -> dict[str, list[DurableEvent]]:
    """Each session's events."""
    talk: list[DurableEvent] = [
        SessionState(session=TALK, seq=1, state=State.PENDING),
        SessionState(session=TALK, seq=2, state=State.PROCESSING),
    ]
    talk += [
        TranscriptSegment(
            session=TALK, seq=number + 3, segment=number, start=number * 2.0, end=number * 2.0 + 1, text=text,
            language="en", confidence=0.5, lag_ms=100.0,
        )
        for number, text in enumerate(TEXTS)
    ]  # fmt: skip
    talk += [
        Mark(session=TALK, seq=6, time=2.5, text="look here"),
        SessionState(session=TALK, seq=7, state=State.TRANSCRIBED),
        FinalSummary(
            session=TALK, seq=8, provider="extractive", model="extractive", title="Monday", summary="They meet.",
            key_points=["Friday"], action_items=[ActionItem(text="greet", owner="Ann")], keywords=["rain"],
            language="en",
        ),
        SessionState(session=TALK, seq=9, state=State.COMPLETED),
    ]  # fmt: skip
    return {
        TALK: talk,
        FILE: [
            SessionState(session=FILE, seq=1, state=State.PENDING),
            SessionState(session=FILE, seq=2, state=State.PROCESSING),
        ],
        OPEN: [SessionState(session=OPEN, seq=1, state=State.PENDING)],
        FAILED: [SessionWarning(session=FAILED, seq=1, code="internal", message="why")],
    }


PAUSED: Final = {"token:ann"}


async def write(path: Path) -> None:
    """Write all of it to a new database."""
    database = Database(path)
    database.open()
    store = SessionStore(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        for record in records():
            await store.create(record)
            await store.save(record, events()[record.id])
        for owner in PAUSED:
            await store.pause(owner, True)
        nursery.cancel_scope.cancel()
    database.close()
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA journal_mode = DELETE")
        plain.execute("VACUUM")


def version(path: Path) -> int:
    """The number of the last migration that a database had."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as plain:
        return int(plain.execute("PRAGMA user_version").fetchone()[0])


def main() -> None:
    """Write the database of this version, if it is not there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "convod.sqlite")
        trio.run(write, path)
        kept = FOLDER / f"{version(path):04}.sqlite"
        if kept.exists():
            raise SystemExit(f"{kept} is there already")
        kept.write_bytes(path.read_bytes())
    print(kept)


if __name__ == "__main__":
    main()
