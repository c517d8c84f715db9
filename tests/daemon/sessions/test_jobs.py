"""File sessions in the queue: priorities, pauses, tries, limits, what is kept. With a scripted engine."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
import pytest
import trio
import trio.testing

from convo.messages import (
    AudioFormat,
    Code,
    CreateSession,
    Retranscribe,
    SessionState,
    SessionWarning,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.engine.supervisor import Refusal
from convod.sessions import Refused
from convod.sessions.clock import DAY_S, ClockNote
from convod.sessions.limits import LimitSettings, RetentionSettings
from convod.sessions.manager import settings_of
from convod.sessions.retention import CLOCK, Retention
from convod.sessions.session import SessionSettings
from convod.store import StoreFailed
from tests.daemon.support.house import House, Reader, house
from tests.daemon.support.talk import heard
from tests.support.speech import DATA

SINGLE = (DATA / "single.flac").read_bytes()
TALK = (DATA / "talk.flac").read_bytes()
GONE = Refusal(Code.MODEL_UNAVAILABLE, "the model is gone; use builtin")


async def upload(home: House, data: bytes = SINGLE, **fields):
    wanted = {"language": "en", "summary": SummaryOptions(mode="off")} | fields
    session = await home.create(CreateSession(kind="file", **wanted))
    reader = Reader(session.feed)
    home.send(session, data, 100_000)
    await session.end()
    return session, reader


async def until(condition) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - a decoding process, of which no event tells
            await trio.sleep(0.002)


async def completed(home: House, **fields) -> str:
    session, reader = await upload(home, **fields)
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    return session.id


async def at_once(requests: Sequence[Callable[[], Awaitable[object]]]) -> list[Refused]:
    """What was refused of requests that come at the same time."""
    refused: list[Refused] = []

    async def ask(request: Callable[[], Awaitable[object]]) -> None:
        try:
            await request()
        except Refused as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(ask, request)
    return refused


async def kept_in_store(home: House, session: str) -> bool | None:
    record = await home.store.get(session)
    assert record is not None
    return record.config.keep_audio


async def forget_whether_kept(home: House, session: str) -> None:
    """Store a session as versions did that looked at the setting when it was over."""
    record = await home.store.get(session)
    assert record is not None
    record.config = msgspec.structs.replace(record.config, keep_audio=None)
    await home.store.save(record)


# --- order ------------------------------------------------------------------------------------------------


async def test_urgent_files_overtake_those_that_wait(tmp_path):
    async with house(tmp_path, files_at_once=1) as home:
        home.engine.hold = True
        first, _ = await upload(home)
        await until(lambda: home.engine.jobs)
        low, _ = await upload(home, priority="low", title="low")
        normal, _ = await upload(home, title="normal")
        high, _ = await upload(home, priority="high", title="high")
        await trio.testing.wait_all_tasks_blocked()
        jobs, paused = home.manager.queue("me")
        assert [job.session for job in jobs] == [first.id, high.id, normal.id, low.id]
        assert not paused
        assert (jobs[0].state, jobs[1].state) == (State.PROCESSING, State.PENDING)
        await home.manager.update("me", low.id, None, "high")
        assert [job.session for job in home.manager.queue("me")[0]] == [first.id, low.id, high.id, normal.id]
        assert home.manager.queue("you") == ([], False)


async def test_a_file_of_another_owner_is_not_held_up_by_one_whose_files_have_all_places(tmp_path):
    async with house(tmp_path, files_at_once=2) as home:
        home.engine.hold = True
        mine = [await upload(home) for _ in range(2)]
        await until(lambda: len({job.session for job in home.engine.jobs}) == 2)
        home.engine.hold = False
        _, yours = await home.manager.create(
            "you", CreateSession(kind="file", language="en", summary=SummaryOptions(mode="off")), home.producer
        )
        assert yours is not None
        home.send(yours, SINGLE, 100_000)
        await yours.end()
        await Reader(yours.feed).until_state(State.COMPLETED)
        assert [session.record.state for session, _ in mine] == [State.PROCESSING] * 2
        home.engine.finish_all()
        for _, reader in mine:
            await reader.until_state(State.COMPLETED)


async def test_order_and_pause_survive_a_restart(tmp_path):
    async with house(tmp_path, files_at_once=1) as home:
        home.engine.hold = True
        first, _ = await upload(home)
        await until(lambda: home.engine.jobs)
        low, _ = await upload(home, priority="low")
        high, _ = await upload(home, priority="high")
        await home.manager.pause("me", True)
    async with house(tmp_path, files_at_once=1) as home:
        await trio.testing.wait_all_tasks_blocked()
        jobs, paused = home.manager.queue("me")
        assert paused
        assert [job.session for job in jobs] == [high.id, first.id, low.id]
        assert home.engine.seen == []
        readers = {one.id: Reader(home.manager.find(one.id).feed) for one in (first, low, high)}
        await home.manager.pause("me", False)
        for reader in readers.values():
            await reader.until_state(State.COMPLETED)
        order = [job.session for job in home.engine.seen]
        assert order == [high.id, first.id, low.id]


async def test_a_paused_file_holds_still_and_goes_on_where_it_was(tmp_path):
    async with house(tmp_path) as home:
        home.engine.hold = True
        _, reader = await upload(home, TALK)
        await until(lambda: len(home.engine.jobs) >= 3)
        await home.manager.pause("me", True)
        await home.manager.pause("me", True)
        await trio.testing.wait_all_tasks_blocked()
        assert home.engine.jobs == {}
        home.engine.hold = False
        await home.manager.pause("me", False)
        await reader.until_state(State.COMPLETED)
        starts = [one.start for one in reader.of(TranscriptSegment)]
        assert len(starts) >= 15
        assert starts == sorted(starts)


async def test_a_pause_is_the_owners_own(tmp_path):
    async with house(tmp_path) as home:
        await home.manager.pause("you", True)
        _, reader = await upload(home)
        await reader.until_state(State.COMPLETED)


async def test_who_pauses_holds_nobody_else_up(tmp_path):
    async with house(tmp_path, files_at_once=1) as home:
        home.engine.hold = True
        mine, reader = await upload(home, TALK)
        await until(lambda: len(home.engine.jobs) >= 3)
        await home.manager.pause("me", True)
        request = CreateSession(kind="file", language="en", summary=SummaryOptions(mode="off"))
        _, yours = await home.manager.create("you", request, home.producer)
        home.send(yours, TALK, 100_000)
        await yours.end()
        await until(lambda: len(home.engine.jobs) >= 3)
        assert {job.session for job in home.engine.jobs} == {yours.id}
        await home.manager.pause("me", False)
        await trio.testing.wait_all_tasks_blocked()
        assert {job.session for job in home.engine.jobs} == {yours.id}, "it is not its turn"
        home.engine.hold = False
        home.engine.finish_all()
        await reader.until_state(State.COMPLETED)
        assert yours.record.state is State.COMPLETED
        assert [one.segment for one in reader.of(TranscriptSegment)] == list(range(mine.record.segments))
        assert mine.record.segments == yours.record.segments >= 15


async def test_what_has_no_place_in_the_queue_has_no_priority(tmp_path):
    async with house(tmp_path) as home:
        live = await home.live()
        with pytest.raises(Refused, match="only a file session") as refused:
            await home.manager.update("me", live.id, None, "high")
        assert refused.value.code is Code.BAD_STATE
        await home.manager.update("me", live.id, "T" * 300, None)
        assert live.record.title == "T" * 200
        with pytest.raises(Refused, match="there is no session"):
            await home.manager.update("you", live.id, "mine", None)


async def test_a_new_name_is_stored(tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        await home.manager.update("me", session, "Interview", None)
        assert [info.title for info in await home.store.newest("me")] == ["Interview"]


# --- tries ------------------------------------------------------------------------------------------------


async def test_a_failed_file_goes_on_where_it_failed(tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard(f"sentence {number}") if number < 3 else GONE
        session, reader = await upload(home, TALK)
        await reader.until_state(State.FAILED)
        await session.wait_finished()
        home.engine.texts = lambda number, job: heard(f"sentence {number}")
        await home.manager.retry("me", session.id)
        again = home.manager.find(session.id)
        assert again is not None
        await Reader(again.feed).until_state(State.COMPLETED)
        await reader.until_state(State.COMPLETED)
        assert reader.states == [
            State.PENDING, State.PROCESSING, State.FAILED,
            State.PENDING, State.PROCESSING, State.TRANSCRIBED, State.COMPLETED,
        ]  # fmt: skip
        segments = reader.of(TranscriptSegment)
        assert [one.segment for one in segments] == list(range(len(segments)))
        assert len(segments) >= 15
        assert [one.text for one in segments[:3]] == ["sentence 0", "sentence 1", "sentence 2"]
        with pytest.raises(Refused, match="only a failed one"):
            await home.manager.retry("me", session.id)


async def test_a_try_survives_a_restart(tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: GONE
        session, reader = await upload(home)
        await reader.until_state(State.FAILED)
        await session.wait_finished()
    async with house(tmp_path) as home:
        home.engine.hold = True
        await home.manager.retry("me", session.id)
        await until(lambda: home.engine.jobs)
    async with house(tmp_path) as home:
        await Reader(home.manager.find(session.id).feed).until_state(State.COMPLETED)


async def test_audio_that_changed_on_disk_is_not_taken_for_what_was_sent(tmp_path):
    async with house(tmp_path, files_at_once=1) as home:
        home.engine.hold = True
        first, _ = await upload(home)
        second, _ = await upload(home)
        await until(lambda: first.record.digest and second.record.digest)
        assert first.record.digest == hashlib.sha256(SINGLE).hexdigest()
        path = home.spool.path(second.id)
    path.write_bytes(SINGLE[:-1] + b"x")
    async with house(tmp_path, files_at_once=1) as home:
        readers = [Reader(home.manager.find(one.id).feed) for one in (first, second)]
        await readers[0].until_state(State.COMPLETED)
        failed = await readers[1].until_state(State.FAILED)
        assert "damaged" in (failed.message or "")


async def test_a_file_that_is_no_recording_leaves_nothing_and_is_not_tried_again(tmp_path):
    async with house(tmp_path) as home:
        session, reader = await upload(home, b"this is a letter and no recording\n" * 20)
        await reader.until_state(State.FAILED)
        assert home.spool.size(session.id) is None
        assert home.spool.used == 0
        with pytest.raises(Refused, match="send the file again"):
            await home.manager.retry("me", session.id)


async def test_kept_audio_is_transcribed_anew_as_a_session_of_its_own(tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home, keep_audio=True, title="Talk")
        new = await home.manager.retranscribe("me", "me", Retranscribe(session=session, language="de", words=True))
        await Reader(home.manager.find(new).feed).until_state(State.COMPLETED)
        assert (home.engine.seen[-1].options.language, home.engine.seen[-1].options.words) == ("de", True)
        assert {info.title for info in await home.store.newest("me")} == {"Talk"}
        await home.manager.delete("me", session)
        assert home.spool.size(new) == len(SINGLE)
        with pytest.raises(Refused) as refused:
            await home.manager.retranscribe("me", "me", Retranscribe(session=new, model="large"))
        assert refused.value.code is Code.UNKNOWN_MODEL


async def test_audio_is_not_kept_unless_that_is_wanted(tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home)
        with pytest.raises(Refused, match="was not kept") as refused:
            await home.manager.retranscribe("me", "me", Retranscribe(session=session))
        assert refused.value.code is Code.BAD_STATE
        kept = await completed(home, keep_audio=True)
    async with house(tmp_path) as home:
        assert list(home.spool.sessions()) == [kept]


async def test_whether_audio_is_kept_is_settled_when_a_session_begins(tmp_path):
    async with house(tmp_path, keep_audio=True) as home:
        session, reader = await upload(home)
        assert settings_of(session.record.config)["keep_audio"] is True
        home.settings = SessionSettings(beam=1, keep_audio=False)
        await reader.until_state(State.COMPLETED)
        await session.wait_finished()
        unkept = await completed(home)
    async with house(tmp_path, keep_audio=False) as home:
        assert list(home.spool.sessions()) == [session.id]
        assert await kept_in_store(home, session.id) is True
        assert await kept_in_store(home, unkept) is False
        new = await home.manager.retranscribe("me", "me", Retranscribe(session=session.id))
        await Reader(home.manager.find(new).feed).until_state(State.COMPLETED)


@pytest.mark.parametrize("now", [False, True])
async def test_audio_that_a_killed_daemon_left_is_removed_whatever_is_set_by_now(tmp_path, now):
    async with house(tmp_path) as home:
        home.spool.remove = lambda session: None  # killed when the end was stored, before the audio was removed
        session = await completed(home)
        assert home.spool.size(session) == len(SINGLE)
    async with house(tmp_path, keep_audio=now) as home:
        assert list(home.spool.sessions()) == []
        assert home.spool.used == 0


async def test_audio_of_an_older_version_stays_as_nobody_knows_whether_it_was_kept(tmp_path):
    async with house(tmp_path) as home:
        session = await completed(home, keep_audio=True)
        await forget_whether_kept(home, session)
    async with house(tmp_path, keep_audio=False) as home:
        assert await kept_in_store(home, session) is None
        assert home.spool.size(session) == len(SINGLE)


@pytest.mark.parametrize("keep", [False, True])
async def test_a_session_that_an_older_version_began_keeps_what_is_set_when_it_goes_on(tmp_path, keep):
    async with house(tmp_path) as home:
        begun = await home.create(CreateSession(kind="file", summary=SummaryOptions(mode="off")))
        await Reader(begun.feed).until_state(State.PENDING)
        session = begun.id
        await forget_whether_kept(home, session)
    async with house(tmp_path, keep_audio=keep) as home:
        going_on = home.manager.find(session)
        going_on.produce(home.producer)
        reader = Reader(going_on.feed)
        home.send(going_on, SINGLE, 100_000)
        await going_on.end()
        await reader.until_state(State.COMPLETED)
        await going_on.wait_finished()
        assert await kept_in_store(home, session) is keep
    async with house(tmp_path, keep_audio=False) as home:
        assert list(home.spool.sessions()) == [session] * keep


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
        lambda: now,
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
