"""A live session whose client, or whose engine, does something at an awkward moment."""

from __future__ import annotations

import pytest
import trio

from convo.messages import AudioFormat, Code, State, TranscriptPartial, TranscriptSegment
from convod.sessions import Refused
from convod.speech.decoding import Interims, Kind
from tests.daemon.support.house import Reader, house
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import REJECTED, heard, sentence, talk

BYTES_S = 2 * RATE
CUT = 2 * round(1.234 * RATE)
"""Within a word of the sentence."""


def finals(home) -> list:
    return [job for job in home.engine.seen if job.kind is Kind.FINAL]


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("how", ["finalized", "client stops sending"])
async def test_what_is_said_after_a_cut_in_mid_word_goes_on_at_the_next_sample(autojump_clock, tmp_path, how):
    async with house(tmp_path, idle_s=1.0) as home:
        session = await home.live(interim=False)
        reader = Reader(session.feed)
        sound = sentence() + silence(1.0)
        home.send(session, sound[:CUT])
        if how == "finalized":
            assert await session.finalize() == CUT
        else:
            began = trio.current_time()
            await reader.until(lambda one: isinstance(one, TranscriptSegment))
            assert 1.0 <= trio.current_time() - began <= 1.6  # idle_s and the endpoint
        home.send(session, sound[CUT:])
        await session.end()
        await reader.until_state(State.COMPLETED)
        one, two = reader.of(TranscriptSegment)
        assert one.end == pytest.approx(CUT / BYTES_S, abs=0.001)
        assert one.end <= two.start
        first, second = finals(home)[0], finals(home)[-1]
        assert sound[:CUT].endswith(first.audio)
        assert sound[CUT:].startswith(second.audio)


@pytest.mark.parametrize("answered", ["before the end", "after the end", "after it was asked for again"])
@pytest.mark.parametrize("pause_s", [0.25, 0.4])
async def test_an_end_while_the_text_of_a_pause_is_decoded_gives_one_segment(
    autojump_clock, tmp_path, answered, pause_s
):
    async with house(tmp_path) as home:
        home.engine.hold = True
        home.engine.texts = lambda number, job: heard(f"{len(job.audio) // 2} samples")
        session = await home.live(interim=False)
        reader = Reader(session.feed)
        home.send(session, sentence()[: 2 * round(2.75 * RATE)] + silence(pause_s), 640)
        await settle()
        (guess,) = home.engine.jobs
        assert guess.options.find_voice_end
        if answered == "before the end":
            home.engine.finish(guess)
            await settle()
            assert reader.of(TranscriptSegment) == []  # perhaps she goes on
        await session.end()
        if answered == "after it was asked for again":
            assert guess.due > trio.current_time()
            await settle()
            assert [job.due for job in home.engine.jobs] == [pytest.approx(trio.current_time(), abs=0.05)]
        home.engine.hold = False
        home.engine.finish_all()
        await reader.until_state(State.COMPLETED)
        (segment,) = reader.of(TranscriptSegment)
        assert segment.end == pytest.approx(2.75 + pause_s, abs=0.21)
        assert segment.text == f"{len(finals(home)[-1].audio) // 2} samples"
        assert not home.engine.jobs


@pytest.mark.parametrize("size", [3, 999, 8000])
async def test_telephone_sound_in_pieces_of_any_size_is_the_same_sound(autojump_clock, tmp_path, size):
    sound = (b"\xff" * 4000 + bytes(range(0, 256, 2)) * 20 + b"\xff" * 1000)[:7800]
    async with house(tmp_path) as home:
        session = await home.live(audio=AudioFormat(encoding="mulaw", rate=8000))
        home.send(session, sound, size)
        assert session.audio_offset == len(sound)
        assert await session.finalize() == len(sound)
        await session.end()
        await session.wait_finished()
        assert session.record.duration_s == pytest.approx(len(sound) / 8000)


async def test_three_bytes_are_no_whole_samples_where_a_sample_has_two(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.live()
        with pytest.raises(Refused, match="send whole samples, not 3 bytes") as refused:
            session.audio(home.producer, 0, bytes(3))
        assert refused.value.code is Code.BAD_AUDIO
        session.audio(home.producer, 0, bytes(2))  # nothing was taken, and it goes on
        assert session.audio_offset == 2


async def test_a_slow_engine_slows_the_client_and_nothing_is_dropped(autojump_clock, tmp_path):
    async with house(tmp_path, credit_s=20.0) as home:
        home.engine.hold = True
        session = await home.live(interim=False)
        reader = Reader(session.feed)
        sound, sent = talk(12), 0

        async def send_what_may_be_sent() -> None:
            nonlocal sent
            while take := min(session.credit, len(sound) - sent, 32000):
                session.audio(home.producer, sent, sound[sent : sent + take])
                sent += take
                await settle()

        await send_what_may_be_sent()
        # So much beyond where the first sentence begins, and not a byte more, however long it waits.
        assert 20 * BYTES_S <= sent <= 20.4 * BYTES_S
        await trio.sleep(600)
        assert session.credit == 0
        while sent < len(sound):
            home.engine.finish(next(iter(home.engine.jobs)))
            await settle()
            assert session.credit > 0, "what is published makes room"
            await send_what_may_be_sent()
            assert sum(len(job.audio) for job in home.engine.jobs) <= 20.4 * BYTES_S
        home.engine.hold = False
        home.engine.finish_all()
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) == 12


async def test_an_engine_that_never_answers_is_asked_for_one_interim_at_a_time(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.hold = True
        session = await home.live()
        sound = talk(3, 0.3)
        for at in range(0, len(sound), 1920):
            home.send(session, sound[at : at + 1920])
            await settle()
            assert sum(job.kind is Kind.INTERIM for job in home.engine.jobs) <= 1


async def test_a_machine_that_can_afford_no_interims_gives_finals(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.afford(Interims.NONE)
        session = await home.live()
        reader = Reader(session.feed)
        home.send(session, talk(2), 1920)
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert reader.of(TranscriptPartial) == []
        assert len(reader.texts) == 2


async def test_what_is_rejected_is_no_segment_and_leads_no_later_window(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: (
            heard("Gracias por ver.", language="es", **REJECTED) if number == 0 else heard("We begin.")
        )
        session = await home.live(interim=False, prompt="Names: Grace.", hotwords="Laura")
        reader = Reader(session.feed)
        for _ in range(2):
            home.send(session, talk(1))
            await session.finalize()
        await session.end()
        await reader.until_state(State.COMPLETED)
        assert [(one.segment, one.text) for one in reader.of(TranscriptSegment)] == [(0, "We begin.")]
        for job in home.engine.seen:
            assert (job.options.prompt, job.options.hotwords) == ("Names: Grace.", "Laura")
        assert finals(home)[1].options.language is None
