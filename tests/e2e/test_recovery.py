"""Processes that die, links that break, clients that vanish: what was acknowledged is heard, once, in order."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, assert_whole, of, segments, states, talk_live, text, upload
from tests.support.speech import DATA, pcm, truth, word_error_rate, words
from tests.support.wire import Map, wired

SECOND = 32000
"""Bytes of a second of a talk."""

PATIENT = {"CONVOD_SESSIONS_IDLE_S": "120"}
"""A test that stops in the middle of an utterance is not taken for a client that has nothing more to say."""


@dataclass(frozen=True)
class Undisturbed:
    """What comes of the recordings when nothing happens to anybody."""

    live: list[messages.TranscriptSegment]
    file: list[messages.TranscriptSegment]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that is not killed itself."""
    with running(tmp_path_factory.mktemp("convod"), environment=PATIENT) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def undisturbed(daemon: Daemon) -> Undisturbed:
    async def run() -> Undisturbed:
        async with convo.connect(daemon.url) as client:
            live = await talk_live(client, pcm("talk.flac"), summary=OFF)
            file = await upload(client, (DATA / "minutes.flac").read_bytes(), summary=OFF)
        return Undisturbed(segments(live), segments(file))

    return trio.run(run)


@asynccontextmanager
async def started(directory: Path, **environment: str) -> AsyncIterator[Daemon]:
    """A daemon of the test's own, that it may kill."""
    with running(directory, environment=PATIENT | environment) as daemon:
        yield daemon


async def kill(daemon: Daemon) -> None:
    await trio.to_thread.run_sync(daemon.kill)


async def start(daemon: Daemon) -> None:
    await trio.to_thread.run_sync(daemon.start)


async def wait_gone(processes: list[int]) -> None:
    """Until the processes have ended; whoever asks has set a time limit."""
    for process in processes:
        while Path(f"/proc/{process}/status").exists():  # noqa: ASYNC110, ASYNC240 - no event tells of another's child
            await trio.sleep(0.01)


def nth_segment(number: int) -> Any:
    return lambda event: isinstance(event, messages.TranscriptSegment) and event.segment == number


def what(heard: list[messages.TranscriptSegment]) -> list[tuple[int, float, float, str]]:
    return [(segment.segment, segment.start, segment.end, segment.text) for segment in heard]


def said(heard: list[messages.TranscriptSegment]) -> list[str]:
    return words(" ".join(segment.text for segment in heard))


def assert_alike(heard: list[messages.TranscriptSegment], undisturbed: list[messages.TranscriptSegment]) -> None:
    """The same utterances at the same times.

    A daemon that goes on begins its frames at the last segment's end, so an utterance may begin or end a frame or two
    earlier, and the model may then guess another word; an utterance that is lost, doubled or cut is not let through.
    """
    assert len(heard) == len(undisturbed)
    for one, other in zip(heard, undisturbed, strict=True):
        assert abs(one.start - other.start) < 0.2
        assert abs(one.end - other.end) < 0.2
        assert abs(len(said([one])) - len(said([other]))) <= 1, (one.text, other.text)
    assert word_error_rate(" ".join(said(undisturbed)), " ".join(said(heard))) < 0.03


def stored(daemon: Daemon, session: str) -> list[Map]:
    """The session's events as they are on disk."""
    database = sqlite3.connect(daemon.state / "convod.sqlite")
    try:
        rows = database.execute("SELECT body FROM events WHERE session = ? ORDER BY seq", (session,)).fetchall()
    finally:
        database.close()
    return [msgpack.unpackb(body) for (body,) in rows]


# --- the engine -------------------------------------------------------------------------------------------------


async def test_no_words_are_missing_when_the_engine_is_killed_in_mid_session(
    daemon: Daemon, undisturbed: Undisturbed
) -> None:
    audio = pcm("talk.flac")
    async with convo.connect(daemon.url) as client:
        before = (await client.request(messages.Status())).engine.restarts
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(audio[: 30 * SECOND])
        # Windows wait for the engine, one is being decoded: now.
        events = [event async for event in session.events(until=nth_segment(2))]
        for process in (killed := daemon.workers()):
            os.kill(process, signal.SIGKILL)
        await session.send_audio(audio[30 * SECOND :])
        await session.end()
        events += [event async for event in session.events()]
        status = await client.request(messages.Status())
    assert killed
    assert status.engine.restarts >= before + 1
    assert said(segments(events)) == said(undisturbed.live)
    assert_whole(events)
    assert not of(messages.SessionWarning, events)
    await wait_gone(killed)


async def test_a_file_is_whole_though_its_engine_was_killed_twice(daemon: Daemon, undisturbed: Undisturbed) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("file", summary=OFF)
        await session.send_audio((DATA / "minutes.flac").read_bytes())
        await session.end()
        events: list[messages.Event] = []
        for number in (2, 16):  # far enough apart that no window is hit twice, and given up
            events += [event async for event in session.events(until=nth_segment(number))]
            for process in daemon.workers():
                os.kill(process, signal.SIGKILL)
        events += [event async for event in session.events()]
    assert said(segments(events)) == said(undisturbed.file)
    assert_whole(events)


async def test_cancel_ends_a_window_that_would_take_long_and_the_next_file_does_not_wait_for_it(
    tmp_path: Path,
) -> None:
    """A worker that is stopped stands for a large model in mid-window: it would be at it until `engine.deadline_s`."""
    async with started(tmp_path, CONVOD_ENGINE_WORKERS="1") as daemon, convo.connect(daemon.url) as client:
        # Stopped before there is anything to do, it is surely at work when windows wait behind its own.
        while (await client.request(messages.Status())).engine.state != "ready":  # noqa: ASYNC110
            await trio.sleep(0.05)
        stopped = daemon.workers()
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        # With its language given: until it is known, one window goes alone and none waits.
        session = await client.create_session("file", language="en", summary=OFF)
        await session.send_audio((DATA / "minutes.flac").read_bytes())
        await session.end()
        while (await client.request(messages.Status())).queue.file == 0:  # noqa: ASYNC110
            await trio.sleep(0.05)
        events = []
        with trio.fail_after(5):  # one second where nothing else goes on
            await session.cancel()
            events += [event async for event in session.events()]
        assert states(events)[-1] == "cancelled"
        with trio.fail_after(60):
            assert text(await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF))
        assert not set(stopped) <= set(daemon.workers())
        assert not list((daemon.state / "spool").glob("*.audio"))


# --- the daemon -------------------------------------------------------------------------------------------------


async def test_a_talk_is_whole_though_its_daemon_was_killed_again_and_again(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    audio = pcm("talk.flac")
    events: list[messages.Event] = []
    session = ""

    async def go_on(client: convo.Client) -> convo.ClientSession:
        """Create the session, or attach where the last daemon was killed; send nothing yet."""
        if not session:
            return await client.create_session("live", summary=OFF)
        return await client.attach(session, after_seq=of(messages.DurableEvent, events)[-1].seq, produce=True)

    async def send(live: convo.ClientSession, until: int) -> None:
        begin = live.reply.audio_offset if isinstance(live.reply, messages.AttachReply) else 0
        assert begin >= acknowledged, "acknowledged audio is there"
        await live.send_audio(audio[begin:until])

    acknowledged = 0
    async with started(tmp_path) as daemon:
        # When it has just been created.
        async with convo.connect(daemon.url) as client:
            live = await go_on(client)
            session = live.id
            events += [event async for event in live.events(until=lambda event: True)]
            await kill(daemon)
        await start(daemon)
        # In the middle of the fifth sentence: four are there, and some seconds that nothing was made of yet.
        async with convo.connect(daemon.url) as client:
            live = await go_on(client)
            await send(live, int(11.5 * SECOND))
            events += [event async for event in live.events(until=nth_segment(3))]
            acknowledged = live.acknowledged
            await kill(daemon)
        assert acknowledged == int(11.5 * SECOND)
        await start(daemon)
        # While windows wait for the engine, and more audio is on its way.
        async with convo.connect(daemon.url) as client:
            live = await go_on(client)
            await send(live, 30 * SECOND)
            events += [event async for event in live.events(until=nth_segment(6))]
            acknowledged = live.acknowledged
            await kill(daemon)
        await start(daemon)
        # When the end was announced, but has not been heard.
        async with convo.connect(daemon.url) as client:
            live = await go_on(client)
            await send(live, len(audio))
            await live.end()
            await kill(daemon)
        await start(daemon)
        async with convo.connect(daemon.url) as client:
            live = await client.attach(session, after_seq=of(messages.DurableEvent, events)[-1].seq)
            events += [event async for event in live.events()]
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert_whole(events)
    assert_alike(segments(events), undisturbed.live)


async def test_a_killed_daemons_session_that_nobody_resumes_is_finished_from_its_spool(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    async with started(tmp_path, CONVOD_SESSIONS_RESUME_S="0.2") as daemon:
        async with convo.connect(daemon.url) as client:
            live = await client.create_session("live", summary=OFF)
            await live.send_audio(pcm("talk.flac"))
            all_stored = len(pcm("talk.flac"))
            events = [
                event
                async for event in live.events(
                    until=lambda event: isinstance(event, messages.AudioAck) and event.offset == all_stored
                )
            ]
            await kill(daemon)
        await start(daemon)
        async with convo.connect(daemon.url) as client:
            again = await client.attach(live.id)
            events = [event async for event in again.events()]
            shown = await client.get_session(live.id)
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert_whole(events)
    assert_alike(segments(events), undisturbed.live)
    assert said(segments(events))[-4:] == ["see", "you", "next", "week"]
    assert [segment.text for segment in shown.segments] == [segment.text for segment in segments(events)]


async def test_a_file_is_whole_though_its_daemon_was_killed_in_the_middle_of_it(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    async with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            file = await client.create_session("file", summary=OFF)
            await file.send_audio((DATA / "minutes.flac").read_bytes())
            await file.end()
            events = [event async for event in file.events(until=nth_segment(4))]
            await kill(daemon)
        await start(daemon)
        async with convo.connect(daemon.url) as client:
            again = await client.attach(file.id, after_seq=of(messages.DurableEvent, events)[-1].seq)
            events += [event async for event in again.events()]
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert_whole(events)
    assert what(segments(events)) == what(undisturbed.file)


async def test_an_upload_goes_on_where_its_daemon_was_killed(tmp_path: Path, undisturbed: Undisturbed) -> None:
    file = (DATA / "minutes.flac").read_bytes()
    async with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            upload = await client.create_session("file", summary=OFF)
            await upload.send_audio(file[:300_000])
            ack = [e async for e in upload.events(until=lambda e: getattr(e, "offset", 0) == 300_000)]
            await kill(daemon)
        assert ack
        await start(daemon)
        async with convo.connect(daemon.url) as client:
            again = await client.attach(upload.id, produce=True)
            assert isinstance(again.reply, messages.AttachReply)
            assert again.reply.audio_offset == 300_000
            await again.send_audio(file[300_000:])
            await again.end()
            events = [event async for event in again.events()]
    assert what(segments(events)) == what(undisturbed.file)


async def test_workers_end_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    async with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            live = await client.create_session("live", summary=OFF)
            await live.send_audio(pcm("single.flac"))
            await live.finalize()
            workers = daemon.workers()
            await kill(daemon)
        assert workers
        await wait_gone(workers)


# --- stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_daemon_that_is_told_to_stop_stores_the_last_words_first(tmp_path: Path, transport: str) -> None:
    async with started(tmp_path) as daemon:
        status: list[int] = []
        async with trio.open_nursery() as nursery, wired(getattr(daemon, transport)) as wire:
            session = (await wire.ask("create_session", kind="live", summary={"mode": "off"}))["session"]
            audio = pcm("talk.flac")[: int(11.9 * SECOND)]  # "I think the test plan", and no silence after it
            await wire.send({"type": "audio", "session": session, "offset": 0, "data": audio})
            await wire.wait(lambda message: message.get("segment") == 3 and "text" in message)
            workers = daemon.workers()
            nursery.start_soon(partial(_stop, daemon, status))
            told = [m for m in await wire.wait_end() if m["type"] == "transcript_segment"]
            assert wire.close_code == (1001 if transport == "web" else None)
        await wait_gone(workers)
    assert workers
    assert status == [0]
    kept = [event for event in stored(daemon, session) if event["type"] == "transcript_segment"]
    assert "test plan" in kept[-1]["text"].lower()
    assert [segment["text"] for segment in told] == [kept[-1]["text"]]
    assert not any("Traceback" in line for line in daemon.log)


async def _stop(daemon: Daemon, status: list[int]) -> None:
    status.append(await trio.to_thread.run_sync(daemon.stop))


async def test_a_talk_goes_on_after_its_daemon_was_stopped_and_started(tmp_path: Path) -> None:
    audio = pcm("talk.flac")
    pause = int(9.9 * SECOND)  # between two sentences
    async with started(tmp_path) as daemon:
        async with convo.connect(daemon.url) as client:
            live = await client.create_session("live", summary=OFF)
            await live.send_audio(audio[:pause])
            events = [event async for event in live.events(until=nth_segment(2))]
            assert await trio.to_thread.run_sync(daemon.stop) == 0
        await start(daemon)
        async with convo.connect(daemon.url) as client:
            again = await client.attach(live.id, after_seq=of(messages.DurableEvent, events)[-1].seq, produce=True)
            assert isinstance(again.reply, messages.AttachReply)
            assert again.reply.audio_offset == pause
            await again.send_audio(audio[pause:])
            await again.end()
            events += [event async for event in again.events()]
    assert_whole(events)
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert word_error_rate(truth("talk"), text(events)) <= 0.05


# --- clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_client_that_vanishes_gets_its_session_ended_with_its_last_words(
    tmp_path: Path, undisturbed: Undisturbed, transport: str
) -> None:
    audio = pcm("talk.flac")[: int(11.9 * SECOND)]
    async with started(tmp_path, CONVOD_SESSIONS_RESUME_S="0.2") as daemon:
        async with wired(getattr(daemon, transport)) as wire:
            session = (await wire.ask("create_session", kind="live", summary={"mode": "off"}))["session"]
            await wire.send({"type": "audio", "session": session, "offset": 0, "data": audio})
            await wire.wait(lambda message: message.get("offset") == len(audio))
            await wire.cut()
        async with convo.connect(getattr(daemon, transport)) as client:
            watching = await client.attach(session)
            events = [event async for event in watching.events()]
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    assert_whole(events)
    assert said(segments(events)[:4]) == said(undisturbed.live[:4])
    assert said(segments(events)[4:])[3:5] == ["test", "plan"]


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_link_may_be_cut_and_resumed_twice(daemon: Daemon, undisturbed: Undisturbed, transport: str) -> None:
    audio = pcm("talk.flac")
    got: list[Map] = []
    session, offset = "", 0
    for until, enough in ((int(11.5 * SECOND), 3), (int(25.5 * SECOND), 8), (len(audio), None)):
        async with wired(getattr(daemon, transport)) as wire:
            if session:
                reply = await wire.ask("attach", session=session, after_seq=got[-1]["seq"], produce=True)
                offset = reply["audio_offset"]
            else:
                reply = await wire.ask("create_session", kind="live", summary={"mode": "off"})
                session = reply["session"]
            assert reply["type"] == "ok"
            await wire.send(
                *(
                    {"type": "audio", "session": session, "offset": at, "data": audio[at : min(at + 6400, until)]}
                    for at in range(offset, until, 6400)
                )
            )
            if enough is None:
                await wire.ask("end_session", session=session)
                last = await wire.wait(lambda message: message.get("state") == "completed")
            else:
                last = await wire.wait(lambda message, n=enough: message.get("segment") == n and "text" in message)
            await wire.cut()
        got += [message for message in [*wire.passed, last] if "seq" in message and message["type"] != "ok"]
    assert [event["seq"] for event in got] == list(range(1, len(got) + 1))
    heard = [event for event in got if event["type"] == "transcript_segment"]
    assert [event["segment"] for event in heard] == list(range(len(heard)))
    assert words(" ".join(event["text"] for event in heard)) == said(undisturbed.live)


async def test_a_client_that_only_stops_sending_gets_its_final_and_may_go_on(tmp_path: Path) -> None:
    audio = pcm("talk.flac")
    with running(tmp_path, environment={"CONVOD_SESSIONS_IDLE_S": "0.3"}) as daemon:
        async with convo.connect(daemon.url) as client:
            live = await client.create_session("live", summary=OFF)
            await live.send_audio(audio[: int(12.3 * SECOND)])
            events = [event async for event in live.events(until=nth_segment(4))]
            assert "test plan" in segments(events)[-1].text.lower()
            await live.send_audio(audio[int(13.0 * SECOND) - SECOND // 10 :])
            await live.end()
            events += [event async for event in live.events()]
    assert_whole(events)
    assert said(segments(events))[-4:] == ["see", "you", "next", "week"]
    assert word_error_rate(truth("talk"), text(events)) <= 0.07  # "schedule" was cut


async def test_a_session_that_is_cancelled_keeps_what_was_said(daemon: Daemon) -> None:
    async with convo.connect(daemon.url) as client:
        live = await client.create_session("live", summary=OFF)
        await live.send_audio(pcm("talk.flac")[: 10 * SECOND])
        events = [event async for event in live.events(until=nth_segment(1))]
        await live.cancel()
        events += [event async for event in live.events()]
        shown = await client.get_session(live.id)
    assert states(events)[-1] == "cancelled"
    assert [segment.text for segment in shown.segments] == [segment.text for segment in segments(events)]
    assert_whole(events)
