"""A store that takes nothing: requests are answered in words, nothing of them is left behind, and all goes on after."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio

from convo.messages import CreateSession, Mark, Retranscribe, SessionState, State, SummaryOptions
from convod.sessions import Refused
from convod.store import SpoolFailed, StoreFailed
from tests.daemon.support.house import House, Reader, house
from tests.daemon.support.talk import talk

ANSWER_S = 1.0
"""Virtual seconds within which everybody has an answer."""


class Disk:
    """Takes nothing as long as `broken`."""

    def __init__(self, home: House, monkeypatch) -> None:
        self.broken = True
        save = home.store.save
        create = home.store.create
        delete = home.store.delete

        def failing(call):
            async def called(*args, **options):
                if self.broken:
                    raise StoreFailed("it cannot be written (disk I/O error); look at its disk")
                return await call(*args, **options)

            return called

        for name, call in {"save": save, "create": create, "delete": delete}.items():
            monkeypatch.setattr(home.store, name, failing(call))


async def finished(home: House) -> str:
    session = await home.live(keep_audio=True)
    reader = Reader(session.feed)
    home.send(session, talk(1))
    await session.end()
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    return session.id


REQUESTS: dict[str, Callable[[House, str], Awaitable[object]]] = {
    "add_mark": lambda home, session: _mark(home, session),
    "rename": lambda home, session: home.manager.update("me", session, "new", None),
    "summarize": lambda home, session: home.manager.summarize("me", session, SummaryOptions()),
    "delete": lambda home, session: home.manager.delete("me", session),
    "create": lambda home, session: home.live(),
}


async def _mark(home: House, session: str) -> None:
    journal = await home.manager.journal("me", session)
    await journal.publish(Mark, wait=False, time=1.0, text="here")


@pytest.mark.parametrize("request_", REQUESTS)
async def test_a_request_is_refused_and_leaves_nothing(tmp_path, autojump_clock, monkeypatch, request_):
    async with house(tmp_path) as home:
        session = await finished(home)
        journal = await home.manager.journal("me", session)
        before, seq = await home.store.get(session), journal.feed.seq
        disk = Disk(home, monkeypatch)
        with trio.fail_after(ANSWER_S), pytest.raises(StoreFailed):
            await REQUESTS[request_](home, session)
        assert journal.record == before == await home.store.get(session)
        assert journal.feed.seq == seq
        assert len(await home.store.newest(None)) == 1
        disk.broken = False
        await REQUESTS[request_](home, session)


async def test_requests_do_not_wait_for_a_session_that_waits(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await reader.until_state(State.PROCESSING)
        disk = Disk(home, monkeypatch)
        home.send(session, talk(1))
        await trio.sleep(5)  # a segment is to be stored
        for request in ("add_mark", "rename", "delete"):
            with trio.fail_after(ANSWER_S), pytest.raises(StoreFailed, match="look at its disk"):
                await REQUESTS[request](home, session.id)
            if request == "add_mark":
                with trio.fail_after(ANSWER_S), pytest.raises(StoreFailed):
                    await session.end()
                assert session.takes_audio
        disk.broken = False
        await reader.until_state(State.CANCELLED)  # as the deletion wanted it
        with trio.fail_after(ANSWER_S):
            await home.manager.delete("me", session.id)
        seqs = [event.seq for event in reader.events if hasattr(event, "seq")]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_a_request_that_waits_its_turn_is_refused_when_that_does_not_come(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.live()
        await Reader(session.feed).until_state(State.PENDING)
        gate = trio.Event()

        async def saved(record, events=(), **how):
            await gate.wait()
            raise StoreFailed("the disk is full")

        monkeypatch.setattr(home.store, "save", saved)
        refused = []

        async def mark() -> None:
            try:
                await _mark(home, session.id)
            except StoreFailed as error:
                refused.append(str(error))

        home.send(session, talk(1))
        async with trio.open_nursery() as nursery:
            await trio.sleep(1)  # the session stores that it has begun
            nursery.start_soon(mark)
            await trio.sleep(1)
            gate.set()
        assert refused == ["the disk is full"]


async def test_an_end_that_was_not_stored_can_be_said_again(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file", summary=SummaryOptions(mode="off")))
        await Reader(session.feed).until_state(State.PENDING)
        home.send(session, b"no audio")
        disk = Disk(home, monkeypatch)
        with trio.fail_after(ANSWER_S), pytest.raises(StoreFailed):
            await session.end()
        disk.broken = False
        await session.end()
        record = await home.store.get(session.id)
        assert record is not None
        assert record.ended


@pytest.mark.parametrize("number", [5, 28, 30])
async def test_audio_that_the_disk_does_not_take_is_refused_and_sent_again(
    tmp_path, autojump_clock, monkeypatch, number
):
    async with house(tmp_path) as home:
        session = await home.live()
        other = await home.live()
        reader = Reader(session.feed)
        pwrite = os.pwrite

        def refuse(descriptor, data, at):
            if os.readlink(f"/proc/self/fd/{descriptor}") == str(home.spool.path(session.id)):
                raise OSError(number, os.strerror(number))
            return pwrite(descriptor, data, at)

        monkeypatch.setattr(os, "pwrite", refuse)
        with pytest.raises(Refused, match="send again from offset 0") as refused:
            home.send(session, talk(1))
        assert refused.value.code == "busy"
        assert home.manager.why_not_stored()
        home.send(other, talk(1))
        monkeypatch.setattr(os, "pwrite", pwrite)
        await trio.sleep(6)  # it is looked whether the disk is well again
        assert home.manager.why_not_stored() is None
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 1


async def test_an_end_that_was_sent_behind_audio_that_was_not_taken_is_refused_with_it(
    tmp_path, autojump_clock, monkeypatch
):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        sound = talk(1)
        home.send(session, sound[:32000])
        pwrite = os.pwrite

        def refuse(*args):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pwrite", refuse)
        with pytest.raises(Refused, match="send again from offset 32000"):
            session.audio(home.producer, 32000, sound[32000:64000])
        monkeypatch.setattr(os, "pwrite", pwrite)
        # What the client had sent by the time it was told.
        with pytest.raises(Refused, match="audio is missing"):
            session.audio(home.producer, 64000, sound[64000:])
        with pytest.raises(Refused, match="audio from offset 32000 on was not taken") as refused:
            await session.end()
        assert refused.value.code == "busy"
        assert session.takes_audio
        session.audio(home.producer, 32000, sound[32000:])
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 1


async def test_whoever_attaches_anew_knows_what_was_taken_and_may_end_there(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *args: 0)
            with pytest.raises(Refused, match="no room"):
                session.audio(home.producer, session.audio_offset, bytes(64))
        session.produce(home.producer)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 1


async def test_audio_that_cannot_be_read_fails_its_session_and_is_kept(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        await reader.until_state(State.PENDING)
        pread = os.pread

        def refuse(*args):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", refuse)
        home.send(session, talk(2), piece=64000)
        failed: SessionState = await reader.until_state(State.FAILED)
        assert failed.code == "internal"
        assert "could not be read (Input/output error)" in (failed.message or "")
        await session.wait_finished()
        assert home.spool.size(session.id) == len(talk(2))
        monkeypatch.setattr(os, "pread", pread)
        await home.manager.retry("me", session.id)
        reader = Reader((await home.manager.running("me", session.id)).feed)
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 2


async def test_audio_that_cannot_be_deleted_keeps_its_session(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await finished(home)
        remove = home.spool.remove

        def refuse(session, owner, *, durable=False):
            raise SpoolFailed(30, "the audio could not be deleted (Read-only file system)")

        monkeypatch.setattr(home.spool, "remove", refuse)
        with pytest.raises(StoreFailed, match="could not be deleted"):
            await home.manager.delete("me", session)
        assert await home.store.get(session) is not None
        monkeypatch.setattr(home.spool, "remove", remove)
        await home.manager.delete("me", session)
        assert await home.store.get(session) is None


async def test_a_session_that_was_promised_begins_when_its_audio_can_be_opened(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await finished(home)
        opened = home.spool.open

        def refuse(session, owner):
            raise SpoolFailed(5, "the audio's file could not be opened (Input/output error)")

        monkeypatch.setattr(home.spool, "open", refuse)
        new = await home.manager.retranscribe("me", "me", Retranscribe(session=session))
        with pytest.raises(Refused, match="cannot be opened now"):
            await home.manager.running("me", new)
        monkeypatch.setattr(home.spool, "open", opened)
        reader = Reader((await home.manager.journal("me", new)).feed)
        await reader.until_state(State.COMPLETED)


async def test_what_is_being_stored_is_not_told_yet(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.live(summary="off")
        save, stored, may = home.store.save, trio.Event(), trio.Event()

        async def slow(record, events, **options):
            if any(isinstance(event, SessionState) and event.state is State.COMPLETED for event in events):
                stored.set()
                await may.wait()
            await save(record, events, **options)

        monkeypatch.setattr(home.store, "save", slow)
        home.send(session, talk(1))
        await session.end()
        await stored.wait()
        journal = await home.manager.journal("me", session.id)
        (listed,) = await home.store.newest(None)
        assert journal.info == listed
        assert listed.state is not State.COMPLETED
        may.set()
        await session.wait_finished()
        (listed,) = await home.store.newest(None)
        assert journal.info == listed
        assert listed.state is State.COMPLETED
