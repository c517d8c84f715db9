from __future__ import annotations

import logging
import sqlite3

import pytest
import trio

from convo.messages import (
    AudioAck,
    AudioFormat,
    Code,
    CreateSession,
    FinalSummary,
    Retranscribe,
    RollingSummary,
    SessionState,
    SessionWarning,
    SpeechEnded,
    State,
    SummaryDelta,
    SummaryOptions,
    TranscriptPartial,
    TranscriptSegment,
)
from convod.engine.supervisor import Refusal
from convod.engine.wire import FINAL_MARGIN, INTERIM_MARGIN, HeardWord, Kind
from convod.sessions import Refused
from convod.store import StoreFailed
from tests.daemon.support.house import Reader, house
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import heard, sentence, talk

BYTES_S = 2 * RATE


def code_of(refused: pytest.ExceptionInfo[Refused]) -> Code:
    return refused.value.code


# --- the way of a session ---------------------------------------------------------------------------------


async def test_a_session_goes_from_pending_to_completed_and_tells_all(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(2))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.states == [State.PENDING, State.PROCESSING, State.TRANSCRIBED, State.COMPLETED]
        assert reader.texts == ["sentence 0", "sentence 1"]
        durable = [event.seq for event in reader.events if hasattr(event, "seq")]
        assert durable == list(range(1, len(durable) + 1))
        assert [segment.segment for segment in reader.of(TranscriptSegment)] == [0, 1]
        await session.wait_finished()
        record = await home.store.get(session.id)
        assert record is not None
        assert (record.state, record.ended, record.segments) == (State.COMPLETED, True, 2)
        assert record.duration_s == pytest.approx(len(talk(2)) / BYTES_S)
        assert not home.spool.path(session.id).exists()


async def test_hours_of_kept_audio_are_heard_in_bounded_pieces_while_others_go_on(tmp_path):
    async with house(tmp_path, credit_s=40.0) as home:
        first = await home.live(keep_audio=True)
        home.send(first, silence(1.0))
        await first.end()
        await Reader(first.feed).until_state(State.COMPLETED)
        with home.spool.path(first.id).open("wb") as file:  # as if it had been a long talk
            for _ in range(30):
                file.write(talk(10))
        home.engine.hold = True
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await trio.lowlevel.checkpoint()
                beats += 1

        async with trio.open_nursery() as nursery:
            again = await home.manager.retranscribe("me", "me", Retranscribe(session=first.id))
            nursery.start_soon(beat)
            session = home.manager.find(again)
            assert session is not None
            reader = Reader(session.feed)
            for _ in range(50):
                await trio.sleep(0.001)
            heard_s = sum(job.seconds for job in home.engine.jobs)
            assert 20 < heard_s < 40 + 28
            assert beats > heard_s / 4  # others had their turns between
            assert {job.kind for job in home.engine.jobs} == {Kind.FINAL}
            home.engine.hold = False
            home.engine.finish_all()
            await reader.until_state(State.COMPLETED)
            nursery.cancel_scope.cancel()
        assert session.record.segments == 300


async def test_audio_is_in_the_spool_before_it_is_acknowledged(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, silence(1.0))
        ack = await reader.until(lambda one: isinstance(one, AudioAck))
        assert isinstance(ack, AudioAck)
        assert ack.offset == BYTES_S
        assert home.spool.path(session.id).stat().st_size == BYTES_S
        assert ack.credit == pytest.approx(60 * BYTES_S, abs=2 * BYTES_S)


async def test_captions_come_before_the_segment_and_stop_with_it(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        for at in range(0, len(talk(1)), 3200):
            home.send(session, talk(1)[at : at + 3200])
            await trio.testing.wait_all_tasks_blocked()
            await reader.take()
        await reader.until(lambda one: isinstance(one, TranscriptSegment))
        kinds = [type(event) for event in reader.events]
        assert TranscriptPartial in kinds[: kinds.index(TranscriptSegment)]
        assert TranscriptPartial not in kinds[kinds.index(TranscriptSegment) :]


async def test_the_engine_is_told_of_a_speaker_before_there_is_anything_to_decode(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        assert home.engine.woken == [True]
        home.send(session, silence(5.0))
        await trio.testing.wait_all_tasks_blocked()
        assert home.engine.woken == [True]
        assert home.engine.sessions == {session.id: True}
        for number in (2, 3):
            before = len(home.engine.seen)
            for at in range(0, BYTES_S, 640):
                home.send(session, sentence()[at : at + 640])
                await trio.testing.wait_all_tasks_blocked()
                if len(home.engine.woken) == number:
                    break
            assert home.engine.woken == [True] * number
            assert len(home.engine.seen) == before
            home.send(session, silence(1.0))
            await trio.testing.wait_all_tasks_blocked()
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert home.engine.sessions == {}


async def test_a_caption_that_waits_for_the_engine_is_of_the_newest_words(autojump_clock, tmp_path):
    """The engine is busy with others for seconds; what it then hears is not what was spoken before them."""
    async with house(tmp_path) as home:
        home.engine.hold = home.engine.queued = True
        session = await home.live()
        reader = Reader(session.feed)
        at_work = 3 * BYTES_S // 2  # in mid-sentence
        for at in range(0, at_work, 3200):
            home.send(session, sentence()[at : at + 3200])
            await trio.testing.wait_all_tasks_blocked()
        seen = [job for job in home.engine.seen if job.kind is Kind.INTERIM]
        assert len(seen) >= 3
        (waiting,) = home.engine.jobs  # one for the session, and no other
        assert waiting is seen[-1]
        home.engine.queued = False
        home.engine.finish(waiting, heard("so we go on"))
        for at in range(at_work, len(sentence()), 3200):
            home.send(session, sentence()[at : at + 3200])
            await trio.testing.wait_all_tasks_blocked()
            for job in list(home.engine.jobs):
                home.engine.finish(job, heard("so we go on"))
            await trio.testing.wait_all_tasks_blocked()
            await reader.take()
        home.send(session, silence(1.0))
        await trio.testing.wait_all_tasks_blocked()
        home.engine.finish_all()
        await reader.until(lambda one: isinstance(one, TranscriptSegment))
        assert reader.of(TranscriptPartial)
        home.engine.hold = False
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert not session._jobs


async def test_a_client_that_stops_sending_in_mid_speech_gets_its_final(autojump_clock, tmp_path):
    async with house(tmp_path, idle_s=1.0) as home:
        session = await home.live()
        reader = Reader(session.feed)
        began = trio.current_time()
        home.send(session, sentence()[: 2 * BYTES_S])
        segment = await reader.until(lambda one: isinstance(one, TranscriptSegment))
        assert 1.5 <= trio.current_time() - began < 4.0
        assert isinstance(segment, TranscriptSegment)
        assert segment.end == pytest.approx(2.0, abs=0.01)
        assert reader.of(SpeechEnded)
        assert session.record.state is State.PROCESSING  # it waits for more


async def test_nothing_is_finalized_by_time_while_nobody_speaks(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.send(session, talk(1))
        await trio.sleep(3600)
        assert session.record.state is State.PROCESSING
        assert session.record.segments == 1


async def test_a_producer_that_is_gone_for_too_long_ends_its_session(autojump_clock, tmp_path):
    async with house(tmp_path, resume_s=30.0) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, sentence()[: 2 * BYTES_S])
        began = trio.current_time()
        session.producer_gone()
        await reader.until_state(State.COMPLETED)
        assert 30.0 <= trio.current_time() - began < 35.0
        assert reader.texts == ["sentence 0"]


async def test_a_producer_that_comes_back_in_time_goes_on_where_it_was(autojump_clock, tmp_path):
    async with house(tmp_path, resume_s=30.0) as home:
        session = await home.live()
        reader = Reader(session.feed)
        sound = talk(2)
        home.send(session, sound[:BYTES_S])
        session.producer_gone()
        await trio.sleep(29.0)
        home.producer = object()
        session.produce(home.producer)
        await trio.sleep(29.0)
        home.send(session, sound[session.audio_offset :])
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert session.record.duration_s == pytest.approx(len(sound) / BYTES_S)
        assert reader.texts[-1].startswith("sentence")


async def test_the_end_flushes_the_last_words(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, sentence()[: 2 * round(2.5 * RATE) + 2 * 17])
        await session.end()
        await reader.until_state(State.COMPLETED)
        (segment,) = reader.of(TranscriptSegment)
        assert segment.end == pytest.approx(2.5 + 17 / RATE, abs=0.001)


async def test_a_session_without_any_audio_completes(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.states == [State.PENDING, State.PROCESSING, State.TRANSCRIBED, State.COMPLETED]


async def test_an_end_inside_a_sample_is_warned_about(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(audio=AudioFormat(channels=2))
        reader = Reader(session.feed)
        home.send(session, bytes(4002))
        await session.end()
        await reader.until_state(State.COMPLETED)
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.BAD_AUDIO
        assert "2 byte" in warning.message


# --- finalize ---------------------------------------------------------------------------------------------


async def test_finalize_returns_once_the_segments_of_all_audio_are_out(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.send(session, talk(1) + sentence()[: 2 * BYTES_S])
        size = session.audio_offset
        assert await session.finalize() == size
        assert session.record.segments == 2
        home.send(session, talk(1))
        assert await session.finalize() == size + len(talk(1))
        assert session.record.segments == 3


async def test_finalize_of_silence_returns(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        assert await session.finalize() == 0
        home.send(session, silence(2.0))
        assert await session.finalize() == 2 * BYTES_S


async def test_finalize_covers_the_audio_until_then_not_what_comes_after(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.engine.hold = True
        home.send(session, sentence()[: 2 * BYTES_S])
        offsets = []
        async with trio.open_nursery() as nursery:

            async def finalize():
                offsets.append(await session.finalize())

            nursery.start_soon(finalize)
            await trio.testing.wait_all_tasks_blocked()
            home.send(session, sentence())
            await trio.testing.wait_all_tasks_blocked()
            assert offsets == []
            (job,) = [job for job in home.engine.jobs if job.kind is Kind.FINAL]
            assert sentence()[: 2 * BYTES_S].endswith(job.audio)
            home.engine.hold = False
            home.engine.finish_all()
        assert offsets == [2 * BYTES_S]


@pytest.mark.parametrize("how", ["cancelled", "failed", "cancelled at once"])
def test_finalize_returns_when_the_session_ends_otherwise(tmp_path, autojump_clock, how):
    async def main():
        async with house(tmp_path) as home:
            session = await home.live()
            home.engine.hold = True
            with trio.fail_after(100):
                async with trio.open_nursery() as nursery:
                    if how != "cancelled at once":
                        home.send(session, talk(1))
                    nursery.start_soon(session.finalize)
                    if how != "cancelled at once":
                        await trio.testing.wait_all_tasks_blocked()
                    else:
                        await trio.lowlevel.checkpoint()
                    if how == "failed":
                        job = next(job for job in home.engine.jobs if job.kind is Kind.FINAL)
                        home.engine.finish(job, Refusal(Code.MODEL_UNAVAILABLE, "no model"))
                    else:
                        session.cancel()

    trio.run(main, clock=autojump_clock)


async def test_finalize_of_a_session_that_has_ended_returns_at_once(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "no language model"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        began = trio.current_time()
        assert await session.finalize() == 0
        assert trio.current_time() == began


# --- what is refused --------------------------------------------------------------------------------------


async def test_a_gap_is_refused_and_nothing_is_taken(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        home.send(session, silence(0.1))
        with pytest.raises(Refused, match="from offset 3200") as refused:
            session.audio(home.producer, 3202, bytes(100))
        assert code_of(refused) is Code.BAD_AUDIO
        assert session.audio_offset == 3200


@pytest.mark.parametrize(
    ("offset", "size", "after"), [(0, 3200, 3200), (100, 100, 3200), (3000, 400, 3400), (0, 0, 3200)]
)
async def test_an_overlap_is_skipped_and_acknowledged(autojump_clock, tmp_path, offset, size, after):
    async with house(tmp_path) as home:
        session = await home.live()
        sound = sentence()
        home.send(session, sound[:3200])
        reader = Reader(session.feed)
        session.audio(home.producer, offset, sound[offset : offset + size])
        assert session.audio_offset == after
        assert home.spool.path(session.id).read_bytes() == sound[:after]
        ack = await reader.until(lambda one: isinstance(one, AudioAck))
        assert isinstance(ack, AudioAck)
        assert ack.offset == after


@pytest.mark.parametrize(("encoding", "size"), [("s16le", 3), ("f32le", 6)])
async def test_half_a_sample_is_refused(autojump_clock, tmp_path, encoding, size):
    async with house(tmp_path) as home:
        session = await home.live(audio=AudioFormat(encoding=encoding))
        with pytest.raises(Refused, match="whole samples") as refused:
            session.audio(home.producer, 0, bytes(size))
        assert code_of(refused) is Code.BAD_AUDIO


async def test_audio_over_the_credit_is_refused(autojump_clock, tmp_path):
    async with house(tmp_path, credit_s=2.0) as home:
        session = await home.live()
        assert session.credit == 2 * BYTES_S
        with pytest.raises(Refused) as refused:
            session.audio(home.producer, 0, bytes(2 * BYTES_S + 2))
        assert code_of(refused) is Code.OUT_OF_CREDIT
        session.audio(home.producer, 0, bytes(2 * BYTES_S))
        assert session.credit == 0


async def test_credit_comes_back_as_audio_is_dealt_with(autojump_clock, tmp_path):
    async with house(tmp_path, credit_s=2.0) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, bytes(2 * BYTES_S))
        await reader.until(lambda one: isinstance(one, AudioAck) and one.credit == 2 * BYTES_S)


async def test_credit_that_was_given_is_never_taken_back(autojump_clock, tmp_path):
    # An utterance begins before it is noticed; what the client was promised meanwhile must hold.
    async with house(tmp_path, credit_s=10.0) as home:
        session = await home.live()
        home.engine.hold = True
        promised = 0
        sound = silence(1.0) + sentence()
        for at in range(0, len(sound), 960):
            home.send(session, sound[at : at + 960])
            await trio.testing.wait_all_tasks_blocked()
            assert session.audio_offset + session.credit >= promised
            promised = session.audio_offset + session.credit


async def test_audio_after_the_end_is_refused(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        await session.end()
        with pytest.raises(Refused, match="has ended") as refused:
            home.send(session, bytes(100))
        assert code_of(refused) is Code.BAD_STATE
        with pytest.raises(Refused) as refused:
            await session.end()
        assert code_of(refused) is Code.BAD_STATE


async def test_audio_from_a_connection_that_does_not_produce_is_refused(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        with pytest.raises(Refused, match="attach with produce") as refused:
            session.audio(object(), 0, bytes(100))
        assert code_of(refused) is Code.BAD_STATE


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"audio": AudioFormat(rate=96000)}, Code.UNSUPPORTED_AUDIO, "96000"),
        ({"audio": AudioFormat(encoding="opus")}, Code.UNSUPPORTED_AUDIO, "opus"),
        ({"endpoint_ms": 100}, Code.BAD_REQUEST, "200 to 3000"),
        ({"endpoint_ms": 3001}, Code.BAD_REQUEST, "200 to 3000"),
        ({"endpoint_ms": 0}, Code.BAD_REQUEST, "200 to 3000"),
        ({"model": "large-v3"}, Code.UNKNOWN_MODEL, "builtin"),
        ({"language": "xx"}, Code.BAD_REQUEST, "en, de"),
        ({"language": ""}, Code.BAD_REQUEST, "en, de"),
        ({"prompt": "x" * 10_001}, Code.BAD_REQUEST, "prompt has 10001 characters; send at most 10000"),
        ({"hotwords": "x" * 10_001}, Code.BAD_REQUEST, "hotwords has 10001 characters"),
    ],
)
async def test_a_session_that_cannot_be_is_refused_with_what_can(autojump_clock, tmp_path, fields, code, named):
    async with house(tmp_path) as home:
        with pytest.raises(Refused, match=named) as refused:
            await home.live(**fields)
        assert code_of(refused) is code
        assert home.manager.counts().live == 0


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_a_model_of_one_language_translates_nothing_and_says_so(autojump_clock, tmp_path, is_loaded):
    async with house(tmp_path) as home:
        home.engine.languages = ["en"] if is_loaded else []
        with pytest.raises(Refused, match="cannot translate; leave task as transcribe") as refused:
            await home.live(task="translate")
        assert code_of(refused) is Code.BAD_REQUEST
        await home.live(task="transcribe", language="en")
        with pytest.raises(Refused, match=r"does not know language 'ko'; it knows en$"):
            await home.live(language="ko")


async def test_a_model_of_many_languages_translates(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(task="translate", language="de", prompt="p", hotwords="h")
        home.send(session, talk(1))
        await session.finalize()
        asked = home.engine.seen[-1].options
        assert (asked.task, asked.language, asked.prompt, asked.hotwords) == ("translate", "de", "p", "h")


async def test_without_a_model_no_session_begins(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.state, home.engine.message = "failed", "the model cannot be fetched; run convod --model builtin"
        with pytest.raises(Refused, match="--model builtin") as refused:
            await home.live()
        assert code_of(refused) is Code.MODEL_UNAVAILABLE


async def test_while_the_daemon_stops_no_session_begins(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        await home.manager.drain(1.0)
        with pytest.raises(Refused) as refused:
            await home.live()
        assert code_of(refused) is Code.BUSY


# --- keys, owners, cancel, delete -------------------------------------------------------------------------


async def test_the_same_key_gets_the_same_session(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        one = await home.live(key="k")
        assert await home.live(key="k") is one
        assert await home.live(key="other") is not one
        assert home.manager.counts().live == 2


async def test_the_key_of_a_session_that_is_over_gets_that_session(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        request = CreateSession(kind="live", summary=SummaryOptions(mode="off"), key="k")
        one = await home.create(request)
        await one.end()
        await one.wait_finished()
        journal, session = await home.manager.create("me", request, home.producer)
        assert journal.id == one.id
        assert session is None
        assert journal.record.state is State.COMPLETED


async def test_the_key_of_a_session_that_was_ended_is_no_error(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        one = await home.live(key="k", summary="final")
        await one.end()
        again = await home.live(key="k", summary="final")
        assert again is one
        assert not again.takes_audio


async def test_a_connection_that_produces_takes_over_from_one_that_looks_alive(autojump_clock, tmp_path):
    async with house(tmp_path, resume_s=30.0) as home:
        session = await home.live(key="k")
        old, home.producer = home.producer, object()
        assert await home.live(key="k") is session
        with pytest.raises(Refused, match="attach with produce"):
            session.audio(old, 0, bytes(100))
        home.send(session, bytes(100))
        session.producer_gone(old)  # noticed late
        await trio.sleep(3600)
        assert session.record.state is State.PROCESSING


async def test_the_same_key_at_the_same_time_is_one_session(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        sessions = []
        async with trio.open_nursery() as nursery:

            async def create():
                sessions.append(await home.live(key="k"))

            for _ in range(4):
                nursery.start_soon(create)
        assert len({id(session) for session in sessions}) == 1
        assert home.manager.counts().live == 1


async def test_to_others_a_session_does_not_exist(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(key="k")
        for request in (home.manager.journal, home.manager.running, home.manager.delete):
            with pytest.raises(Refused) as refused:
                await request("you", session.id)
            assert code_of(refused) is Code.UNKNOWN_SESSION
        assert await home.manager.running("me", session.id) is session


async def test_cancel_stops_at_once_and_keeps_what_was_transcribed(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await reader.until(lambda one: isinstance(one, TranscriptSegment))
        home.engine.hold = True
        home.send(session, talk(1))
        await trio.testing.wait_all_tasks_blocked()
        session.cancel()
        await reader.until_state(State.CANCELLED)
        await session.wait_finished()
        assert [segment.text for segment in await home.store.segments(session.id)] == ["sentence 0"]
        assert not home.spool.path(session.id).exists()
        assert session.id in home.engine.forgotten
        assert home.manager.find(session.id) is None
        with pytest.raises(Refused) as refused:
            session.cancel()
        assert code_of(refused) is Code.BAD_STATE


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.TRANSCRIBED])
async def test_cancel_while_a_state_is_being_stored_is_heard(autojump_clock, tmp_path, monkeypatch, state):
    async with house(tmp_path) as home:
        save = home.store.save

        async def save_and_cancel(record, events=(), **how):
            if record.state is state and any(isinstance(event, SessionState) for event in events):
                home.manager.find(record.id).cancel()
            await save(record, events, **how)

        monkeypatch.setattr(home.store, "save", save_and_cancel)
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.CANCELLED)
        await session.wait_finished()
        record = await home.store.get(session.id)
        assert record is not None
        assert record.state is State.CANCELLED


@pytest.mark.parametrize("finished", [False, True])
async def test_delete_removes_audio_and_text(autojump_clock, tmp_path, finished):
    async with house(tmp_path, keep_audio=True) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await reader.until(lambda one: isinstance(one, TranscriptSegment))
        if finished:
            await session.end()
            await reader.until_state(State.COMPLETED)
            await session.wait_finished()
        assert home.spool.path(session.id).exists()
        await home.manager.delete("me", session.id)
        assert not home.spool.path(session.id).exists()
        assert await home.store.get(session.id) is None
        assert await home.store.search("me", "sentence", 10) == []
        assert await home.store.events(session.id, 0, 10) == []
        with pytest.raises(Refused) as refused:
            await home.manager.delete("me", session.id)
        assert code_of(refused) is Code.UNKNOWN_SESSION


async def test_deleting_a_session_that_is_being_summarised_again_harms_no_other(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        await session.wait_finished()
        home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, SummaryOptions())
        await trio.testing.wait_all_tasks_blocked()
        await home.manager.delete("me", session.id)
        home.summarizers.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await home.live()).record.state is State.PENDING


# --- summaries --------------------------------------------------------------------------------------------


async def test_a_summary_is_streamed_stored_and_then_the_session_is_completed(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.COMPLETED)
        kinds = [type(event) for event in reader.events]
        assert kinds[-3:] == [SummaryDelta, FinalSummary, SessionState]
        assert [(event.text, event.restart) for event in reader.of(SummaryDelta)] == [("They spoke.", True)]
        (asked,) = home.summarizers.asked
        assert [segment.text for segment in asked.segments] == ["sentence 0"]
        summary = await home.store.summary(session.id)
        assert summary is not None
        assert summary.summary == "They spoke."


async def test_with_summary_off_completed_follows_transcribed_and_nobody_is_asked(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live(summary="off")
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.states[-2:] == [State.TRANSCRIBED, State.COMPLETED]
        assert home.summarizers.asked == []


async def test_while_no_summarizer_is_there_it_stays_transcribed_warns_once_and_tries_again(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        session = await home.live(summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1))
        await session.end()
        await reader.until_state(State.TRANSCRIBED)
        began = trio.current_time()
        await trio.sleep(3600)
        assert session.record.state is State.TRANSCRIBED
        await reader.take()
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.SUMMARIZER_UNAVAILABLE
        assert "away" in warning.message
        assert 10 <= len(home.summarizers.asked) <= 40  # 2, 4, 8 … 300 s, each up to half shorter
        home.summarizers.away = None
        await reader.until_state(State.COMPLETED)
        assert trio.current_time() - began <= 3600 + 300
        assert len(reader.of(FinalSummary)) == 1
        assert len(reader.of(SessionWarning)) == 1


async def completed(home):
    session = await home.live()
    reader = Reader(session.feed)
    await session.end()
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    await trio.testing.wait_all_tasks_blocked()
    return session, reader


async def test_a_summary_that_can_never_be_is_refused_when_the_session_is_created(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        request = CreateSession(kind="live", summary=SummaryOptions(style="sonnet"))
        with pytest.raises(Refused, match="choose one of") as refused:
            await home.create(request)
        assert code_of(refused) is Code.BAD_REQUEST


async def test_who_follows_a_session_that_ended_gets_a_summary_that_another_asks_for(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, reader = await completed(home)
        await home.manager.summarize("me", session.id, SummaryOptions())
        await reader.until(lambda one: isinstance(one, FinalSummary))


async def test_summaries_that_are_asked_for_side_by_side_leave_no_gap(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, _ = await completed(home)
        gates = []
        for gate in (trio.Event(), None, trio.Event()):
            home.summarizers.gate = gate
            gates.append(gate)
            await home.manager.summarize("me", session.id, SummaryOptions())
            await trio.testing.wait_all_tasks_blocked()
        for gate in (gates[0], gates[2]):
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
        events = await home.store.events(session.id, 0, 100)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(isinstance(event, FinalSummary) for event in events) == 3


async def test_rolling_summaries_come_while_there_is_new_talk(autojump_clock, tmp_path):
    """A little new talk waits; nothing comes of silence, and each takes in what is new only."""
    async with house(tmp_path, rolling_s=60.0) as home:
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(59)
        assert home.summarizers.rolled == []
        await trio.sleep(3)
        assert home.summarizers.rolled == [[0]]
        await trio.sleep(600)
        assert len(home.summarizers.rolled) == 1
        home.send(session, talk(2))
        await trio.sleep(61)
        assert home.summarizers.rolled == [[0], [1, 2]]
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert [event.origin.through for event in reader.of(RollingSummary)] == [0, 2]
        assert len(home.summarizers.asked) == 1  # the final one, of the whole


async def test_rolling_summaries_count_talk_and_not_time(autojump_clock, tmp_path):
    """Sent faster than it was spoken, two minutes of talk are two minutes of talk."""
    async with house(tmp_path, rolling_s=20.0) as home:
        session = await home.live(summary="rolling")
        for _ in range(4):
            home.send(session, talk(8))
            await session.finalize()
            await trio.sleep(0.5)
        assert session.record.duration_s > 60
        assert len(home.summarizers.rolled) >= 2
        assert [at for new in home.summarizers.rolled for at in new] == list(range(home.summarizers.rolled[-1][-1] + 1))


async def test_a_rolling_summary_goes_on_where_a_killed_daemon_left_it(autojump_clock, tmp_path):
    async with house(tmp_path, rolling_s=10.0) as home:
        session = await home.live(summary="rolling")
        home.send(session, talk(2))
        await Reader(session.feed).until(lambda one: isinstance(one, RollingSummary))
    async with house(tmp_path, rolling_s=10.0) as home:
        again = home.manager.find(session.id)
        again.produce(home.producer)
        home.send(again, talk(1))
        reader = Reader(again.feed)
        await reader.until(lambda one: isinstance(one, RollingSummary) and one.origin.through == 2)
        assert home.summarizers.rolled == [[2]]


async def test_a_rolling_summary_that_cannot_be_had_is_left_out_and_comes_later(autojump_clock, tmp_path):
    async with house(tmp_path, rolling_s=10.0) as home:
        home.summarizers.away = "away"
        home.summarizers.wait_s = 100.0
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(90)
        assert home.summarizers.rolled == [[0]]  # a breaker that is open is not asked again and again
        home.summarizers.away = None
        home.summarizers.back.set()
        await Reader(session.feed).until(lambda one: isinstance(one, RollingSummary))
        assert home.summarizers.rolled == [[0], [0]]


async def test_a_fault_in_a_rolling_summary_costs_no_session(autojump_clock, tmp_path, monkeypatch):
    async with house(tmp_path, rolling_s=10.0) as home:

        async def fault(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(home.summarizers, "roll", fault)
        session = await home.live(summary="rolling")
        home.send(session, talk(1))
        await trio.sleep(30)
        assert session.record.state is State.PROCESSING
        reader = Reader(session.feed)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.of(FinalSummary)) == 1


async def test_a_session_that_waits_goes_on_as_soon_as_a_summarizer_is_back(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.away = "the language model is away"
        home.summarizers.wait_s = 250.0
        session = await home.live(summary="final")
        home.send(session, talk(1))
        await session.end()
        reader = Reader(session.feed)
        await reader.until(lambda one: isinstance(one, SessionWarning))
        await trio.sleep(100)
        assert len(home.summarizers.asked) == 1
        home.summarizers.away = None
        began = trio.current_time()
        home.summarizers.back.set()
        await reader.until_state(State.COMPLETED)
        assert trio.current_time() - began < 1


async def test_what_the_transcript_does_not_contain_is_warned_of_before_the_summary(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.summarizers.unverified = ["Zebedee", "4711"]
        session = await home.live(summary="final")
        home.send(session, talk(1))
        await session.end()
        reader = Reader(session.feed)
        await reader.until_state(State.COMPLETED)
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.UNVERIFIED
        assert '"Zebedee", "4711"' in warning.message
        assert reader.events.index(warning) < reader.events.index(reader.of(FinalSummary)[0])


async def test_of_two_summaries_only_the_one_that_began_last_is_shown(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session, _ = await completed(home)
        journal = await home.manager.journal("me", session.id)
        reader = Reader(journal.feed, journal.feed.seq)
        gate = home.summarizers.gate = trio.Event()
        await home.manager.summarize("me", session.id, SummaryOptions())
        await trio.testing.wait_all_tasks_blocked()
        await reader.take()
        home.summarizers.gate = None
        await home.manager.summarize("me", session.id, SummaryOptions())
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        await reader.take()
        deltas = [(event.text, event.restart) for event in reader.of(SummaryDelta)]
        assert deltas == [("They spoke.", True), ("They spoke.", True)]
        assert len(await home.store.summaries(session.id, limit=10)) == 2


# --- the engine -------------------------------------------------------------------------------------------


async def test_a_stretch_that_cannot_be_decoded_is_a_warning_and_the_session_goes_on(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: (
            Refusal(Code.INTERNAL, "this stretch of audio stopped the engine again and again")
            if job.growing == home.engine.seen[0].growing  # the first utterance, at its pause and at its end
            else heard("the second")
        )
        session = await home.live(interim=False)
        reader = Reader(session.feed)
        home.send(session, talk(2))
        await session.end()
        await reader.until_state(State.COMPLETED)
        (warning,) = reader.of(SessionWarning)
        assert "stopped the engine" in warning.message
        assert [(one.segment, one.text) for one in reader.of(TranscriptSegment)] == [(0, "the second")]


async def test_without_a_model_a_session_fails_with_the_reason_and_says_so_in_the_log(autojump_clock, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: Refusal(Code.MODEL_UNAVAILABLE, "the model is broken; use builtin")
        session = await home.live(interim=False)
        reader = Reader(session.feed)
        home.send(session, talk(1))
        failed = await reader.until_state(State.FAILED)
        await session.wait_finished()
        await trio.testing.wait_all_tasks_blocked()
        assert (failed.code, failed.message) == (Code.MODEL_UNAVAILABLE, "the model is broken; use builtin")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


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
