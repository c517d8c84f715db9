from __future__ import annotations

import struct

import pytest
import trio
import trio.testing

from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    Code,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    EndSession,
    Error,
    Export,
    Finalize,
    FinalizeReply,
    FinalSummary,
    GetSession,
    ListSessions,
    Ping,
    PingReply,
    Reply,
    Search,
    SessionState,
    SessionWarning,
    State,
    Summarize,
    SummaryOptions,
    TranscriptSegment,
)
from convod.store.spool import SpoolFile
from tests.daemon.support.hall import hall, of
from tests.daemon.support.sounds import silence
from tests.daemon.support.talk import sentence, talk


async def test_the_answer_to_create_comes_before_its_sessions_first_event(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await place.live(peer)
        await peer.until(lambda one: isinstance(one, SessionState))
        kinds = [type(message) for message in peer.had]
        assert kinds.index(CreateSessionReply) < kinds.index(SessionState)


async def test_a_talk_over_a_connection_ends_with_everything_said(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert created.config["endpoint_ms"] == 500
        sound = talk(2)
        for at in range(0, len(sound), 6400):
            await peer.send(Audio(session=created.session, offset=at, data=sound[at : at + 6400]))
        assert isinstance(await peer.ask(EndSession, session=created.session), Reply)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        segments = [message for message in peer.had if isinstance(message, TranscriptSegment)]
        assert [segment.text for segment in segments] == ["sentence 0", "sentence 1"]
        found = await peer.ask(GetSession, session=created.session)
        assert [segment.text for segment in found.segments] == ["sentence 0", "sentence 1"]
        assert found.state is State.COMPLETED
        exported = await peer.ask(Export, session=created.session, format="txt")
        assert "sentence 1" in exported.content
        assert [hit.segment for hit in (await peer.ask(Search, query="sentence")).hits] == [1, 0]


async def test_finalizes_reply_comes_after_its_segments_even_to_a_slow_reader(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client(pair=trio.testing.lockstep_stream_pair)
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=0, data=talk(3)[: 1 << 19]))
        request = peer.numbered(Finalize, session=created.session)
        await peer.send(request)
        await trio.sleep(5)
        reply = await peer.until(lambda one: isinstance(one, FinalizeReply | Error))
        assert isinstance(reply, FinalizeReply)
        assert reply.offset == len(talk(3))
        segments = [message for message in peer.had if isinstance(message, TranscriptSegment)]
        assert [segment.segment for segment in segments] == [0, 1, 2]
        assert peer.had[-1] is reply


async def test_finalize_covers_what_was_sent_before_it(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        place.home.engine.hold = True
        sound = sentence()[: 2 * 32000]
        await peer.send(
            Audio(session=created.session, offset=0, data=sound), peer.numbered(Finalize, session=created.session)
        )
        await trio.sleep(0.5)
        place.home.engine.hold = False
        place.home.engine.finish_all()
        reply = await peer.until(lambda one: isinstance(one, FinalizeReply))
        assert reply.offset == len(sound)


@pytest.mark.parametrize(
    ("offset", "size", "code"),
    [(100, 100, Code.BAD_AUDIO), (0, 101, Code.BAD_AUDIO)],
)
async def test_audio_that_does_not_fit_is_an_error_about_its_session(autojump_clock, tmp_path, offset, size, code):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=offset, data=bytes(size)))
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.id, error.session) == (code, None, created.session)
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_only_a_connection_that_brings_silence_may_rest(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert not peer.link.rests, "a request came last"
        await peer.send(Audio(session=created.session, offset=0, data=silence(1.0)))
        await trio.sleep(0.2)
        assert peer.link.rests
        await peer.ask(Ping)
        assert not peer.link.rests
        for offset in (32000, 64000):
            await peer.send(Audio(session=created.session, offset=offset, data=sentence()[:32000]))
            await trio.sleep(0.2)
        assert not peer.link.rests, "somebody speaks"


async def test_audio_for_no_session_is_an_error_and_the_connection_goes_on(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await peer.send(Audio(session="0123456789abcdef", offset=0, data=b""))
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.session) == (Code.UNKNOWN_SESSION, "0123456789abcdef")
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_pieces_that_come_together_are_stored_together_and_acknowledged_once(
    autojump_clock, tmp_path, monkeypatch
):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        written = []
        append = SpoolFile.append
        monkeypatch.setattr(SpoolFile, "append", lambda file, data: (written.append(len(data)), append(file, data)))
        pieces = [Audio(session=created.session, offset=at, data=bytes(640)) for at in range(0, 3200, 640)]
        await peer.send(*pieces, peer.numbered(Ping))
        before = trio.current_time()
        ack = await peer.until(lambda one: isinstance(one, AudioAck) and one.offset > 0)
        assert (ack.offset, written) == (3200, [3200])
        assert trio.current_time() == before, "it was gathered already"


async def test_of_pieces_that_come_together_those_before_a_bad_one_are_taken(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        sizes = (640, 640, 641, 639)  # two halves of a sample are none, even where they come together
        offsets = [sum(sizes[:at]) for at in range(4)]
        await peer.send(
            *(
                Audio(session=created.session, offset=at, data=bytes(size))
                for at, size in zip(offsets, sizes, strict=True)
            )
        )
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.session) == (Code.BAD_AUDIO, created.session)
        assert place.home.manager.find(created.session).audio_offset == 1280
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_what_breaks_the_contract_right_behind_audio_does_not_take_it_along(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        session = place.home.manager.find(created.session)
        pieces = [Audio(session=created.session, offset=at, data=bytes(640)) for at in (0, 640)]
        data = b"".join(peer.connection.send(piece) for piece in pieces)
        await peer.raw(data + struct.pack(">I", 3) + b"\xc1\xc1\xc1")
        rest = await peer.rest()
        assert rest[-1].code == Code.BAD_MESSAGE
        assert session.audio_offset == 1280


async def test_audio_over_the_credit_closes_the_connection_and_leaves_the_session(autojump_clock, tmp_path):
    async with hall(tmp_path, credit_s=1.0) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert created.credit == 32000
        await peer.send(Audio(session=created.session, offset=0, data=silence(1.5)))
        rest = await peer.rest()
        assert isinstance(rest[-1], Error)
        assert (rest[-1].code, rest[-1].session) == (Code.OUT_OF_CREDIT, created.session)
        assert peer.link.closed == [(Code.OUT_OF_CREDIT, False)]
        again = await place.client()
        attached = await again.ask(Attach, session=created.session, produce=True)
        assert isinstance(attached, AttachReply)
        assert attached.audio_offset == 0


async def test_a_link_that_drops_leaves_the_session_to_the_next_one_which_misses_nothing(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        sound = talk(2)
        await peer.send(Audio(session=created.session, offset=0, data=sound[: len(talk(1))]))
        segment = await peer.until(lambda one: isinstance(one, TranscriptSegment))
        await peer.stream.aclose()
        await trio.sleep(10)
        assert place.connections == 0
        again = await place.client()
        attached = await again.ask(Attach, session=created.session, after_seq=segment.seq, produce=True)
        assert attached.audio_offset == len(talk(1))
        await again.send(Audio(session=created.session, offset=attached.audio_offset, data=sound[len(talk(1)) :]))
        await again.ask(EndSession, session=created.session)
        await again.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        seqs = [
            message.seq for message in again.had if hasattr(message, "seq") and not isinstance(message, AttachReply)
        ]
        assert seqs == list(range(segment.seq + 1, segment.seq + 1 + len(seqs)))
        assert [message.segment for message in again.had if isinstance(message, TranscriptSegment)] == [1]


async def test_a_reader_that_stalls_is_cut_off_and_its_session_goes_on(autojump_clock, tmp_path, caplog):
    async with hall(tmp_path) as place:
        peer = await place.client(pair=trio.testing.lockstep_stream_pair, stall_s=30.0)
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=0, data=talk(1)))
        began = trio.current_time()
        await place.left.wait()
        assert 25.0 <= trio.current_time() - began <= 40.0
        assert peer.link.aborted
        assert "takes nothing" in caplog.text
        session = place.home.manager.find(created.session)
        assert session is not None
        assert session.record.segments == 1
        assert session.producer is None


async def test_a_reader_of_a_finished_session_gets_the_summary_that_it_asks_for(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer, other = await place.client(), await place.client()
        created = await place.live(peer)
        await peer.ask(EndSession, session=created.session)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        await trio.sleep(1)
        attached = await other.ask(Attach, session=created.session)
        assert isinstance(attached, AttachReply)
        assert isinstance(await other.ask(Summarize, session=created.session), Reply)
        summary = await other.until(lambda one: isinstance(one, FinalSummary | SessionWarning))
        assert isinstance(summary, FinalSummary)


async def test_while_no_summarizer_is_there_summarize_says_so(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert of(Code.BAD_STATE)(await peer.ask(Summarize, session=created.session))
        await peer.ask(EndSession, session=created.session)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        await trio.sleep(1)
        place.home.summarizers.away = "the language model is away"
        error = await peer.ask(Summarize, session=created.session)
        assert of(Code.SUMMARIZER_UNAVAILABLE)(error)


async def test_detach_stops_the_events_and_delete_forgets_the_session(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert isinstance(await peer.ask(Detach, session=created.session), Reply)
        assert of(Code.UNKNOWN_SESSION)(await peer.ask(Detach, session=created.session))
        assert isinstance(await peer.ask(DeleteSession, session=created.session), Reply)
        assert of(Code.UNKNOWN_SESSION)(await peer.ask(GetSession, session=created.session))
        assert (await peer.ask(ListSessions)).sessions == []


async def test_ending_twice_is_a_bad_state(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        await peer.ask(EndSession, session=created.session)
        assert of(Code.BAD_STATE)(await peer.ask(EndSession, session=created.session))
        await peer.send(Audio(session=created.session, offset=0, data=bytes(100)))
        error = await peer.until(lambda one: isinstance(one, Error) and one.id is None)
        assert (error.code, error.session) == (Code.BAD_STATE, created.session)
