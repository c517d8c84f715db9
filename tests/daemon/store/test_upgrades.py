"""Databases of all versions since the first that was kept open with this one, and hold what they held."""

from __future__ import annotations

import shutil
from importlib import resources

import pytest
import trio

from convo.messages import Bookmark
from convod.store import Database, SessionStore
from tests.support import databases
from tests.support.databases import FAILED, FILE, FOLDER, OPEN, TALK, TEXTS

KEPT = sorted(FOLDER.glob("*.sqlite"))


def test_the_database_of_this_version_is_kept():
    newest = max(file.name for file in resources.files("convod.store.migrations").iterdir() if file.name[0].isdigit())
    # After a new migration: python -m tests.support.databases
    assert (FOLDER / f"{newest[:4]}.sqlite").exists()


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
async def test_a_database_of_an_earlier_version_is_whole(tmp_path, kept):
    path = tmp_path / "convod.sqlite"
    shutil.copyfile(kept, path)
    assert databases.version(path) == int(kept.stem)
    database = Database(path)
    database.open()
    store = SessionStore(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run)
        await database.check()
        for record in databases.records():
            assert await store.get(record.id) == record
            assert await store.events(record.id, 0, 100) == databases.events()[record.id]
        assert [one.id for one in await store.unfinished()] == [FILE, OPEN]
        assert [one.id for one in await store.asked()] == [TALK]
        assert [one.id for one in await store.finished()] == [TALK, FAILED]
        assert [one.text for one in await store.segments(TALK)] == list(TEXTS)
        assert [one.session for one in await store.newest(None)] == [FAILED, OPEN, FILE, TALK]
        assert await store.marks(TALK) == [Bookmark(time=2.5, text="look here")]
        assert await store.paused() == databases.PAUSED
        for query in ("friday", "gru", "東京は"):
            assert [hit.session for hit in await store.search("uid:1000", query, 10)] == [TALK], query
        assert [hit.source for hit in await store.search(None, "rain", 10, summaries=True)] == ["summary"]
        # It is worked with as any other.
        await store.delete(TALK)
        assert await store.search(None, "friday", 10) == []
        nursery.cancel_scope.cancel()
    database.close()
