"""Several convods on one database: who may write which session, who is alive, what they tell each other."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from convo.messages import CreateSession, Mark, SessionRenamed, State, SummaryOptions
from convod.store import LeaseLost, Member, Note, Record, Refining, SessionStore, StoreFailed
from convod.store.postgres import PostgresDatabase


@asynccontextmanager
async def convod(address: str, home: str, spool: str = "", lease_s: float = 30.0):
    database = PostgresDatabase(address, member=Member(home, spool or f"spool of {home}", lease_s))
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield SessionStore(database)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


@asynccontextmanager
async def two(postgres, **fields):
    address = postgres.emptied()
    async with convod(address, "a", **fields) as a, convod(address, "b", **fields) as b:
        yield a, b


def record(**fields) -> Record:
    about = {"id": "0000000000one", "owner": "me", "kind": "live", "title": "one", "created": 1.0, **fields}
    return Record(**{"state": State.PENDING, "config": CreateSession(kind="live"), **about})


def mark(of: Record, text: str = "here") -> Mark:
    return Mark(session=of.id, seq=of.seq + 1, time=1.0, text=text)


async def test_only_the_convod_that_works_on_a_session_writes_it(postgres):
    async with two(postgres) as (a, b):
        one = await a.create(record())
        await a.save(one, [mark(one)])
        there = await b.get(one.id)
        for refused in (lambda: b.save(there, [mark(there)]), lambda: b.leases.lease(one.id)):
            with pytest.raises(LeaseLost, match="another convod"):
                await refused()
        assert len(await b.events(one.id, 0, 10)) == 1
        assert await b.leases.lease("0000000000none") is None


async def test_one_that_is_over_is_written_by_any_of_them_in_turn(postgres):
    async with two(postgres) as (a, b):
        one = await a.create(record())
        one.state = State.COMPLETED
        await a.save(one)
        for store in (b, a, b):
            with pytest.raises(LeaseLost):
                await store.save(one, [mark(one)])  # not without a look at what it is by now
            one = await store.leases.lease(one.id)
            await store.save(one, [mark(one)])
        assert [event.seq for event in await a.events(one.id, 0, 10)] == [1, 2, 3]
        # While one of them writes a summary of it or hears it again, that one alone.
        one = await a.leases.lease(one.id)
        for one.asked, one.refining in (([SummaryOptions()], None), ([], Refining(model="m", below=0.5))):
            await a.save(one)
            with pytest.raises(LeaseLost):
                await b.leases.lease(one.id)


async def test_a_dead_convods_session_is_taken_over_once_and_fenced(postgres):
    address = postgres.emptied()
    async with AsyncExitStack() as stack:
        b, c = [await stack.enter_async_context(convod(address, home)) for home in "bc"]
        async with convod(address, "a") as a:
            one = await a.create(record())
            (held,) = await b.leases.of_others()
            assert (held.session, held.alive, held.home, held.final) == (one.id, True, "a", False)
            await lose_connection(a, postgres)
            (held,) = await b.leases.of_others()
            assert not held.alive
            taken: list[Record | None] = []

            async def take(store):
                taken.append(await store.leases.take_over(held))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take, b)
                nursery.start_soon(take, c)
            assert sorted(taken, key=bool) == [None, one]
            with pytest.raises(LeaseLost):  # it wakes up
                await a.save(one, [mark(one)])
            assert {held.alive for store in (a, b, c) for held in await store.leases.of_others()} == {True}


async def lose_connection(store: SessionStore, postgres) -> None:
    """End the server's process for a convod, as after a cut of the network; it is gone when this returns."""
    pid = store.database.writer.pid
    postgres.run(f"SELECT pg_terminate_backend({pid}, 10000)")


async def test_a_convod_that_comes_back_in_time_keeps_its_sessions(postgres):
    async with two(postgres) as (a, b):
        one = await a.create(record())
        before = a.leases.joins
        await lose_connection(a, postgres)
        (seen,) = await b.leases.of_others()
        await a.save(one, [mark(one)])
        assert a.leases.joins == before + 1
        assert (seen.alive, await b.leases.take_over(seen)) == (False, None)
        (held,) = await b.leases.of_others()
        assert (held.alive, held.epoch) == (True, a.leases.epoch)


async def test_a_convod_that_hangs_is_dead_to_the_others(postgres):
    async with two(postgres, lease_s=0.3) as (a, b):
        await a.create(record())
        assert a.leases.valid
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(a.database.writer.fileno)  # it is closed from there
        assert not a.leases.valid
        (held,) = await b.leases.of_others()
        assert not held.alive
        renew = await a.leases.beat()
        assert not a.leases.valid
        renew()
        assert a.leases.valid


async def test_two_that_get_the_same_key_at_once_find_one_session(postgres):
    async with two(postgres) as (a, b):
        found: list[str] = []

        async def create(store, name):
            found.append((await store.create(record(id=f"0000000000{name}", key="k"))).id)

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(create, a, "one")
                nursery.start_soon(create, b, "two")
            assert len(set(found)) == 1
            await a.delete(found[0])
            found.clear()


async def test_they_tell_each_other_what_they_change(postgres):
    async with two(postgres) as (a, b), trio.open_nursery() as nursery:
        notes, began = [], trio.Event()
        send, receive = trio.open_memory_channel(10)
        nursery.start_soon(b.leases.listen, began.set, send.send_nowait)
        with trio.fail_after(30):
            await began.wait()
            one = await a.create(record())
            await a.save(one, [mark(one)])
            await b.save(await b.create(record(id="0000000000two")))  # its own are no news
            await a.pause("me", True)
            await a.delete(one.id)
            notes = [await receive.receive() for _ in range(3)]
        assert notes == [Note(one.id, 1), Note("", 0), Note(one.id, -1)]
        assert await b.leases.positions([one.id, "0000000000two"]) == {"0000000000two": (0, b.leases.epoch)}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("spool", "removed"), [("", ["0000000000one"]), ("shared", [])])
async def test_audio_of_a_deleted_session_is_deleted_where_it_is(postgres, spool, removed):
    async with two(postgres, spool=spool) as (a, b):
        one = await a.create(record(kept_bytes=7))
        assert (await a.leases.kept(), await b.leases.kept()) == ({one.id: 7}, {})
        await b.delete(one.id)
        assert await a.leases.removed() == removed
        for session in removed:
            await a.leases.forget_removed(session)
        assert await a.leases.removed() == await b.leases.removed() == []


async def test_a_copy_of_a_state_directory_is_refused(postgres, monkeypatch):
    monkeypatch.setattr("convod.store.postgres.LOCK_S", 0.1)
    async with two(postgres):
        with pytest.raises(StoreFailed, match="copy of this state directory"):
            PostgresDatabase(postgres.emptied(), member=Member("a", "x")).open()


async def test_a_summary_that_was_asked_for_is_left_to_others_too(postgres):
    address = postgres.emptied()
    async with convod(address, "b") as b:
        async with convod(address, "a") as a:
            one = await a.create(record(state=State.COMPLETED, asked=[SummaryOptions()]))
            await a.save(one, [SessionRenamed(session=one.id, seq=1, title="x")])
            await a.create(record(id="0000000000two", state=State.COMPLETED))
        (held,) = await b.leases.of_others()
        assert (held.session, held.final, held.alive) == (one.id, True, False)
