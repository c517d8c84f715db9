"""Sessions when the store fails, when the daemon dies, and when it stops."""

from __future__ import annotations

import sqlite3

import pytest
import trio

from convo.messages import (
    Code,
    SessionWarning,
    State,
    TranscriptSegment,
)
from convod.engine.wire import FINAL_MARGIN, INTERIM_MARGIN, HeardWord, Kind
from convod.store import StoreFailed
from tests.daemon.support.house import Reader, house
from tests.daemon.support.sounds import BYTES_S
from tests.daemon.support.talk import heard, sentence, talk

# --- a store that fails, a daemon that dies ---------------------------------------------------------------


async def test_while_the_store_has_no_room_nothing_is_lost(autojump_clock, tmp_path, monkeypatch, caplog):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        save = home.store.save
        full = True

        async def sometimes(record, events=(), **how):
            if full:
                raise StoreFailed("the disk is full")
            await save(record, events, **how)

        monkeypatch.setattr(home.store, "save", sometimes)
        home.send(session, talk(2))
        await trio.sleep(100)
        assert reader.texts == []
        full = False
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.texts == ["sentence 0", "sentence 1"]
    assert "disk is full" in caplog.text


async def test_no_mark_is_stored_before_the_segment_that_it_stands_for(autojump_clock, tmp_path, monkeypatch):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard(f"sentence {number}")
        session = await home.live(interim=False)
        await trio.testing.wait_all_tasks_blocked()
        save, stored, ahead = home.store.save, [0], []

        async def slowly(record, events=(), **how):
            fields = (record.segments, record.checkpoint_utterance)
            stored[0] += sum(isinstance(event, TranscriptSegment) for event in events)
            ahead.append(fields != (stored[0], stored[0]))
            await trio.sleep(1)
            await save(record, events, **how)

        monkeypatch.setattr(home.store, "save", slowly)
        home.send(session, talk(3))
        async with trio.open_nursery() as nursery:

            async def store_the_record():  # as an end or a rolling summary does
                while True:
                    await session.journal.save()

            nursery.start_soon(store_the_record)
            nursery.start_soon(store_the_record)
            await session.finalize()
            nursery.cancel_scope.cancel()
        assert stored == [3]
        assert not any(ahead)


async def test_a_fault_in_one_session_fails_it_and_leaves_the_others(autojump_clock, tmp_path, caplog):
    async with house(tmp_path) as home:
        other = await home.live()
        session = await home.live()
        reader = Reader(session.feed)

        def broken(number, job):
            return "no outcome at all"

        home.engine.texts = broken
        home.send(session, talk(1))
        failed = await reader.until_state(State.FAILED)
        assert failed.code == Code.INTERNAL
        assert home.manager.find(other.id) is other
    assert "stopped by a fault" in caplog.text


async def test_a_fault_of_the_database_in_one_session_leaves_the_daemon_running(
    autojump_clock, tmp_path, monkeypatch, caplog
):
    async with house(tmp_path) as home:
        other = await home.live()
        session = await home.live()
        await trio.testing.wait_all_tasks_blocked()
        save = home.store.save

        async def malformed(record, events=(), **how):
            if record.id == session.id:
                raise sqlite3.DatabaseError("database disk image is malformed")
            await save(record, events, **how)

        monkeypatch.setattr(home.store, "save", malformed)
        home.send(session, talk(1))
        await session.wait_finished()
        await trio.testing.wait_all_tasks_blocked()
        assert home.manager.find(other.id) is other
    assert "malformed" in caplog.text


async def test_after_a_kill_a_live_session_goes_on_from_its_last_segment(autojump_clock, tmp_path):
    sound = talk(2)
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, sound[: len(talk(1)) + BYTES_S])
        await reader.until(lambda one: isinstance(one, TranscriptSegment))
        seq = session.feed.seq
    async with house(tmp_path) as home:
        again = home.manager.find(session.id)
        assert again is not None
        reader = Reader(again.feed, after_seq=seq)
        assert again.audio_offset == len(talk(1)) + BYTES_S
        again.produce(home.producer)
        home.send(again, sound[again.audio_offset :])
        await again.end()
        await reader.until_state(State.COMPLETED)
        assert [one.segment for one in reader.of(TranscriptSegment)] == [1]
        segments = await home.store.segments(again.id)
        assert [segment.segment for segment in segments] == [0, 1]
        assert segments[0].end <= segments[1].start
        assert again.record.duration_s == pytest.approx(len(sound) / BYTES_S)


async def test_the_language_of_a_session_is_expected_though_the_daemon_was_killed(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard("Guten Morgen.", language="de", language_probability=0.9)
        session = await home.live()
        home.send(session, talk(1))
        await session.finalize()
        assert [job.expected for job in home.engine.seen if job.kind is Kind.FINAL] == [None]
    async with house(tmp_path) as home:
        again = home.manager.find(session.id)
        again.produce(home.producer)
        home.send(again, talk(1))
        await again.finalize()
        assert {(job.options.language, job.expected) for job in home.engine.seen} == {(None, "de")}


async def test_a_final_has_more_silence_behind_it_than_an_interim_and_the_last_words_before_it(
    autojump_clock, tmp_path
):
    def timed(number, job):
        words = [HeardWord(start=0.4, end=2.5, word="Friday.", probability=0.9)]
        return heard("Friday.", words=words)

    async with house(tmp_path) as home:
        home.engine.texts = timed
        session = await home.live()
        for _ in range(2):
            home.send(session, talk(1, 0.8))
            await session.finalize()
        jobs = home.engine.seen
        assert {job.options.margin for job in jobs if job.kind is Kind.INTERIM} == {INTERIM_MARGIN}
        assert {job.options.margin for job in jobs if job.kind is Kind.FINAL} == {FINAL_MARGIN}
        leads = [job.lead for job in jobs if job.kind is Kind.FINAL]
        assert leads[0] is None
        assert leads[-1] is not None
        assert leads[-1].text == "Friday."


async def test_a_voice_without_words_is_a_warning_that_says_where(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard("Friday.", uncovered=(0.5, 2.5))
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.UNCOVERED
        assert "from 00:00 to 00:02" in warning.message
        assert [one.text for one in reader.of(TranscriptSegment)] == ["Friday."]


async def test_after_a_kill_a_live_session_that_nobody_resumes_is_finished_from_the_spool(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.send(session, talk(2))
    async with house(tmp_path) as home:
        again = home.manager.find(session.id)
        assert again is not None
        reader = Reader(again.feed)
        await reader.until_state(State.COMPLETED)
        assert reader.texts == ["sentence 0", "sentence 1"]


async def test_audio_that_no_session_needs_is_removed_at_the_start(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.send(session, bytes(100))
    (tmp_path / "spool" / "00000000aaaaaaaa.audio").write_bytes(b"left over")
    async with house(tmp_path) as home:
        assert sorted(home.spool.sessions()) == [session.id]


async def test_drain_brings_out_the_last_words_of_all(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        sessions = [await home.live() for _ in range(3)]
        for session in sessions:
            home.send(session, sentence()[: 2 * BYTES_S])
        await trio.testing.wait_all_tasks_blocked()
        await home.manager.drain(10.0)
        assert [session.record.segments for session in sessions] == [1, 1, 1]


async def test_drain_gives_up_after_its_time(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.hold = True
        session = await home.live()
        home.send(session, sentence())
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await home.manager.drain(10.0)
        assert trio.current_time() - began == pytest.approx(10.0)


# --- the daemon stops -------------------------------------------------------------------------------------------


async def test_draining_waits_for_the_summary_that_is_being_written(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.gate = trio.Event()
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.manager.drain, 60)
            await trio.sleep(5)
            home.summarizers.gate.set()
        assert (await reader.until_state(State.COMPLETED)).state is State.COMPLETED


async def test_draining_leaves_a_summary_that_takes_too_long_to_the_next_start(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.gate = trio.Event()
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        began = trio.current_time()
        await home.manager.drain(7)
        assert trio.current_time() - began == 7
        kept = session.id
    async with house(tmp_path) as home:
        await trio.testing.wait_all_tasks_blocked()
        record = await home.store.get(kept)
        assert record is not None
        assert record.state is State.COMPLETED


async def test_draining_waits_for_no_summarizer_that_is_away(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "nobody is there"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        began = trio.current_time()
        await home.manager.drain(600)
        assert trio.current_time() - began < 5
