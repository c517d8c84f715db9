from __future__ import annotations

import errno
import io
import os
import signal
import threading
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import pytest
import trio

from convo.messages import (
    AudioFormat,
    Code,
    CreateSession,
    Progress,
    SessionWarning,
    State,
    SummaryOptions,
    TranscriptPartial,
    TranscriptSegment,
)
from convod.engine.decode import decoding
from convod.engine.supervisor import Refusal
from convod.sessions import Refused, file
from convod.sessions.feed import EventLog
from convod.speech.decoding import Kind
from tests.daemon.support.house import House, Reader, house
from tests.daemon.support.talk import heard
from tests.support.speech import DATA, pcm
from tests.support.until import until

AHEAD = 16

RUN_SYNC = trio.to_thread.run_sync

SINGLE = (DATA / "single.flac").read_bytes()
TALK = (DATA / "talk.flac").read_bytes()
MP3 = (DATA / "talk.mp3").read_bytes()

FILE = CreateSession(kind="file", summary=SummaryOptions(mode="off"), language="en")

# The clock of these tests is the real one: they wait for a decoding process, and no time-out is near. What is about
# time-outs alone runs on a virtual clock.


async def upload(home: House, data: bytes, **fields):
    # With the language said, no window waits for the first one's.
    wanted = {"language": "en", "summary": SummaryOptions(mode="off")} | fields
    session = await home.create(CreateSession(kind="file", **wanted))
    reader = Reader(session.feed)
    home.send(session, data, 100_000)
    await session.end()
    return session, reader


async def test_a_file_is_transcribed_with_progress_and_without_partials(tmp_path):
    async with house(tmp_path) as home:
        session, reader = await upload(home, SINGLE, audio=AudioFormat(name="single.flac"))
        await reader.until_state(State.COMPLETED)
        assert reader.states == [State.PENDING, State.PROCESSING, State.TRANSCRIBED, State.COMPLETED]
        assert reader.texts == ["sentence 0"]
        assert reader.of(TranscriptPartial) == []
        progress = reader.of(Progress)
        done = [one.done_s for one in progress]
        assert progress[-1].total_s == pytest.approx(3.34, abs=0.01)
        assert done[-1] == pytest.approx(3.34, abs=0.01)
        assert {job.kind for job in home.engine.seen} == {Kind.FILE}
        assert session.record.title == "single.flac"
        assert session.record.duration_s == pytest.approx(3.34, abs=0.01)
        await session.wait_finished()
        assert not home.spool.path(session.id).exists()


async def test_progress_never_goes_back(tmp_path, monkeypatch):
    async with house(tmp_path) as home:
        said, send = [], EventLog.send
        monkeypatch.setattr(EventLog, "send", lambda feed, event: said.append(event) or send(feed, event))
        _, reader = await upload(home, SINGLE)  # its speech begins a moment after its sound
        await reader.until_state(State.COMPLETED)
        done = [event.done_s for event in said if isinstance(event, Progress)]
        assert done[-1] == pytest.approx(3.34, abs=0.01)
        assert done == sorted(done)


async def test_an_upload_is_on_the_disk_before_its_end_is_answered(tmp_path, monkeypatch):
    order = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: order.append("audio") or fdatasync(file))
    async with house(tmp_path) as home:
        save = home.store.save

        async def saved(record, events=(), *, durable=False, **how):
            await save(record, events, durable=durable, **how)
            if durable:
                order.append("record")

        monkeypatch.setattr(home.store, "save", saved)
        session = await home.create(FILE)
        home.send(session, SINGLE, 100_000)
        assert not order
        await session.end()
        assert order == ["audio", "record"]


async def test_an_upload_that_the_disk_does_not_take_is_said(tmp_path, monkeypatch):
    def broken(file):
        raise OSError(errno.EIO, "Input/output error")

    async with house(tmp_path) as home:
        session = await home.create(FILE)
        reader = Reader(session.feed)
        home.send(session, SINGLE, 100_000)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", broken)
            with pytest.raises(Refused, match="could not be written") as refused:
                await session.end()
        assert refused.value.code is Code.BUSY
        await session.end()
        await reader.until_state(State.COMPLETED)


async def test_an_end_that_was_said_holds_though_its_connection_is_gone(tmp_path, monkeypatch):
    async with house(tmp_path) as home:
        session = await home.create(FILE)
        reader = Reader(session.feed)
        home.send(session, SINGLE, 100_000)
        with trio.CancelScope() as connection:
            monkeypatch.setattr(os, "fdatasync", lambda file: connection.cancel())  # in this thread
            await session.end()
        assert connection.cancel_called
        await reader.until_state(State.COMPLETED)


async def test_a_recording_that_lost_its_end_with_the_power_is_not_taken_for_whole(tmp_path):
    async with house(tmp_path) as home:
        session = await home.create(FILE)
        home.engine.hold = True
        home.send(session, SINGLE, 100_000)
        await session.end()
        path = home.spool.path(session.id)
    with path.open("r+b") as file:
        file.truncate(len(SINGLE) - 1)
    async with house(tmp_path) as home:
        session = home.manager.find(session.id)
        reader = Reader(session.feed)
        state = await reader.until_state(State.FAILED)
        assert (state.code, state.message) == (
            "bad_audio", "a power cut took a part of the audio; send the file again",
        )  # fmt: skip


async def test_nothing_is_transcribed_before_the_upload_is_whole(tmp_path):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file", summary=SummaryOptions(mode="off")))
        home.send(session, SINGLE[:20000])
        await trio.testing.wait_all_tasks_blocked()
        assert (session.record.state, home.engine.seen) == (State.PENDING, [])


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"this is a letter and no recording\n" * 20, "FFmpeg can read"),
        ((DATA / "talk.json").read_bytes(), "FFmpeg can read"),
    ],
)
async def test_what_is_no_recording_fails_with_a_sentence(tmp_path, data, named):
    async with house(tmp_path) as home:
        _, reader = await upload(home, data)
        failed = await reader.until_state(State.FAILED)
        assert failed.code == Code.BAD_AUDIO
        assert failed.message is not None
        assert named in failed.message


async def test_a_damaged_file_gives_what_can_be_read_and_a_warning(tmp_path):
    async with house(tmp_path) as home:
        _, reader = await upload(home, MP3[:100_000] + bytes(3000) + MP3[103_000:])
        await reader.until_state(State.COMPLETED)
        assert len(reader.of(TranscriptSegment)) >= 10
        (warning,) = reader.of(SessionWarning)
        assert warning.code == Code.BAD_AUDIO
        assert "damaged" in warning.message


def flac(*tracks: bytes) -> bytes:
    """A recording with these tracks, mono s16le at 16 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", "matroska") as out:
        streams = [out.add_stream("flac", rate=16000, layout="mono") for _ in tracks]
        for stream, data in zip(streams, tracks, strict=True):
            frame = av.AudioFrame("s16", "mono", len(data) // 2)
            frame.planes[0].update(data)
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            for piece in [*av.AudioResampler(frame_size=stream.frame_size or 1024).resample(frame), None]:
                out.mux(stream.encode(piece))
    return file.getvalue()


SILENCE = bytes(2 * 16000 * 4)


@pytest.mark.parametrize(
    ("tracks", "warned"),
    [
        ([SILENCE], [("no_speech", "no speech was found in 4 s of sound; listen to it")]),
        ([SILENCE, SILENCE], [("no_speech", "this is track 1 of its 2: choose another one (--track)")]),
        ([SILENCE, pcm("single.flac")], [("other_track", "track 1 of the file is silent, so track 2 of 2")]),
        ([SILENCE[:32000]], []),
    ],
    ids=["silence", "two silent tracks", "one silent track", "a second of silence"],
)
async def test_where_nothing_is_said_a_warning_says_what_to_try(tmp_path, tracks, warned):
    async with house(tmp_path) as home:
        _, reader = await upload(home, flac(*tracks))
        await reader.until_state(State.COMPLETED)
        assert bool(reader.texts) is any(any(track) for track in tracks)
        warnings = [(warning.code, warning.message) for warning in reader.of(SessionWarning)]
        assert [code for code, _ in warnings] == [code for code, _ in warned]
        assert all(part in sentence for (_, sentence), (_, part) in zip(warnings, warned, strict=True))


async def test_decoding_waits_while_the_engine_is_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "AHEAD", AHEAD)
    async with house(tmp_path) as home:
        home.engine.hold = True
        data = (DATA / "minutes.flac").read_bytes()
        _, reader = await upload(home, data)
        await until(lambda: len(home.engine.jobs) > AHEAD)
        await trio.testing.wait_all_tasks_blocked()
        assert AHEAD < len(home.engine.jobs) <= AHEAD + 2  # a piece of audio may end two
        home.engine.hold = False
        home.engine.finish_all()
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) > AHEAD + 2


async def test_after_a_kill_the_text_is_as_if_nothing_had_happened(tmp_path):
    async def texts(state, kill: bool) -> list[tuple[int, float, float]]:
        async with house(state) as home:
            session, reader = await upload(home, TALK)
            if not kill:
                await reader.until_state(State.COMPLETED)
            else:
                home.engine.hold = True
                await until(lambda: len(home.engine.jobs) >= 3)
                home.engine.finish(next(iter(home.engine.jobs)))
                await reader.until(lambda one: isinstance(one, TranscriptSegment))
        if kill:
            async with house(state) as home:
                again = home.manager.find(session.id)
                assert again is not None
                assert again.record.segments >= 1
                reader = Reader(again.feed)
                await reader.until_state(State.COMPLETED)
                numbers = [one.segment for one in reader.of(TranscriptSegment)]
                assert numbers == list(range(len(numbers)))
        return [(one.segment, one.start, one.end) for one in reader.of(TranscriptSegment)]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert await texts(tmp_path / "a", kill=True) == await texts(tmp_path / "b", kill=False)


class Decoders:
    """The decoding processes that sessions start. Each one that `kill` names is killed as soon as it runs."""

    def __init__(self, monkeypatch) -> None:
        self.processes: list[trio.Process] = []
        self.kill: signal.Signals | None = None
        monkeypatch.setattr(file, "decoding", self._decoding)
        monkeypatch.setattr(file, "PAUSE_S", 0.0)

    @asynccontextmanager
    async def _decoding(self, path, **how):
        async with decoding(path, **how) as decoded:
            self.processes.append(decoded.process)
            if self.kill is not None:
                decoded.process.send_signal(self.kill)
            yield decoded


# Each time it is further, so that it may be killed more often than it may fail at one place.
@pytest.mark.parametrize(("context", "kills", "windows"), [("short", file.TRIES + 1, 20), ("full", 2, 3)])
async def test_when_its_decoder_is_killed_the_text_is_as_if_nothing_had_happened(
    tmp_path, monkeypatch, context, kills, windows
):
    monkeypatch.setattr(file, "AHEAD", 0)

    async def heard(state, kills: int):
        decoders = Decoders(monkeypatch)
        async with house(state) as home:
            home.engine.context = context
            home.engine.hold = True
            _, reader = await upload(home, (DATA / "minutes.flac").read_bytes())
            for killed in range(kills):
                # It waits for the engine, and its decoder for it: most of the file is still to come.
                await until(lambda: len(decoders.processes) == killed + 1 and home.engine.jobs)  # noqa: B023
                assert decoders.processes[killed].returncode is None
                decoders.processes[killed].kill()
                assert await decoders.processes[killed].wait() == -signal.SIGKILL
                home.engine.hold = False
                home.engine.finish_all()
                await until(lambda: len(decoders.processes) == killed + 2)  # noqa: B023
                home.engine.hold = True
            home.engine.hold = False
            home.engine.finish_all()
            await reader.until_state(State.COMPLETED)
            assert len(decoders.processes) == kills + 1
            assert reader.of(SessionWarning) == []
            done = [one.done_s for one in reader.of(Progress)]
            assert done == sorted(done)
            return [(one.segment, one.start, one.end, one.text) for one in reader.of(TranscriptSegment)]

    undisturbed = await heard(tmp_path / "a", 0)
    assert len(undisturbed) >= windows
    assert await heard(tmp_path / "b", kills) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_when_its_decoder_is_killed_again_and_again_it_fails_and_may_be_tried_again(
    tmp_path, monkeypatch, number
):
    decoders = Decoders(monkeypatch)
    decoders.kill = number
    async with house(tmp_path) as home:
        session, reader = await upload(home, TALK)
        failed = await reader.until_state(State.FAILED)
        assert failed.code == Code.INTERNAL
        assert failed.message is not None
        assert f"{file.TRIES} times ({number.name})" in failed.message
        assert [process.returncode for process in decoders.processes] == [-number] * file.TRIES
        await session.wait_finished()
        assert home.spool.path(session.id).read_bytes() == TALK
        decoders.kill = None
        await home.manager.retry("me", session.id)
        await reader.until_state(State.COMPLETED)
        assert len(reader.texts) >= 10
        assert [one.segment for one in reader.of(TranscriptSegment)] == list(range(len(reader.texts)))


async def test_a_pause_comes_before_another_try(tmp_path, monkeypatch, mock_clock, caplog):
    # The clock stands still unless it is turned: a decoding process may take as long as it likes.
    decoders = Decoders(monkeypatch)
    decoders.kill = signal.SIGTERM
    once, twice, soon = 2.125, 4.25, 0.125
    monkeypatch.setattr(file, "PAUSE_S", once)
    async with house(tmp_path) as home:
        _, reader = await upload(home, SINGLE)
        for tries, pause_s in enumerate((once, twice), 1):
            await until(lambda: caplog.text.count("ended early") == tries)  # noqa: B023
            mock_clock.jump(pause_s - soon)
            await trio.testing.wait_all_tasks_blocked()
            assert len(decoders.processes) == tries
            mock_clock.jump(soon)
            await until(lambda: len(decoders.processes) == tries + 1)  # noqa: B023
        await reader.until_state(State.FAILED)


async def test_cancel_in_mid_file_stops_the_decoding_process(tmp_path):
    async with house(tmp_path) as home:
        home.engine.hold = True
        session, reader = await upload(home, TALK)
        await until(lambda: home.engine.jobs)
        session.cancel()
        await reader.until_state(State.CANCELLED)
        await session.wait_finished()
        assert not home.spool.path(session.id).exists()


async def test_cancel_does_not_wait_until_a_large_file_was_read(tmp_path, monkeypatch):
    began, cancelled, over = threading.Event(), threading.Event(), threading.Event()
    went_on = []

    def of_gigabytes(session, go_on=lambda: True):
        began.set()
        went_on.append(go_on())  # a piece was read
        cancelled.wait(60)
        went_on.append(go_on())
        over.set()
        return ""

    async with house(tmp_path) as home:
        monkeypatch.setattr(trio.to_thread, "run_sync", RUN_SYNC)  # the house has no threads
        monkeypatch.setattr(home.spool, "digest", of_gigabytes)
        session, reader = await upload(home, SINGLE)
        await trio.to_thread.run_sync(began.wait)
        session.cancel()
        with trio.fail_after(5):
            await reader.until_state(State.CANCELLED)
            cancelled.set()
            await trio.to_thread.run_sync(over.wait)
    assert went_on == [True, False]


async def test_files_wait_for_their_turn(tmp_path):
    async with house(tmp_path) as home:
        home.engine.hold = True
        uploads = [await upload(home, SINGLE) for _ in range(3)]
        await until(lambda: len({job.session for job in home.engine.jobs}) == 2)
        await trio.testing.wait_all_tasks_blocked()
        states = sorted(session.record.state for session, _ in uploads)
        assert states == [State.PENDING, State.PROCESSING, State.PROCESSING]
        home.engine.hold = False
        home.engine.finish_all()
        for _, reader in uploads:
            await reader.until_state(State.COMPLETED)


async def test_an_upload_that_nobody_goes_on_with_fails(autojump_clock, tmp_path):
    async with house(tmp_path, upload_idle_s=3600.0) as home:
        session = await home.create(CreateSession(kind="file"))
        reader = Reader(session.feed)
        home.send(session, SINGLE[:1000])
        await trio.sleep(10_000)
        assert session.record.state is State.PENDING  # its client is still there
        session.producer_gone()
        await trio.sleep(3599)
        assert session.record.state is State.PENDING
        failed = await reader.until_state(State.FAILED)
        assert "send the file again" in (failed.message or "")


async def test_an_upload_may_go_on_over_another_connection(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file"))
        home.send(session, SINGLE[:1000])
        session.producer_gone()
        home.producer = object()
        session.produce(home.producer)
        home.send(session, SINGLE[1000:])
        assert home.spool.path(session.id).read_bytes() == SINGLE


async def test_an_upload_has_credit_for_what_comes_next(autojump_clock, tmp_path):
    async with house(tmp_path, upload_credit_bytes=1000) as home:
        session = await home.create(CreateSession(kind="file"))
        assert session.credit == 1000
        session.audio(home.producer, 0, bytes(1000))
        assert session.credit == 1000
        with pytest.raises(Refused) as refused:
            session.audio(home.producer, 1000, bytes(1001))
        assert refused.value.code is Code.OUT_OF_CREDIT


async def test_a_file_cannot_be_finalized_and_has_one_container(autojump_clock, tmp_path):
    async with house(tmp_path) as home:
        session = await home.create(CreateSession(kind="file"))
        with pytest.raises(Refused, match="end_session"):
            await session.finalize()
        with pytest.raises(Refused, match="container") as refused:
            await home.create(CreateSession(kind="file", audio=AudioFormat(container="mp3")))
        assert refused.value.code is Code.UNSUPPORTED_AUDIO


async def test_a_model_that_is_lost_in_mid_file_fails_the_session(tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: Refusal(Code.MODEL_UNAVAILABLE, "the model is gone; use builtin")
        _, reader = await upload(home, (DATA / "minutes.flac").read_bytes())
        failed = await reader.until_state(State.FAILED)
        assert (failed.code, failed.message) == (Code.MODEL_UNAVAILABLE, "the model is gone; use builtin")


async def test_of_a_file_a_voice_without_words_is_a_warning_and_its_language_is_expected(tmp_path):
    async with house(tmp_path) as home:
        home.engine.texts = lambda number, job: heard("Freitag.", language="de", uncovered=(0.5, 2.5))
        _, reader = await upload(home, TALK, language=None)
        await reader.until_state(State.COMPLETED)
        warnings = reader.of(SessionWarning)
        segments = reader.of(TranscriptSegment)
        assert {warning.code for warning in warnings} == {Code.UNCOVERED}
        assert len(warnings) == len(segments) > 3
        assert {job.options.language for job in home.engine.seen} == {None}
        assert [job.window.expected for job in home.engine.seen] == [None, *["de"] * (len(segments) - 1)]
