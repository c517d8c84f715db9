"""Audio that no session knows is kept, and one piece that cannot be read holds up nobody."""

from __future__ import annotations

import os
import shutil

import pytest
import trio

from convo.messages import CreateSession, State
from convod.sessions import Refused
from convod.sessions.registry import RESUME_S
from convod.store import SpoolFailed, StoreFailed, backup
from tests.daemon.support.house import Reader, house
from tests.daemon.support.talk import talk

UNKNOWN = "0123456789abcdef0123"


def put_audio(state, session: str = UNKNOWN, data: bytes = b"audio"):
    path = state / "spool" / f"{session}.audio"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def forget(state) -> None:
    for file in state.glob("convod.sqlite*"):
        file.unlink()


async def half_a_talk(state) -> str:
    """A session in the middle of its audio, as a killed daemon leaves it."""
    async with house(state) as home:
        session = await home.live()
        home.send(session, talk(1))
        await Reader(session.feed).until_state(State.PROCESSING)
    return session.id


async def test_audio_that_nobody_knows_is_set_aside_and_told(tmp_path, autojump_clock, caplog):
    put_audio(tmp_path)
    async with house(tmp_path) as home:
        assert list(home.spool.sessions()) == []
        assert home.spool.used == 0
        storage = home.manager.storage()
        assert storage is not None
        assert (storage.unclaimed_files, storage.unclaimed_bytes) == (1, 5)
    assert (tmp_path / "unclaimed" / f"{UNKNOWN}.audio").read_bytes() == b"audio"
    assert str(tmp_path / "unclaimed") in caplog.text
    async with house(tmp_path) as home:  # and it stays there
        assert home.spool.count_unclaimed() == (1, 5)


async def test_without_any_nothing_is_told(tmp_path, autojump_clock):
    async with house(tmp_path) as home:
        assert home.manager.storage() is None
    assert not (tmp_path / "unclaimed").exists()


async def test_what_was_set_aside_before_is_not_overwritten(tmp_path, autojump_clock):
    for data in (b"one", b"three"):
        put_audio(tmp_path, data=data)
        async with house(tmp_path):
            pass
    kept = sorted(file.read_bytes() for file in (tmp_path / "unclaimed").iterdir())
    assert kept == [b"one", b"three"]


async def test_begun_anew_and_restored_a_session_goes_on_with_its_audio(tmp_path, autojump_clock):
    session = await half_a_talk(tmp_path)
    backup(tmp_path / "convod.sqlite", tmp_path / "copy")
    forget(tmp_path)
    async with house(tmp_path) as home:
        assert home.manager.find(session) is None
        assert home.spool.count_unclaimed()[0] == 1
    forget(tmp_path)
    shutil.copyfile(tmp_path / "copy", tmp_path / "convod.sqlite")
    async with house(tmp_path) as home:
        again = home.manager.find(session)
        assert again is not None
        assert again.audio_offset == len(talk(1))
        assert home.spool.used == len(talk(1))
        assert home.manager.storage() is None
        reader = Reader(again.feed)
        await again.end()
        await reader.until_state(State.COMPLETED)
        assert reader.texts == ["sentence 0"]


async def test_a_backup_from_before_a_session_keeps_its_audio(tmp_path, autojump_clock):
    async with house(tmp_path):
        pass
    backup(tmp_path / "convod.sqlite", tmp_path / "copy")
    session = await half_a_talk(tmp_path)
    forget(tmp_path)
    shutil.copyfile(tmp_path / "copy", tmp_path / "convod.sqlite")
    async with house(tmp_path):
        pass
    assert (tmp_path / "unclaimed" / f"{session}.audio").stat().st_size == len(talk(1))


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_link(path):
    path.unlink()
    path.symlink_to(path.with_name("elsewhere"))


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [a_folder, a_link, a_pipe])
async def test_audio_that_cannot_be_opened_holds_up_nobody_and_is_tried_again(tmp_path, autojump_clock, harm):
    session = await half_a_talk(tmp_path)
    other = await half_a_talk(tmp_path)
    path = tmp_path / "spool" / f"{session}.audio"
    shutil.copyfile(path, tmp_path / "audio")
    harm(path)
    async with house(tmp_path) as home:
        found = home.manager.find(other)
        assert found is not None
        await found.end()
        await Reader(found.feed).until_state(State.COMPLETED)
        with pytest.raises(Refused, match="cannot be opened") as refused:
            await home.manager.running("me", session)
        assert refused.value.code == "busy"
        assert (await home.manager.journal("me", session)).record.state is State.PROCESSING
        path.rmdir() if harm is a_folder else path.unlink()
        os.replace(tmp_path / "audio", path)
        await trio.sleep(RESUME_S + 1)
        again = await home.manager.running("me", session)
        assert again.audio_offset == len(talk(1))


@pytest.mark.parametrize("harm", [a_folder, a_link, a_pipe])
async def test_what_is_no_audio_and_nobodys_holds_up_nobody(tmp_path, autojump_clock, harm):
    harm(put_audio(tmp_path))
    put_audio(tmp_path, "No session's name")
    session = await half_a_talk(tmp_path)
    async with house(tmp_path) as home:
        assert home.manager.find(session) is not None
        assert list(home.spool.sessions()) == [session]
        assert home.spool.count_unclaimed() == (1, 0)


async def test_audio_that_cannot_be_moved_stays(tmp_path, autojump_clock, monkeypatch, caplog):
    path = put_audio(tmp_path)
    session = await half_a_talk(tmp_path)
    put_audio(tmp_path)

    def refuse(*args):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    async with house(tmp_path) as home:
        assert home.manager.find(session) is not None
    assert path.exists()
    assert "stays as it is" in caplog.text


async def test_a_session_whose_file_cannot_be_made_is_refused_and_leaves_nothing(tmp_path, autojump_clock, monkeypatch):
    async with house(tmp_path) as home:

        def refuse(session, owner):
            raise SpoolFailed(24, "Too many open files")

        monkeypatch.setattr(home.spool, "open", refuse)
        with pytest.raises(Refused, match="Too many open files") as refused:
            await home.live()
        assert refused.value.code == "busy"
        assert await home.store.newest(None) == []
        assert home.engine.sessions == {}


async def test_a_damaged_session_does_not_stop_the_others(tmp_path, autojump_clock, caplog):
    session = await half_a_talk(tmp_path)
    other = await half_a_talk(tmp_path)
    async with house(tmp_path) as home:
        await home.store.database.write(
            lambda connection: connection.execute("UPDATE sessions SET asked = '[' WHERE id = ?", (session,)).fetchall()
        )
    async with house(tmp_path) as home:
        assert home.manager.find(other) is not None
        assert {info.session for info in await home.store.newest("me")} == {session, other}
        assert home.spool.size(session)
        with pytest.raises(StoreFailed, match="or delete the session"):
            await home.manager.journal("me", session)
        with pytest.raises(Refused, match="no session"):
            await home.manager.delete("you", session)
        await home.manager.delete("me", session)
        assert [info.session for info in await home.store.newest("me")] == [other]
        assert home.spool.size(session) is None
    assert "is damaged" in caplog.text


async def test_a_file_session_counts_once_whatever_it_is(tmp_path, autojump_clock):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file"))
        home.send(session, b"12345")
        assert home.spool.used == 5
