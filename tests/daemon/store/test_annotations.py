"""What events say of segments beside them: the newest counts, whichever event it came with, in all that is read."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from convo.messages import (
    CreateSession,
    Label,
    SegmentCorrected,
    SpeakerLabel,
    SpeakersRevised,
    State,
    TranscriptSegment,
    encode,
)
from convod.store import Database, Record, SessionStore
from tests.support.databases import FOLDER, TALK, TEXTS

ONE = "00000000one"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SessionStore]:
    database = Database(path / "convod.sqlite")
    database.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        yield SessionStore(database)
        nursery.cancel_scope.cancel()
    database.close()


async def put(store: SessionStore, *texts: str) -> Record:
    record = Record(
        id=ONE, owner="me", kind="live", title="", state=State.PENDING, created=1.0,
        config=CreateSession(kind="live", speakers="auto"),
    )  # fmt: skip
    await store.create(record)
    segments = [
        TranscriptSegment(
            session=ONE, seq=at + 1, segment=at, start=at, end=at + 1.0, text=text, language="en", confidence=0.5,
            lag_ms=1.0,
        )
        for at, text in enumerate(texts)
    ]  # fmt: skip
    await store.save(record, segments)
    return record


async def test_the_newest_label_counts(tmp_path):
    async with opened(tmp_path) as store:
        record = await put(store, "a", "b", "c")
        assert (await store.speakers(ONE)).speaking == []
        first = [SpeakerLabel(session=ONE, seq=4 + at, segment=at, speaker=1, confidence=0.5) for at in range(3)]
        fresh = [Label(segment=0, speaker=2, confidence=1.0), Label(segment=2, speaker=3, confidence=0.75)]
        again = SpeakerLabel(session=ONE, seq=8, segment=2, speaker=4, confidence=0.25)
        await store.save(record, [*first, SpeakersRevised(session=ONE, seq=7, labels=fresh), again])
        assert [segment.speaker for segment in await store.segments(ONE)] == [2, 1, 4]
        assert [segment.speaker for segment in await store.segments(ONE, 0, 1)] == [1]
        assert (await store.speakers(ONE)).speaking == [1, 2, 4]


async def test_a_segment_reads_as_it_was_corrected_last(tmp_path):
    async with opened(tmp_path) as store:
        record = await put(store, "the budget", "東京は雨", "older budget")
        said = [("a plan", 0), ("大阪は晴れ", 1), ("the plan", 0)]
        events = [
            SegmentCorrected(session=ONE, seq=4 + at, segment=segment, text=text, by="user")
            for at, (text, segment) in enumerate(said)
        ]
        await store.save(record, events)
        assert [(one.text, one.original) for one in await store.segments(ONE)] == [
            ("the plan", "the budget"),
            ("大阪は晴れ", "東京は雨"),
            ("older budget", None),
        ]
        assert await store.count(ONE, SegmentCorrected) == 3
        assert (await store.events(ONE, 0, 1))[0].text == "the budget"  # what was sent stays

        async def found(query: str) -> list[int]:
            return [hit.segment for hit in await store.search("me", query, 10)]

        assert await found("budget") == [2]
        assert await found("plan") == [0]
        assert await found("the") == [0]
        assert await found("東京は") == []
        assert await found("大阪は") == [1]
        # It keeps its place among the others.
        again = SegmentCorrected(session=ONE, seq=7, segment=0, text="the budget", by="user")
        await store.save(record, [again])
        assert await found("budget") == [2, 0]
        assert (await store.segments(ONE, limit=1))[0].original is None
        await store.delete(ONE)
        assert await found("budget") == []
        with closing(sqlite3.connect(tmp_path / "convod.sqlite")) as plain:
            assert plain.execute("SELECT count(*) FROM annotations").fetchone() == (0,)


@pytest.mark.parametrize("kind", [SpeakerLabel, SpeakersRevised])
async def test_labels_of_an_earlier_version_are_known(tmp_path, kind):
    shutil.copyfile(FOLDER / "0006.sqlite", tmp_path / "convod.sqlite")
    label = {"segment": 1, "speaker": 2, "confidence": 0.5}
    event = kind(session=TALK, seq=10, **(label if kind is SpeakerLabel else {"labels": [Label(**label)]}))
    with closing(sqlite3.connect(tmp_path / "convod.sqlite")) as plain, plain:
        values = (TALK, 10, kind.__struct_config__.tag, encode(event))
        plain.execute("INSERT INTO events (session, seq, type, body) VALUES (?, ?, ?, ?)", values)
    async with opened(tmp_path) as store:
        assert [(one.text, one.speaker) for one in await store.segments(TALK)] == list(
            zip(TEXTS, [None, 2, None], strict=True)
        )
