"""File sessions in the queue: priorities, pauses, tries, limits, what is kept. With a scripted engine."""

from __future__ import annotations

import hashlib

import pytest
import trio
import trio.testing

from convo.messages import (
    Code,
    CreateSession,
    Retranscribe,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.sessions import Refused
from convod.sessions.manager import settings_of
from convod.sessions.session import SessionSettings
from tests.daemon.support.files import (
    GONE,
    SINGLE,
    TALK,
    completed,
    forget_whether_kept,
    kept_in_store,
    upload,
)
from tests.daemon.support.house import Reader, house
from tests.daemon.support.talk import heard
from tests.support.until import until

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
        again = await home.manager.retranscribe("me", "me", Retranscribe(session=new, languages=["de", "en"]))
        await Reader(home.manager.find(again).feed).until_state(State.COMPLETED)
        asked = home.engine.seen[-1].options
        assert (asked.language, asked.languages, asked.words) == (None, ("de", "en"), True)
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
