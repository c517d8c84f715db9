"""What only PostgreSQL has: a server that goes and comes back, refuses people, and may be shared."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import psycopg
import pytest
import trio

from convo.messages import (
    CreateSession,
    FinalSummary,
    Mark,
    SegmentCorrected,
    SpeakerRenamed,
    State,
    TranscriptSegment,
)
from convod.store import (
    AlreadyStored,
    InDoubt,
    Record,
    SessionStore,
    StoreAway,
    StoredVoice,
    StoreFailed,
    Usage,
    database_at,
)
from convod.store.postgres import PostgresDatabase
from convod.store.sql import migrations
from tests.support.postgres import lose_at_commit


@asynccontextmanager
async def opened(address, usage=None):
    database = PostgresDatabase(address)
    database.open()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.run)
            yield SessionStore(database, usage)
            nursery.cancel_scope.cancel()
    finally:
        database.close()


def record(name: str = "one", **fields) -> Record:
    about = {"id": f"0000000000{name}", "owner": "me", "kind": "live", "title": name, "created": 1.0, **fields}
    return Record(state=State.PENDING, config=CreateSession(kind="live"), **about)


def segment(of: Record, text: str) -> TranscriptSegment:
    return TranscriptSegment(
        session=of.id, seq=of.seq + 1, segment=of.segments, start=0.0, end=1.0, text=text, language="en",
        confidence=0.5, lag_ms=1.0,
    )  # fmt: skip


def summary(of: Record, text: str) -> FinalSummary:
    return FinalSummary(
        session=of.id, seq=of.seq + 1, provider="p", model="m", title="t", summary=text, key_points=[],
        action_items=[], keywords=[], language="en",
    )  # fmt: skip


# --- gone and back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_was_started_again_is_not_even_noticed(postgres, how):
    address = postgres.emptied()
    async with opened(address) as store:
        one = await store.create(record())
        await store.search("me", "x", 1)
        postgres.signal(how)
        postgres.start()
        assert await store.get(one.id) == one  # SIGQUIT is a crash: what was told is there
        await store.save(one, [segment(one, "hello")])
        assert len(await store.search("me", "hello", 1)) == 1
        assert store.trouble is None


async def test_while_a_server_is_away_that_is_told_and_it_comes_back_by_itself(postgres):
    address = postgres.emptied()
    async with opened(address) as store:
        one = await store.create(record())
        postgres.signal(signal.SIGINT)
        for call in (
            lambda: store.save(one, [segment(one, "hello")]),
            lambda: store.get(one.id),
            lambda: store.search("me", "x", 1),
            store.flush,
            store.probe,
        ):
            if call == store.probe:
                await call()
            else:
                with pytest.raises(StoreAway, match=r"cannot be reached .*; start it") as error:
                    await call()
                assert "\n" not in str(error.value)
            assert store.trouble is not None
        postgres.start()
        await store.probe()
        assert store.trouble is None
        await store.save(one, [segment(one, "hello")])
        assert len(await store.events(one.id, 0, 10)) == 1


async def test_what_was_committed_though_nobody_knew_is_found_and_stays(postgres):
    address = postgres.emptied()
    usage = Usage()
    async with opened(address, usage) as store:
        one = await store.create(record())
        said = [segment(one, "unknown words"), Mark(session=one.id, seq=2, time=1.0, text="m")]
        one.segments = 1
        lose_at_commit(store.database)
        with pytest.raises(InDoubt):
            await store.save(one, said)
        another = Mark(session=one.id, seq=1, time=2.0, text="another")
        with pytest.raises(AlreadyStored):  # and this is not written
            await store.save(one, [another], in_doubt=said)
        assert await store.events(one.id, 0, 10) == said
        assert (await store.used())["me"] == usage.of("me")
        assert len(await store.search("me", "unknown", 5)) == 1
        # One that is over was leased to nobody by that very commit.
        one.seq, one.state = 2, State.COMPLETED
        last = [Mark(session=one.id, seq=3, time=2.0, text="last")]
        lose_at_commit(store.database)
        with pytest.raises(InDoubt):
            await store.save(one, last)
        with pytest.raises(AlreadyStored):
            await store.save(one, last, in_doubt=last)


async def test_what_was_not_committed_is_written_by_who_was_in_doubt(postgres):
    async with opened(postgres.emptied()) as store:
        one = await store.create(record())
        lost = [Mark(session=one.id, seq=1, time=1.0, text="lost")]
        lose_at_commit(store.database, committed=False)
        with pytest.raises(InDoubt):
            await store.save(one, lost)
        await store.save(one, lost, in_doubt=lost)
        assert await store.events(one.id, 0, 10) == lost


async def test_who_waits_behind_one_that_gets_no_answer_does_not_wait_as_long_again(monkeypatch):
    now, tries = 0.0, 0

    def silent(connection) -> bool:
        nonlocal now, tries
        now, tries = now + 5.0, tries + 1
        raise psycopg.OperationalError("timeout expired")

    monkeypatch.setattr("convod.store.postgres.time.monotonic", lambda: now)
    database = PostgresDatabase("postgresql://ann@host/db")
    monkeypatch.setattr("convod.store.postgres_connection.PostgresConnection.open", silent)
    store = SessionStore(database)
    for moment, tried in ((0.0, 1), (6.0, 1), (9.9, 1), (10.1, 2), (16.0, 2)):
        now = moment
        with pytest.raises(StoreAway, match="timeout expired"):
            await store.newest("me")
        assert tries == tried, moment


# --- refused ----------------------------------------------------------------------------------------------------


def refused(address: str) -> str:
    with pytest.raises(StoreFailed) as error:
        PostgresDatabase(address).open()
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_opened_is_one_sentence(postgres):
    ours = postgres.empty()
    postgres.run("CREATE ROLE guest LOGIN", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "createdb" in refused(postgres.address("nowhere"))
    assert "pg_hba.conf" in refused(ours.replace("convo@", "stranger:secret@"))
    assert "GRANT" in refused(ours.replace("convo@", "guest:secret@"))
    assert "UTF8" in refused(postgres.address("latin"))
    assert "cannot be reached" in refused("postgresql://ann:secret@127.0.0.1:9/db")
    for wrong in (
        "postgresql://ann:x@secret@h:1/db",
        "postgresql://ann:12/secret@h/db",
        "postgresql://ann:secret/x@h/db",
        "postgresql://h/db?secret=1",
        "postgresql://%zz:secret@h",
    ):
        assert "is no address" in refused(wrong)
    database = PostgresDatabase(ours)
    database.open()
    database.close()
    postgres.run("INSERT INTO versions VALUES (999)", database=ours.rpartition("/")[2])
    assert "newer convod" in refused(ours)


def test_tables_are_made_once_and_numbered(postgres):
    address = postgres.empty()
    for _ in range(2):
        database = PostgresDatabase(address)
        database.open()
        found = database.writer.execute("SELECT max(version), count(*) FROM versions").fetchone()
        assert found == (len(migrations("migrations_postgres")),) * 2
        database.close()


def test_tables_may_take_as_long_as_they_need(postgres, monkeypatch):
    limit = "CREATE TABLE seen AS SELECT current_setting('statement_timeout') AS set"
    monkeypatch.setattr("convod.store.postgres.migrations", lambda folder: [*migrations(folder), limit])
    database = PostgresDatabase(postgres.empty())
    database.open()
    assert database.writer.execute("SELECT set FROM seen").fetchone() == ("0",)
    assert database.writer.execute("SHOW statement_timeout").fetchone() != ("0",)
    database.close()


async def test_texts_that_were_stored_before_have_a_word_for_their_age(postgres):
    address = postgres.empty()
    async with opened(address) as store:
        await store.create(one := record())
        texts = [segment(one, "A red kettle.")]
        await store.save(one, texts)

    def words() -> str:
        with psycopg.connect(address, autocommit=True) as plain:
            return plain.execute("SELECT words FROM lines").fetchone()[0]

    now = words()
    name = address.rpartition("/")[2]
    postgres.run("UPDATE lines SET words = ts_delete(words, chr(2) || '0')", database=name)
    postgres.run("DELETE FROM versions WHERE version >= 6", database=name)
    assert words() != now
    async with opened(address) as store:
        assert [hit.text for hit in await store.search("me", "red kettle", 5)] == ["A red kettle."]
    assert words() == now


CONDITIONS = [
    ("53100", "could not extend file: No space left on device", "make room"),
    ("25006", "cannot execute INSERT in a read-only transaction", "takes writes"),
    ("42501", "permission denied for table notes", "GRANT"),
    ("58030", "could not write block", "disk"),
    ("XX001", "invalid page in block 7", "restore a backup"),
    ("53200", "out of memory", "memory"),
    ("55P03", "lock not available", "try again"),
]


async def test_what_the_server_refuses_is_one_sentence_and_goes_on_afterwards(postgres):
    with postgres.fresh() as address:
        name = address.rpartition("/")[2]
        async with opened(address) as store:
            one = await store.create(record())
            for state, message, todo in CONDITIONS:
                postgres.run(
                    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
                    f"USING ERRCODE = '{state}', MESSAGE = '{message}'; END $$",
                    "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON events EXECUTE FUNCTION refuse()",
                    database=name,
                )
                with pytest.raises(StoreFailed, match=todo) as error:
                    await store.save(one, [segment(one, "hello")])
                assert message in str(error.value)
                assert store.trouble == str(error.value)
                postgres.run("DROP TRIGGER refuse ON events", database=name)
                await store.save(one, [segment(one, "hello")])
                one.seq, one.segments = one.seq + 1, one.segments + 1
                assert store.trouble is None


async def test_a_standby_or_a_database_that_is_read_only_is_told(postgres):
    with postgres.fresh() as address:
        name = address.rpartition("/")[2]
        async with opened(address) as store:
            postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            store.database.writer.close()
            with pytest.raises(StoreFailed, match="takes writes, not a standby"):
                await store.create(record())
            assert await store.newest("me") == []


# --- alone -----------------------------------------------------------------------------------------------------


async def test_nobody_moves_it_meanwhile_and_a_connection_that_the_server_does_not_miss_is_ended(postgres, monkeypatch):
    monkeypatch.setattr("convod.store.postgres.LOCK_S", 0.1)
    address = postgres.emptied()
    async with opened(address) as store:
        with pytest.raises(StoreFailed, match="stop it first"):
            PostgresDatabase(address, alone=True).open()
        # As where the link is cut: our end is gone, and the server's is not.
        monkeypatch.setattr("convod.store.postgres.LOCK_S", 10.0)
        lost, store.database.writer.raw = store.database.writer.raw, None
        await store.create(record())
        lost.close()
    again = PostgresDatabase(address)
    again.open()
    again.close()


async def test_deleted_words_are_in_no_page_of_a_table_any_more(postgres):
    with postgres.fresh() as address:
        postgres.run("CREATE EXTENSION pageinspect", database=address.rpartition("/")[2])
        async with opened(address) as store:
            one = await store.create(record())
            for text in ("xyzzy plugh", "秘密の会議"):
                await store.save(one, [segment(one, text)])
                one.seq, one.segments = one.seq + 1, one.segments + 1
            for event in (
                SegmentCorrected(session=one.id, seq=3, segment=0, text="another secret", by="user"),
                SpeakerRenamed(session=one.id, seq=4, speaker=1, name="Ann", by="user"),
                Mark(session=one.id, seq=5, time=1.0, text="here"),
            ):
                await store.save(one, [event], deliver=event.seq)
                one.seq = event.seq
            await store.put_voice("me", StoredVoice(name="Ann", model="m", created=1.0, seconds=9.0, vector=b"v"), 9)
            assert await pages(store)
            assert await store.delete_voice("me", "Ann")
            await store.delete(one.id)
            assert await pages(store) == 0
            assert await store.database.read(lambda one: one.execute("SELECT * FROM chores").fetchall()) == []


async def pages(store: SessionStore) -> int:
    """Versions of rows that are in the pages of tables, dead or alive."""

    def work(connection) -> int:
        count = 0
        for table in (
            "sessions", "configs", "progress", "events", "annotations", "speakers", "voices", "lines", "deliveries"
        ):  # fmt: skip
            size = connection.execute("SELECT pg_relation_size(?) / 8192", (table,)).fetchone()[0]
            for page in range(size):
                rows = "heap_page_items(get_raw_page(?, ?)) WHERE t_data IS NOT NULL"
                count += connection.execute(f"SELECT count(*) FROM {rows}", (table, page)).fetchone()[0]
        return count

    return await store.database.read(work)


def test_an_address_is_needed_and_a_client(monkeypatch, tmp_path):
    with pytest.raises(StoreFailed, match="expected postgresql://"):
        database_at("mysql://ann:secret@h/db", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "convod.store.postgres", None)
    with pytest.raises(StoreFailed, match=r"convo\[cluster\]"):
        database_at("postgresql://h/db", tmp_path)
