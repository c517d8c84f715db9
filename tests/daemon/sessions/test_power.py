"""Audio is deleted only after what makes it needless survives a power cut."""

from __future__ import annotations

import pytest
import trio

from convo.messages import CreateSession, Retranscribe, State
from convod.sessions.audio_recovery import claim_audio
from convod.sessions.limits import LimitSettings
from convod.store import Record, StoreFailed
from tests.daemon.support.house import House, Reader, house
from tests.daemon.support.talk import talk


def watched(home: House, monkeypatch) -> list[tuple[str, str]]:
    """What is stored so that it lasts, and what is deleted, in their order."""
    seen: list[tuple[str, str]] = []
    save, create, delete, flush, remove = (
        home.store.save, home.store.create, home.store.delete, home.store.flush, home.spool.remove,
    )  # fmt: skip

    async def saved(record, events=(), *, durable=False, **how):
        await save(record, events, durable=durable, **how)
        if durable:
            seen.append(("lasts", str(record.state)))

    async def created(record, *, durable=False, most=0):
        seen.append(("created", "lasts" if durable else ""))
        return await create(record, durable=durable, most=most)

    async def deleted(session):
        seen.append(("deleted", session))
        await delete(session)

    async def flushed():
        seen.append(("flushed", ""))
        await flush()

    def removed(session, owner=None, *, durable=False):
        seen.append(("removed", "lasts" if durable else ""))
        remove(session, owner, durable=durable)

    for name, new in {"save": saved, "create": created, "delete": deleted, "flush": flushed}.items():
        monkeypatch.setattr(home.store, name, new)
    monkeypatch.setattr(home.spool, "remove", removed)
    return seen


async def test_audio_goes_when_the_last_words_are_safe(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path) as home:
        seen = watched(home, monkeypatch)
        session = await home.live()
        home.send(session, talk(1))
        await session.end()
        await session.wait_finished()
    assert seen[-2:] == [("lasts", "completed"), ("removed", "")]


async def test_audio_goes_when_it_is_safe_that_the_session_was_cancelled(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path) as home:
        seen = watched(home, monkeypatch)
        session = await home.live()
        home.send(session, talk(1))
        session.cancel()
        await session.wait_finished()
    assert seen[-2:] == [("lasts", "cancelled"), ("removed", "")]


async def test_audio_goes_when_it_is_safe_that_the_session_failed(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path, limits=LimitSettings(upload_bytes=10)) as home:
        seen = watched(home, monkeypatch)
        session = await home.create(CreateSession(kind="file"))
        with pytest.raises(Exception, match="upload_bytes"):
            home.send(session, bytes(20))
        await session.wait_finished()
    assert seen[-2:] == [("lasts", "failed"), ("removed", "")]


async def test_a_full_disk_gets_the_room_of_audio_that_nobody_wants(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await reader.until_state(State.PENDING)
        save = home.store.save

        async def saved(record, events=(), **how):
            if home.spool.used:
                raise StoreFailed("the disk is full")
            await save(record, events, **how)

        monkeypatch.setattr(home.store, "save", saved)
        session.cancel()
        with trio.fail_after(1):
            await reader.until_state(State.CANCELLED)


async def test_audio_of_a_deleted_session_goes_first_and_both_are_gone_for_good(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path, keep_audio=True) as home:
        session = await home.live()
        home.send(session, talk(1))
        await session.end()
        await session.wait_finished()
        seen = watched(home, monkeypatch)
        writes = []
        write = home.store.database.write

        async def wrote(work, *, durable=False):
            writes.append(durable)
            return await write(work, durable=durable)

        monkeypatch.setattr(home.store.database, "write", wrote)
        await home.manager.delete("me", session.id)
    assert seen == [("removed", "lasts"), ("deleted", session.id)]
    assert writes[0]


async def test_audio_that_a_killed_daemon_left_goes_when_the_end_of_its_session_is_safe(
    tmp_path, monkeypatch, autojump_clock
):
    about = {"owner": "me", "kind": "live", "title": "", "created": 1.0}
    async with house(tmp_path) as home:
        record = Record(
            id="1234567890", state=State.COMPLETED, config=CreateSession(kind="live", keep_audio=False), **about
        )
        await home.store.create(record)
        home.spool.open(record.id).close()
    async with house(tmp_path) as home:  # whose manager has looked at the spool before
        home.spool.open(record.id).close()
        seen = watched(home, monkeypatch)
        await claim_audio(home.store, home.spool, set())
    assert seen == [("flushed", ""), ("removed", "")]


async def test_audio_that_is_transcribed_anew_is_there_for_good(tmp_path, monkeypatch, autojump_clock):
    async with house(tmp_path, keep_audio=True) as home:
        session = await home.live()
        home.send(session, talk(1))
        await session.end()
        await session.wait_finished()
        seen = watched(home, monkeypatch)
        await home.manager.retranscribe("me", "me", Retranscribe(session=session.id))
        assert ("created", "lasts") in seen
