"""A live session from its creation to its end, with what the engine does for it."""

from __future__ import annotations

import logging
from math import log

import msgspec
import pytest
import trio

from convo.messages import (
    AudioAck,
    AudioFormat,
    Code,
    Retranscribe,
    SessionRenamed,
    SessionWarning,
    SpeechEnded,
    State,
    TranscriptPartial,
    TranscriptSegment,
)
from convod.engine.supervisor import Refusal
from convod.speech.decoding import Kind
from tests.daemon.support.house import Reader, house
from tests.daemon.support.sounds import BYTES_S, RATE, silence
from tests.daemon.support.talk import heard, sentence, talk
from tests.support.speech import pcm

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


class Rounds(trio.abc.Instrument):
    """Counts how often the loop has given every task that can run a turn."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


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
        again = await home.manager.retranscribe("me", "me", Retranscribe(session=first.id))
        session = home.manager.find(again)
        assert session is not None
        reader = Reader(session.feed)
        rounds = Rounds()
        trio.lowlevel.add_instrument(rounds)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(rounds)
        heard_s = sum(job.seconds for job in home.engine.jobs)
        assert 20 < heard_s < 40 + 28
        assert rounds.count > heard_s / 4  # others would have had their turns between
        assert {job.kind for job in home.engine.jobs} == {Kind.FINAL}
        home.engine.hold = False
        home.engine.finish_all()
        await reader.until_state(State.COMPLETED)
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
        home.engine.begin()
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
        assert not home.engine.jobs


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


# --- the engine -------------------------------------------------------------------------------------------


async def test_a_stretch_that_cannot_be_decoded_is_a_warning_and_the_session_goes_on(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: (
            Refusal(Code.INTERNAL, "this stretch of audio stopped the engine again and again")
            # The first utterance, at its pause and at its end.
            if job.window.stream_key == home.engine.seen[0].window.stream_key
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


@pytest.mark.parametrize(
    ("wanted", "said", "renamed"),
    [
        (None, "Hello there.", "Hello there."),
        (None, "Hm.", None),
        (None, "おはようございます。", "おはようございます。"),
        (None, "So the first thing that we have to talk about is the budget of the next year, and then the rest",
         "So the first thing that we have to talk about is the…"),
        ("Interview", "Hello there.", None),
    ],
)  # fmt: skip
async def test_a_talk_without_a_title_is_named_after_its_first_words(autojump_clock, tmp_path, wanted, said, renamed):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard(said if number == 0 else "And so on, and so on.")
        session = await home.live(title=wanted, summary="final")
        reader = Reader(session.feed)
        home.send(session, talk(1 if renamed is None else 2))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert [event.title for event in reader.of(SessionRenamed)] == [renamed] * (renamed is not None)
        assert session.record.title == (renamed or wanted or "")
        assert home.summarizers.asked[0].title == (wanted or "")  # its own words tell a summarizer nothing


@pytest.mark.parametrize("title", ["Mine", ""])
async def test_a_title_that_a_user_gave_stays(autojump_clock, tmp_path, title):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        await home.manager.update("me", session.id, title, None)
        home.send(session, talk(2))
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert [event.title for event in reader.of(SessionRenamed)] == [title]
        assert session.record.title == title


@pytest.mark.parametrize("seconds", [4.0, 1.0])
async def test_silence_is_told_with_what_it_was_taken_for(autojump_clock, tmp_path, seconds):
    async with house(tmp_path) as home:
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, silence(seconds))
        await session.end()
        await reader.until_state(State.COMPLETED)
        warnings = [(warning.code, warning.message) for warning in reader.of(SessionWarning)]
        sentence = (
            "no speech was found in 4 s of sound; it was taken for s16le at 16000 Hz with 1 channel: check that it is, "
            "and that the right microphone is on"
        )
        assert warnings == ([("no_speech", sentence)] if seconds > 3 else [])


@pytest.mark.parametrize(
    ("rate", "sure", "warned"),
    [(16000, 0.5, ["wrong_rate"]), (16000, 0.9, []), (48000, 0.5, [])],
    ids=["doubtful", "sure of its words", "no higher rate"],
)
async def test_dull_sound_with_doubtful_words_may_be_of_another_rate(autojump_clock, tmp_path, rate, sure, warned):
    async with house(tmp_path, credit_s=60.0) as home:
        home.engine.texts = lambda number, job: msgspec.structs.replace(heard("2-0-0-0"), avg_logprob=log(sure))
        session = await home.live(audio=AudioFormat(rate=rate))
        reader = Reader(session.feed)
        home.send(session, pcm("talk.flac", 48000)[: 2 * 48000 * 18])
        await session.end()
        await reader.until_state(State.COMPLETED)
        warnings = [warning for warning in reader.of(SessionWarning) if warning.code == Code.WRONG_RATE]
        assert [warning.code for warning in warnings] == warned
        assert all("if it was recorded at 48000 Hz, say so" in warning.message for warning in warnings)
