"""What clients may ask of a session: audio and requests that are refused, keys, owners, cancel, delete."""

from __future__ import annotations

import pytest
import trio

from convo.messages import (
    AudioAck,
    AudioFormat,
    Code,
    CreateSession,
    SessionState,
    State,
    SummaryOptions,
    TranscriptSegment,
)
from convod.sessions import Refused
from tests.daemon.support.house import Reader, code_of, house
from tests.daemon.support.sounds import BYTES_S, silence
from tests.daemon.support.talk import sentence, talk

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
        ({"languages": ["de", "xx"]}, Code.BAD_REQUEST, "does not know language 'xx'; it knows en, de"),
        ({"languages": ["de"], "language": "en"}, Code.BAD_REQUEST, "leave languages out"),
        ({"languages": ["x" * 101]}, Code.BAD_REQUEST, "language has 101 characters"),
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


@pytest.mark.parametrize(
    ("given", "language", "languages"),
    [(["en", "de", "en"], None, ["en", "de"]), (["de", "de"], "de", None), ([], None, None), (None, None, None)],
)
async def test_languages_narrow_what_may_be_spoken_and_one_is_the_language(
    autojump_clock, tmp_path, given, language, languages
):
    async with house(tmp_path) as home:
        session = await home.live(languages=given)
        config = session.record.config
        assert (config.language, config.languages) == (language, languages)
        home.send(session, talk(1))
        await session.finalize()
        asked = home.engine.seen[-1].options
        assert (asked.language, asked.languages) == (language, languages and tuple(languages))


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
