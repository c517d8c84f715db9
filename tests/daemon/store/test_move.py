"""A store is moved either way, whole; a move that was killed goes on; what is in use or in the way is left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import asynccontextmanager, closing

import psycopg
import pytest
import trio

from convo.messages import Mark
from convod.__main__ import main
from convod.startup import state_directory
from convod.store import SessionStore, StoreFailed, database_at, is_address
from convod.store.move import move
from convod.store.sql import MOVING
from tests.support import databases
from tests.support.history import put_talk

QUERIES = ("friday", "gru", "東京は", "rain", "release budget", "will ship", "meet")


@asynccontextmanager
async def opened(place):
    url = place if is_address(str(place)) else ""
    database = database_at(url, place if url else place / "convod.sqlite")
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield SessionStore(database)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


async def fill(place, talks: int = 3, segments: int = 5) -> None:
    """All kinds of sessions and events, and some long talks whose texts are not in the order of their sessions."""
    async with opened(place) as store:
        for number in range(talks):
            await put_talk(store, "uid:1000", f"{9999999999 - number}talk", segments, marks=2, summaries=2)
        for record in databases.records():
            await store.create(record)
            await store.save(record, databases.events()[record.id], deliver=record.seq if record.state.final else 0)
        for owner in databases.PAUSED:
            await store.pause(owner, True)
        await store.set_note("clock", "a note")


async def held(place) -> dict[str, object]:
    """All that a store gives."""
    async with opened(place) as store:
        sessions = [one.session for one in await store.newest(None, limit=1000)]
        found: dict[str, object] = {query: await store.search(None, query, 50, summaries=True) for query in QUERIES}
        for session in sessions:
            found[session] = (await store.get(session), await store.events(session, 0, 10_000))
        deliveries = await store.deliveries()
        if store.leases is not None:
            deliveries += await store.leases.left_deliveries()
        assert len(deliveries) == 2
        return found | {
            "deliveries": sorted(one[:3] for one in deliveries),
            "sessions": sessions, "paused": await store.paused(), "note": await store.note("clock"),
            "used": await store.used(), "asked": await store.asked(),
        }  # fmt: skip


WAITING = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE number INTEGER; BEGIN
    SELECT count(*) INTO number FROM sessions;
    IF number = 2 THEN PERFORM pg_notify('three', ''); END IF;
    IF number = 3 THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
    RETURN NULL;
END $$
"""
"""Tells when three sessions are stored, and lets the fourth wait for a lock."""


def silent(text: str) -> None:
    raise AssertionError(text)


async def test_a_store_is_moved_there_and_back(postgres, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    await fill(tmp_path / "a")
    before = await held(tmp_path / "a")
    with postgres.fresh() as address:
        assert move(str(tmp_path / "a"), address, silent)[0] == 7
        assert await held(address) == before
        # It is worked with as any other: what is new comes after what was moved.
        async with opened(address) as store:
            await put_talk(store, "uid:1000", "5555555555new", 1)
            assert (await store.search(None, "friday", 1))[0].session == "5555555555new"
            await store.delete("5555555555new")
        assert move(address, str(tmp_path / "b" / "convod.sqlite"), silent)[0] == 7
    assert await held(tmp_path / "b") == before
    assert await held(tmp_path / "a") == before


async def test_a_move_that_was_killed_is_not_served_and_goes_on(postgres, tmp_path):
    await fill(tmp_path, talks=12, segments=8)
    before = await held(tmp_path)
    with postgres.fresh() as address:
        words = [sys.executable, "-m", "convod", "migrate-store", str(tmp_path), address]
        name = address.rpartition("/")[2]
        postgres.run(WAITING, "CREATE TRIGGER hold BEFORE INSERT ON sessions EXECUTE FUNCTION hold()", database=name)
        with closing(psycopg.connect(address, autocommit=True)) as looking:
            looking.execute("LISTEN three")
            looking.execute("SELECT pg_advisory_lock(7)")
            with subprocess.Popen(words, stderr=subprocess.PIPE) as process:  # noqa: ASYNC220
                assert list(looking.notifies(timeout=60, stop_after=1))
                process.send_signal(signal.SIGKILL)
            assert looking.execute("SELECT count(*) FROM sessions").fetchone() == (3,)
        postgres.run("DROP TRIGGER hold ON sessions", database=name)
        with pytest.raises(StoreFailed, match=r"half a copy .* again to finish"):
            database_at(address, tmp_path).open()
        # The one it is moved from goes on meanwhile: what was moved already is moved anew.
        async with opened(tmp_path) as store:
            some = (await store.newest(None, limit=1000))[-5:]
            for info in some[:3]:
                one = await store.get(info.session)
                await store.save(one, [Mark(session=one.id, seq=one.seq + 1, time=1.0, text="later")])
            await store.delete(some[3].session)
        before = await held(tmp_path)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)  # noqa: ASYNC221
        assert done.returncode == 0, done.stderr
        assert "15 sessions" in done.stdout
        assert await held(address) == before
        async with opened(address) as store:
            assert await store.note(MOVING) is None


async def test_what_is_in_use_or_in_the_way_is_left_alone(postgres, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("convod.store.postgres.LOCK_S", 0.1)
    await fill(tmp_path, talks=1)
    path = tmp_path / "convod.sqlite"

    def refused(source, target) -> str:
        assert main(["migrate-store", str(source), str(target)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    with postgres.fresh() as address:
        async with opened(address) as store:
            assert "works with" in refused(tmp_path, address)
            await put_talk(store, "me", "1234567890", 1)
        assert "holds sessions already" in refused(tmp_path, address)
        with state_directory(tmp_path):
            assert "a convod works with" in refused(tmp_path, address)
    assert "there is no store" in refused(tmp_path / "none", path)
    assert "same store" in refused(path, tmp_path) or "works with" in refused(path, tmp_path)
    assert "cannot be reached" in refused(tmp_path, "postgresql://ann:secret@127.0.0.1:9/db")
    assert "is a path, or" in refused("mysql://x", path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "convod.sqlite").write_bytes(b"no database" * 1000)
    assert "cannot be used" in refused(tmp_path, tmp_path / "other")


async def test_a_difference_is_told(postgres, tmp_path):
    await fill(tmp_path, talks=1)
    with postgres.fresh() as address:
        postgres.run(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.body = NEW.body || '\\x00'::bytea; RETURN NEW; END $$",
            "CREATE TRIGGER spoil BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION spoil()",
            database=address.rpartition("/")[2],
        )
        with pytest.raises(StoreFailed, match="is not what it was"):
            move(str(tmp_path), address, silent)
