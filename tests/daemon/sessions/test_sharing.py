"""Two convods in one process, on one PostgreSQL: readers at both, writes in turn, sessions that change hands."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from convo.messages import Code, CreateSession, FinalSummary, Mark, State, SummaryOptions, TranscriptSegment
from convod.sessions import Refused
from convod.sessions.session import Session
from convod.store import LeaseLost, Member, Record, StoreAway
from convod.store.leases import SharedLeases
from convod.store.postgres import PostgresDatabase
from tests.daemon.support.house import House, Reader, house
from tests.daemon.support.talk import talk
from tests.support.postgres import lose_at_commit
from tests.support.until import until

DONE = State.COMPLETED


def as_convod(address: str, name: str, spool: str = "") -> PostgresDatabase:
    return PostgresDatabase(address, member=Member(name, spool or f"spool of {name}", lease_s=1.0))


@asynccontextmanager
async def two(postgres, tmp_path: Path, spool: str = ""):
    address = postgres.emptied()
    async with (
        house(tmp_path / "a", database=as_convod(address, "a", spool)) as a,
        house(tmp_path / "b", database=as_convod(address, "b", spool)) as b,
    ):
        yield a, b


async def reader_at(home: House, session: str) -> Reader:
    return Reader((await home.manager.journal("me", session)).feed)


async def completed(home: House) -> Session:
    session = await home.live()
    await session.end()
    await session.wait_finished()
    return session


async def steal(postgres, home: House, session: str) -> None:
    """Lease a session to a convod that took another one for dead, and was right to."""
    values = f"epoch = {home.store.leases.epoch} WHERE session = '{session}'"
    await trio.to_thread.run_sync(lambda: postgres.run(f"UPDATE progress SET {values}", database="kept"))


@pytest.mark.parametrize("noted", [True, False], ids=["told at once", "all notes are lost"])
async def test_a_reader_at_another_convod_misses_nothing(postgres, tmp_path, monkeypatch, noted):
    if not noted:

        async def deaf(self, began, heard):
            await trio.sleep_forever()

        monkeypatch.setattr(SharedLeases, "listen", deaf)
    async with two(postgres, tmp_path) as (a, b):
        session = await a.live()
        here, there = Reader(session.feed), await reader_at(b, session.id)
        a.send(session, talk(3))
        await session.finalize()
        await there.until(lambda event: isinstance(event, TranscriptSegment) and event.segment == 2)
        await session.end()
        await there.until_state(DONE)
        await here.until_state(DONE)
        assert [one for one in here.events if hasattr(one, "seq")] == there.events
        assert (await b.manager.journal("me", session.id)).record.state is DONE


async def test_a_session_at_another_convod_is_read_and_not_touched(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        session = await a.live(key="k")
        await until(lambda: session.record.seq == 1)
        for refused in (
            lambda: b.manager.running("me", session.id),
            lambda: b.manager.create("me", CreateSession(kind="live", key="k"), object()),
            lambda: b.manager.update("me", session.id, "another title", None),
        ):
            with pytest.raises((Refused, LeaseLost), match="another convod works on this session") as error:
                await refused()
            assert getattr(error.value, "code", Code.BUSY) is Code.BUSY
        assert [one.session for one in await b.store.newest("me")] == [session.id]


async def test_one_that_is_over_is_marked_and_renamed_at_any_of_them(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        session = await completed(a)
        readers = [await reader_at(home, session.id) for home in (a, b)]
        for number in range(3):
            for home in (a, b):
                journal = await home.manager.journal("me", session.id)
                await journal.publish(Mark, wait=False, time=1.0, text=f"{number}")
        await b.manager.update("me", session.id, "another title", None)
        assert (await a.manager.journal("me", session.id)).record.title == "another title"
        for reader in readers:
            await reader.until(lambda event: getattr(event, "title", "") == "another title")
            seqs = [event.seq for event in reader.events]
            assert seqs == list(range(1, len(seqs) + 1))
        assert readers[0].events == readers[1].events


async def test_marks_made_at_both_at_once_are_all_there(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        session = await completed(a)
        journals = [await home.manager.journal("me", session.id) for home in (a, b)]
        async with trio.open_nursery() as nursery:
            for journal in journals * 5:
                nursery.start_soon(lambda one: one.publish(Mark, time=1.0, text="here"), journal)
        assert len(await a.store.marks(session.id)) == 10


@pytest.mark.parametrize("committed", [True, False])
async def test_a_reader_elsewhere_sees_what_was_in_doubt_just_as_readers_here_do(
    postgres, tmp_path, monkeypatch, committed
):
    async with two(postgres, tmp_path) as (a, b):
        session = await a.live()
        a.send(session, talk(1))
        await session.finalize()
        here, there = Reader(session.feed), await reader_at(b, session.id)
        # A request whose commit got no answer: readers elsewhere see at once what was committed.
        lose_at_commit(a.store.database, committed=committed)
        with pytest.raises(StoreAway):
            await a.manager.update("me", session.id, "in doubt", None)
        assert session.record.title != "in doubt"
        if committed:
            await there.until(lambda event: getattr(event, "title", "") == "in doubt")
        # The next one does not take its place.
        await session.journal.publish(Mark, wait=False, time=1.0, text="next")
        assert (session.record.title == "in doubt") is committed
        # One that waits for the store is there once, be it the last, with which the lease ends.
        save = a.store.save
        lost = []

        async def save_and_lose(record, events=(), **options):
            if record.state is DONE and not lost:
                lose_at_commit(a.store.database, committed=committed)
                lost.append(record)
            await save(record, events, **options)

        monkeypatch.setattr(a.store, "save", save_and_lose)
        await session.end()
        await session.wait_finished()
        assert session.record.state is DONE
        assert not a.spool.path(session.id).exists()
        for reader in (here, there):
            await reader.until_state(DONE)
        assert [one for one in here.events if hasattr(one, "seq")] == there.events
        assert [one.seq for one in there.events] == list(range(1, len(there.events) + 1))
        assert there.states == [State.PENDING, State.PROCESSING, State.TRANSCRIBED, DONE]
        assert (await b.manager.journal("me", session.id)).record.title == session.record.title


async def test_a_session_that_was_taken_over_stops_here_and_its_audio_stays(postgres, tmp_path, caplog):
    async with two(postgres, tmp_path) as (a, b):
        session = await a.live()
        a.send(session, talk(1))
        await session.finalize()
        stored = len(await b.store.events(session.id, 0, 100))
        await steal(postgres, b, session.id)
        await session.wait_finished()  # though it had nothing to write
        assert a.spool.size(session.id)
        with pytest.raises(Refused, match="another convod"):
            await a.manager.running("me", session.id)
        assert len(await b.store.events(session.id, 0, 100)) == stored
        assert "fault of convod" not in caplog.text


async def test_a_summary_is_left_to_the_convod_that_took_it_over(postgres, tmp_path, caplog):
    async with two(postgres, tmp_path) as (a, b):
        session = await completed(a)
        a.summarizers.gate = trio.Event()
        await a.manager.summarize("me", session.id, SummaryOptions())
        await until(lambda: a.summarizers.wanted)
        await steal(postgres, b, session.id)
        a.summarizers.gate.set()
        await until(lambda: "summary is left to another convod" in caplog.text)
        await completed(a)  # it goes on with all else
        assert not [one for one in await b.store.events(session.id, 0, 100) if isinstance(one, FinalSummary)]


async def test_what_a_convod_left_goes_on_at_another_one(postgres, tmp_path):
    address = postgres.emptied()
    spool = "shared"
    async with house(tmp_path / "b", database=as_convod(address, "b", spool)) as b:
        async with house(tmp_path / "a", database=as_convod(address, "a", spool)) as a:
            session = await a.live(summary="final")
            a.send(session, talk(1))
            await session.finalize()
            over = await completed(a)
            a.summarizers.gate = trio.Event()
            await a.manager.summarize("me", over.id, SummaryOptions())
            (tmp_path / "a/spool" / f"{session.id}.audio").rename(tmp_path / "b/spool" / f"{session.id}.audio")
        await until(lambda: b.manager.find(session.id) is not None)
        again = b.manager.find(session.id)
        await again.end()
        reader = await reader_at(b, session.id)
        await reader.until_state(DONE)
        assert reader.texts == ["sentence 0"]
        await (await reader_at(b, over.id)).until(lambda event: isinstance(event, FinalSummary))


async def test_what_is_older_than_leases_goes_on_where_its_audio_is(postgres, tmp_path):
    address = postgres.emptied()
    async with house(tmp_path / "a", database=as_convod(address, "a")) as a:
        session = await a.live()
        a.send(session, talk(1))
        await session.finalize()
    postgres.run("UPDATE progress SET epoch = 0, spool = ''", database="kept")
    async with house(tmp_path / "b", database=as_convod(address, "b")) as b:
        assert b.manager.find(session.id) is None
        async with house(tmp_path / "a", database=as_convod(address, "a")) as a:
            again = a.manager.find(session.id)
            await again.end()
            await (await reader_at(b, session.id)).until_state(DONE)


@pytest.mark.parametrize(("new_s", "stays"), [(600.0, True), (0.0, False)])
async def test_audio_of_a_session_that_another_convod_is_just_creating_stays(
    postgres, tmp_path, monkeypatch, new_s, stays
):
    monkeypatch.setattr("convod.store.spool.NEW_S", new_s)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "0000000000new.audio").write_bytes(b"audio")
    async with house(tmp_path, database=as_convod(postgres.emptied(), "a")) as a:
        assert list(a.spool.sessions()) == ["0000000000new"] * stays


@pytest.mark.parametrize(
    ("state", "kind", "seen", "code"),
    [
        (State.TRANSCRIBED, "live", State.COMPLETED, None),
        (State.PROCESSING, "live", State.FAILED, Code.AUDIO_ELSEWHERE),
        (State.PENDING, "file", State.FAILED, Code.AUDIO_ELSEWHERE),
    ],
)
async def test_what_is_left_without_its_audio_is_ended(postgres, tmp_path, state, kind, seen, code):
    address = postgres.emptied()
    config = CreateSession(kind=kind, summary=SummaryOptions(mode="final"))
    left = Record(
        id="0000000000left", owner="me", kind=kind, title="t", state=state, created=1.0, config=config, kept_bytes=9
    )
    async with house(tmp_path / "a", database=as_convod(address, "gone")) as a:
        await a.store.create(left)
    async with house(tmp_path / "b", database=as_convod(address, "b"), audio_grace_s=0.5) as b:
        reader = await reader_at(b, left.id)
        event = await reader.until_state(seen)
        assert event.code == code
        assert code is None or "send it again" in event.message
        if seen is State.COMPLETED:  # its summary needs no audio
            await reader.until(lambda event: isinstance(event, FinalSummary))


async def test_one_that_is_deleted_elsewhere_stops_and_its_audio_goes(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        session = await a.live()
        a.send(session, talk(1))
        await session.finalize()
        await b.manager.delete("me", session.id)
        await session.wait_finished()
        await until(lambda: not a.spool.path(session.id).exists())
        with pytest.raises(Refused, match="there is no session"):
            await a.manager.journal("me", session.id)


async def test_files_are_paused_at_all_of_them(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        for paused in (True, False):
            await a.manager.pause("me", paused)
            await until(lambda: b.manager.queue("me")[1] == paused)  # noqa: B023


async def test_audio_is_refused_where_another_convod_may_write_it_too(tmp_path):
    async with house(tmp_path, may_append=lambda: False) as home:
        session = await home.live()
        with pytest.raises(Refused, match="attach again") as error:
            home.send(session, talk(1))
        assert error.value.code is Code.BUSY
        with pytest.raises(Refused, match="was not taken"):
            await session.end()
