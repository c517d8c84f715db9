"""What an owner may have: limits of sessions, text and audio, and what is kept for how long."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from convo.messages import (
    AudioFormat,
    Code,
    CreateSession,
    Retranscribe,
    SessionState,
    SessionWarning,
    State,
)
from convod.sessions import Refused
from convod.sessions.clock import DAY_S, ClockNote
from convod.sessions.limits import LimitSettings, RetentionSettings
from convod.sessions.retention import CLOCK, Retention, running_s
from convod.store import StoreFailed
from tests.daemon.support.files import (
    GONE,
    SINGLE,
    at_once,
    completed,
    upload,
)
from tests.daemon.support.house import House, Reader, house

# --- limits -----------------------------------------------------------------------------------------------


async def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent(tmp_path):
    async with house(tmp_path, limits=LimitSettings(upload_bytes=10_000)) as home:
        with pytest.raises(Refused, match=r"limits\.upload_bytes") as refused:
            await home.create(CreateSession(kind="file", audio=AudioFormat(size=10_001)))
        assert refused.value.code is Code.LIMIT_EXCEEDED
        assert await home.store.newest("me") == []


async def test_a_file_that_grows_too_large_fails_and_leaves_nothing(tmp_path):
    async with house(tmp_path, limits=LimitSettings(upload_bytes=10_000)) as home:
        session = await home.create(CreateSession(kind="file"))
        reader = Reader(session.feed)
        home.send(session, bytes(10_000))
        with pytest.raises(Refused) as refused:
            session.audio(home.producer, 10_000, b"x")
        assert refused.value.code is Code.LIMIT_EXCEEDED
        failed = await reader.until_state(State.FAILED)
        assert failed.code == Code.LIMIT_EXCEEDED
        assert (home.spool.used, list(home.spool.sessions())) == (0, [])


async def test_a_small_file_with_hours_of_silence_is_refused(tmp_path):
    from tests.daemon.engine.test_decode import encoded

    data = encoded("flac", "flac", 8000, "mono", seconds=30.0)
    async with house(tmp_path, limits=LimitSettings(file_s=10.0)) as home:
        _, reader = await upload(home, data)
        failed = await reader.until_state(State.FAILED)
        assert failed.code == Code.LIMIT_EXCEEDED
        assert "limits.file_s" in (failed.message or "")
        assert list(home.spool.sessions()) == []


async def test_an_owner_has_so_many_sessions_and_another_owner_his_own(tmp_path):
    async with house(tmp_path, limits=LimitSettings(sessions=2)) as home:
        for _ in range(2):
            await home.live()
        with pytest.raises(Refused, match=r"limits\.sessions") as refused:
            await home.live()
        assert refused.value.code is Code.LIMIT_EXCEEDED
        await home.manager.create("you", CreateSession(kind="live"), object())


async def test_a_key_is_no_way_around_the_limit_and_is_found_at_it(tmp_path):
    async with house(tmp_path, limits=LimitSettings(sessions=2)) as home:
        over = await home.live(key="over")
        over.cancel()
        await over.wait_finished()
        first, second = await home.live(key="first"), await home.live(key="second")
        with pytest.raises(Refused, match=r"limits\.sessions") as refused:
            await home.live(key="third")
        assert refused.value.code is Code.LIMIT_EXCEEDED
        assert await home.live(key="first") is first
        assert await home.live(key="second", language="xx") is second  # whatever else it says
        again = CreateSession(kind="live", key="over")
        assert await home.manager.create("me", again, home.producer) == (over.journal, None)
        await home.manager.create("you", CreateSession(kind="live", key="first"), object())
        assert home.manager.counts().live == 3
        first.cancel()
        await first.wait_finished()
        await home.live(key="third")


@pytest.mark.parametrize("keys", [[None] * 5, list("abcde")])
async def test_sessions_asked_for_at_once_are_no_more_than_may_be(tmp_path, keys):
    async with house(tmp_path, limits=LimitSettings(sessions=2)) as home:
        refused = await at_once([partial(home.live, key=key) for key in keys])
        assert [error.code for error in refused] == [Code.LIMIT_EXCEEDED] * 3
        assert len(await home.store.newest("me")) == home.manager.counts().live == 2


async def test_a_key_asked_for_twice_at_once_takes_one_place(tmp_path):
    async with house(tmp_path, limits=LimitSettings(sessions=1)) as home:
        assert await at_once([partial(home.live, key="k")] * 3) == []
        assert len(await home.store.newest("me")) == home.manager.counts().live == 1


async def test_audio_transcribed_anew_takes_a_place_from_the_moment_it_is_asked_for(tmp_path):
    async with house(tmp_path, limits=LimitSettings(sessions=1)) as home:
        session = await completed(home, keep_audio=True)
        home.engine.hold = True
        again = partial(home.manager.retranscribe, "me", "me", Retranscribe(session=session))
        assert [error.code for error in await at_once([again] * 3)] == [Code.LIMIT_EXCEEDED] * 2
        assert home.manager.counts().file == 1
        assert home.spool.used == 2 * len(SINGLE)


async def test_a_session_that_could_not_be_stored_takes_no_place(tmp_path, monkeypatch):
    async with house(tmp_path, limits=LimitSettings(sessions=1)) as home:

        async def full(record, **options):
            raise StoreFailed("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(home.store, "create", full)
            with pytest.raises(StoreFailed):
                await home.live(key="k")
        await home.live(key="k")


async def test_the_disk_takes_no_more_than_its_quota(tmp_path):
    async with house(tmp_path, limits=LimitSettings(disk_bytes=30_000)) as home:
        session = await home.create(CreateSession(kind="file"))
        home.send(session, bytes(30_000), 10_000)
        with pytest.raises(Refused, match=r"limits\.disk_bytes") as refused:
            session.audio(home.producer, 30_000, b"x")
        assert refused.value.code is Code.LIMIT_EXCEEDED
        with pytest.raises(Refused, match=r"limits\.disk_bytes"):
            await home.create(CreateSession(kind="file", audio=AudioFormat(size=1)))
        session.cancel()
        await session.wait_finished()
        assert home.spool.used == 0
        home.send(await home.create(CreateSession(kind="file", audio=AudioFormat(size=1000))), bytes(1000))
    async with house(tmp_path, limits=LimitSettings(disk_bytes=30_000)) as home:
        assert home.spool.used == 1000


async def test_a_track_that_is_not_there_is_named(tmp_path):
    async with house(tmp_path) as home:
        _, reader = await upload(home, audio=AudioFormat(track=2))
        failed = await reader.until_state(State.FAILED)
        assert failed.message is not None
        assert "one audio track" in failed.message


# --- what is kept -----------------------------------------------------------------------------------------


async def look(home: House, now: float, **settings) -> None:
    """Let retention look at that time, on a clock that did not jump there."""
    await home.store.set_note(CLOCK, msgspec.json.encode(ClockNote(now)).decode())
    await Retention(
        home.store, home.spool, RetentionSettings(**settings), home.manager.forget, home.manager.remove_audio,
        (lambda: now, running_s),
    ).look()  # fmt: skip


async def test_finished_sessions_are_deleted_when_they_are_old(tmp_path):
    async with house(tmp_path) as home:
        await completed(home)
        live = await home.live()
        now = live.record.created
        await look(home, now + 6 * DAY_S, days=7.0)
        assert len(await home.store.newest("me")) == 2
        await look(home, now + 8 * DAY_S, days=7.0)
        assert [info.session for info in await home.store.newest("me")] == [live.id]


async def taken(home: House, owner: str = "me") -> int:
    """Bytes that the owner's finished sessions take."""
    return (await home.store.used(owner, final=True)).get(owner, 0)


async def test_the_oldest_go_when_a_user_has_too_much(tmp_path):
    async with house(tmp_path) as home:
        sessions = [await completed(home, keep_audio=True, title=str(number)) for number in range(3)]
        size = await taken(home)
        assert size > home.spool.used == 3 * len(SINGLE)
        await look(home, 0.0, bytes=size)
        assert len(await home.store.newest("me")) == 3
        await look(home, 0.0, bytes=size - 1)
        assert [info.session for info in await home.store.newest("me")] == sessions[:0:-1]
        await look(home, 0.0, bytes=1)
        assert await home.store.newest("me") == []
        assert home.spool.used == home.spool.usage.of("me") == 0


async def test_one_users_sessions_push_out_nobody_elses(tmp_path):
    async with house(tmp_path) as home:
        mine = await completed(home, keep_audio=True)
        for number in range(25):
            _, theirs = await home.manager.create("you", CreateSession(kind="live", title=str(number)), object())
            assert theirs is not None
            theirs.cancel()
            await theirs.wait_finished()
        assert await taken(home, "you") > 25 * 100
        await look(home, 0.0, bytes=await taken(home))
        assert [info.session for info in await home.store.newest("me")] == [mine]
        await look(home, 0.0, bytes=1)
        assert await home.store.newest(None) == []


async def test_nothing_is_deleted_for_an_upload_that_no_deletion_makes_smaller(tmp_path):
    async with house(tmp_path) as home:
        sessions = [await completed(home, keep_audio=True, title=str(number)) for number in range(3)]
        going_on = await home.create(CreateSession(kind="file"))
        home.send(going_on, bytes(4_000_000), 100_000)
        await Reader(going_on.feed).until_state(State.PENDING)
        history = await taken(home)
        await look(home, 0.0, bytes=history)
        assert {info.session for info in await home.store.newest("me")} == {going_on.id, *sessions}
        await look(home, 0.0, bytes=history - 1)
        assert {info.session for info in await home.store.newest("me")} == {going_on.id, *sessions[1:]}
        await look(home, 0.0, bytes=1)
        assert [info.session for info in await home.store.newest("me")] == [going_on.id]
        assert home.spool.used == home.spool.size(going_on.id) == 4_000_000


async def test_what_a_user_takes_is_the_same_after_a_restart_whatever_was_done_by_hand(tmp_path):
    async with house(tmp_path) as home:
        kept, gone = [await completed(home, keep_audio=True) for _ in range(2)]
        await completed(home)
        before = home.spool.usage.of("me")
        assert before == sum((await home.store.used()).values()) > home.spool.used == 2 * len(SINGLE)
        assert await home.store.kept() == {kept: len(SINGLE), gone: len(SINGLE)}
        home.spool.path(gone).unlink()
    async with house(tmp_path) as home:
        assert await home.store.kept() == {kept: len(SINGLE)}
        assert home.spool.usage.of("me") == before - len(SINGLE)
        await home.manager.remove_audio(kept)
        await home.manager.remove_audio("00000000none")
        assert await home.store.kept() == {}
        assert home.spool.usage.of("me") == sum((await home.store.used()).values()) == before - 2 * len(SINGLE)


async def test_a_user_has_no_more_on_the_disk_than_they_may(tmp_path):
    async with house(tmp_path, limits=LimitSettings(owner_disk_bytes=30_000)) as home:
        session = await home.create(CreateSession(kind="file", keep_audio=True))
        with pytest.raises(Refused, match=r"limits\.owner_disk_bytes") as refused:
            home.send(session, bytes(30_000), 10_000)
        assert refused.value.code is Code.LIMIT_EXCEEDED
        assert session.audio_offset == 20_000
        with pytest.raises(Refused, match=r"limits\.owner_disk_bytes"):
            await home.create(CreateSession(kind="file", audio=AudioFormat(size=10_000)))
        _, theirs = await home.manager.create("you", CreateSession(kind="file"), home.producer)
        assert theirs is not None
        home.send(theirs, bytes(25_000))
        session.cancel()
        await session.wait_finished()
        assert home.spool.usage.of("me") < 3000
        home.send(await home.create(CreateSession(kind="file", audio=AudioFormat(size=20_000))), bytes(20_000))


async def test_audio_transcribed_anew_counts_as_often_as_it_is_kept(tmp_path):
    async with house(tmp_path, limits=LimitSettings(owner_disk_bytes=int(1.5 * len(SINGLE)))) as home:
        session = await completed(home, keep_audio=True)
        with pytest.raises(Refused, match=r"limits\.owner_disk_bytes"):
            await home.manager.retranscribe("me", "me", Retranscribe(session=session))
        assert home.spool.used == len(SINGLE)


async def test_a_user_has_as_many_sessions_as_may_be_stored(tmp_path):
    async with house(tmp_path, limits=LimitSettings(stored_sessions=2)) as home:
        session = await completed(home, keep_audio=True)
        await completed(home)
        with pytest.raises(Refused, match=r"limits\.stored_sessions allows \(2\); delete some") as refused:
            await home.live()
        assert refused.value.code is Code.LIMIT_EXCEEDED
        with pytest.raises(Refused, match=r"limits\.stored_sessions"):
            await home.manager.retranscribe("me", "me", Retranscribe(session=session))
        assert home.spool.used == len(SINGLE)
        await home.manager.create("you", CreateSession(kind="live"), home.producer)
        await home.manager.delete("me", session)
        await home.live()


async def test_kept_audio_is_removed_when_it_is_old(tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home, keep_audio=True)
        written = home.spool.written(session)
        await look(home, written + 2 * DAY_S, audio_days=3.0)
        assert home.spool.size(session)
        await look(home, written + 4 * DAY_S, audio_days=3.0)
        assert home.spool.size(session) is None
        assert len(await home.store.newest("me")) == 1


async def test_audio_of_a_failed_session_is_kept_for_a_week(tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: GONE
        session, reader = await upload(home)
        await reader.until_state(State.FAILED)
        await session.wait_finished()
        written = home.spool.written(session.id)
        await look(home, written + 6 * DAY_S)
        assert home.spool.size(session.id)
        await look(home, written + 8 * DAY_S)
        assert home.spool.size(session.id) is None
        assert not reader.of(SessionWarning)
        assert reader.of(SessionState)
