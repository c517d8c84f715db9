"""Hooks of several convods on one PostgreSQL: each end is told by one of them, also after it died."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager

import pytest
import trio

from convo.messages import CreateSession, SessionState, State
from convod.hooks import Hooks, HookSettings
from convod.store import Member, Record, SessionStore
from convod.store.postgres import PostgresDatabase
from tests.fakes.httpserver import serving
from tests.support.until import until


class Convod:
    def __init__(self, hooks: Hooks, store: SessionStore) -> None:
        self.hooks = hooks
        self.store = store

    async def ends(self, session: str) -> None:
        config = CreateSession(id=0, kind="file")
        record = Record(
            id=session, owner="me", kind="file", title="t", state=State.COMPLETED, created=1.0, config=config
        )
        await self.store.create(record)
        end = SessionState(session=session, seq=1, state=State.COMPLETED)
        await self.store.save(record, [end], deliver=end.seq)
        self.hooks.stored(end)


@asynccontextmanager
async def convod(address: str, home: str, **settings):
    database = PostgresDatabase(address, member=Member(home, home, lease_s=1.0))
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            store = SessionStore(database)
            hooks = Hooks(HookSettings(**settings), store)
            nursery.start_soon(database.run)
            nursery.start_soon(hooks.run)
            yield Convod(hooks, store)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


@pytest.fixture
def secret(tmp_path) -> str:
    file = tmp_path / "secret"
    file.write_text(base64.b64encode(bytes(32)).decode())
    return str(file)


async def waiting(store: SessionStore) -> int:
    """Ends that nobody has told yet."""
    sql = "SELECT count(*) FROM deliveries"
    return await store.database.read(lambda connection: connection.execute(sql).fetchone()[0])


@pytest.mark.parametrize("name", ["b", "a"], ids=["another convod", "its next start"])
async def test_what_a_convod_that_died_has_not_told_is_told_once_by_another(postgres, tmp_path, secret, name):
    got = []

    async def receive(request, reply) -> None:
        got.append(request.headers["webhook-id"])
        await reply.send(204, b"")

    address = postgres.emptied()
    nowhere = {"url": "http://127.0.0.1:9", "secret_file": secret}
    async with serving(receive) as url:
        settings = {"url": url, "secret_file": secret}
        async with convod(address, "c", **settings) as c:
            async with convod(address, "a", **nowhere) as a:
                await a.ends("one")
                await until(lambda: a.hooks.failures)
                await c.ends("two")
                await until(lambda: not c.hooks.waiting)
                assert got == ["two-1"]  # what a convod that lives is to tell is not another one's
            async with convod(address, name, **settings) as b:
                await until(lambda: len(got) > 1 and not b.hooks.waiting and not c.hooks.waiting)
                assert sorted(got) == ["one-1", "two-1"]
                assert await waiting(c.store) == 0


async def test_one_that_was_taken_for_dead_does_not_tell_what_another_has_told(postgres, tmp_path, secret, monkeypatch):
    got = []
    awake = trio.Event()

    async def receive(request, reply) -> None:
        got.append(request.headers["webhook-id"])
        await reply.send(204, b"")

    address = postgres.emptied()
    async with serving(receive) as url, convod(address, "a", url=url, secret_file=secret) as a:
        must_deliver = a.store.must_deliver

        async def when_awake(session: str, seq: int) -> bool:
            await awake.wait()
            return await must_deliver(session, seq)

        monkeypatch.setattr(a.store, "must_deliver", when_awake)
        await a.ends("one")
        async with convod(address, "b", url=url, secret_file=secret) as b:
            postgres.run(f"SELECT pg_terminate_backend({a.store.database.writer.pid}, 10000)")
            await until(lambda: got and not b.hooks.waiting)
        awake.set()
        await until(lambda: not a.hooks.waiting)
        assert got == ["one-1"]
