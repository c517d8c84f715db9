"""Several convods on one PostgreSQL: one is killed, or hangs and wakes up."""

from __future__ import annotations

import base64
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import convo
from convo import messages
from tests.fakes.httpserver import serving
from tests.support.daemon import Daemon
from tests.support.faults import Row, started
from tests.support.postgres import Server
from tests.support.sessions import OFF, assert_whole, states, text, upload
from tests.support.speech import DATA, pcm, truth, word_error_rate

LEASE_S = 3.0
AGAIN_S = 0.1


@contextmanager
def pair(tmp_path: Path, postgres: Server, **environment: str) -> Iterator[tuple[Daemon, Daemon]]:
    with postgres.fresh() as address:
        settings = {"CONVOD_STORE_URL": address, "CONVOD_STORE_LEASE_S": str(LEASE_S), **environment}
        for name in "ab":
            (tmp_path / name).mkdir()
        with started(tmp_path / "a", **settings) as a, started(tmp_path / "b", **settings) as b:
            yield a, b


async def taken_over(client: convo.Client, session: str) -> convo.ClientSession:
    """Send a session's audio as soon as this convod takes it."""
    while True:
        try:
            return await client.attach(session, produce=True)
        except convo.RequestError as error:
            if error.code != "busy":
                raise
            await trio.sleep(AGAIN_S)


async def uploaded(client: convo.Client, data: bytes) -> convo.ClientSession:
    """Upload a file; a convod that has just woken up refuses audio until it knows that its lease holds."""
    session = await client.create_session("file", summary=OFF)
    while True:
        try:
            await session.send_audio(data[session.acknowledged :])
            await session.end()
            return session
        except convo.RequestError as error:
            if error.code != "busy":
                raise
            await trio.sleep(AGAIN_S)
            session = await client.attach(session.id, produce=True)


def audio_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.audio"))


def faults(daemon: Daemon) -> list[str]:
    return [line for line in daemon.log if "Traceback" in line or "fault of convod" in line]


async def test_a_convod_that_hangs_and_one_that_is_killed(tmp_path: Path, row: Row, postgres: Server) -> None:
    row.promise(
        "of two convods on one PostgreSQL and one folder of audio, one hangs and wakes up, then is killed -9",
        "the other one goes on with its sessions, each once; readers at the other miss nothing; the one that wakes up "
        "writes nothing of them; a request for one of them is done at whichever convod, or by the next; a hook tells "
        "each end once",
    )
    told: Counter[str] = Counter()
    untold: list[str] = []  # while this is so, the receiver of that end is out of order
    (tmp_path / "secret").write_text(base64.b64encode(bytes(32)).decode())

    async def hook(request: Any, reply: Any) -> None:
        session = request.json["session"]["session"]
        if session in untold:
            refused.set()
            await reply.send(500, b"")
        else:
            told[session] += 1
            await reply.send(204, b"")

    refused = trio.Event()
    audio = pcm("single.flac")
    half = len(audio) // 4 * 2
    spool = tmp_path / "spool"
    async with AsyncExitStack() as stack:
        hooks = {
            "CONVOD_HOOKS_URL": await stack.enter_async_context(serving(hook)),
            "CONVOD_HOOKS_SECRET_FILE": str(tmp_path / "secret"),
        }
        shared = {"CONVOD_SPOOL_PATH": str(spool), "CONVOD_SESSIONS_RESUME_S": "5"}
        a, b = stack.enter_context(pair(tmp_path, postgres, **shared, **hooks))
        async with convo.connect(a.url) as at_a, convo.connect(b.url) as at_b:
            live = await at_a.create_session("live", summary=OFF)
            follower = await at_b.attach(live.id)
            await live.send_audio(audio[:half])
            await live.finalize()
            assert any(isinstance(event, messages.TranscriptSegment) for event in await some(follower))
            # Lists and searches are one.
            assert [one.session for one in (await at_b.request(messages.ListSessions())).sessions] == [live.id]
            with pytest.raises(convo.RequestError) as error:
                await at_b.attach(live.id, produce=True)
            assert error.value.code == "busy"
            # What is not audio is done by the one that works on it.
            await at_b.request(messages.UpdateSession(session=live.id, title="renamed elsewhere"))
            assert (await at_a.get_session(live.id)).title == "renamed elsewhere"

            a.send(signal.SIGSTOP)
            await at_b.request(messages.AddMark(session=live.id, time=1.0, text="made as its convod hung"))
            again = await taken_over(at_b, live.id)
            a.send(signal.SIGCONT)
            await a.wait_log("left to another convod")
            # What it was sending as it hung may have taken too long, so that it cuts that connection.
            async with convo.connect(a.url) as anew:
                with pytest.raises(convo.RequestError) as error:
                    await anew.attach(live.id, produce=True)
            assert error.value.code == "busy"
            await again.send_audio(audio[half:])
            await again.end()
            events = [event async for event in again.events()]
            assert len((await at_b.get_session(live.id)).marks) == 1
        assert_whole(events)
        assert states(events)[-1] == "completed"
        assert word_error_rate(truth("single"), text(events)) < 0.5

        async with convo.connect(a.url) as at_a, convo.connect(b.url) as at_b:
            await at_a.request(messages.PauseQueue())
            file = await uploaded(at_a, (DATA / "short.wav").read_bytes())
            live = await at_a.create_session("live", summary=OFF)
            await live.send_audio(audio[:half])
            await live.finalize()
            over = await at_a.create_session("live", summary=OFF)
            untold.append(over.id)
            await over.end()
            await refused.wait()
            a.kill()
            untold.clear()
            again = await taken_over(at_b, live.id)
            await again.send_audio(audio[half:])
            await again.end()
            assert_whole(events := [event async for event in again.events()])
            assert word_error_rate(truth("single"), text(events)) < 0.5
            # Its owner's files are paused at each of them.
            assert (await at_b.request(messages.ListQueue())).paused
            await at_b.request(messages.ResumeQueue())
            assert_whole(events := [event async for event in (await at_b.attach(file.id)).events()])
            assert states(events) == ["pending", "processing", "transcribed", "completed"]
            direct = await upload(at_b, (DATA / "short.wav").read_bytes(), summary=OFF)
            assert text(events) == text(direct)
            ids = {one.session for one in (await at_b.request(messages.ListSessions())).sessions}
            while set(told) != ids:  # noqa: ASYNC110
                await trio.sleep(AGAIN_S)
        assert set(told.values()) == {1}
        assert not audio_in(spool)
        assert not faults(a) + faults(b)
    row.saw("taken over once each, whole")


async def some(session: convo.ClientSession) -> list[messages.Event]:
    """The events up to the first segment."""
    seen: list[messages.Event] = []
    async for event in session.events():
        seen.append(event)
        if isinstance(event, messages.TranscriptSegment):
            break
    return seen


@pytest.mark.slow
async def test_audio_that_only_a_dead_convod_has(tmp_path: Path, row: Row, postgres: Server) -> None:
    row.promise(
        "of two convods on one PostgreSQL, each with a folder of audio of its own, one is killed -9 with an upload",
        "the session fails with `audio_elsewhere` and a sentence that says what to do; where its audio is, it can be "
        "retried",
    )
    with pair(tmp_path, postgres, CONVOD_STORE_AUDIO_GRACE_S="0") as (a, b):
        async with convo.connect(b.url) as at_b:
            async with convo.connect(a.url) as at_a:
                await at_a.request(messages.PauseQueue())
                file = await at_a.create_session("file", summary=OFF)
                await file.send_audio((DATA / "short.wav").read_bytes())
                await file.end()
                kept = await at_a.create_session("file", summary=OFF, keep_audio=True)
                a.kill()
            events = [event async for event in (await at_b.attach(file.id)).events()]
            (failed,) = [one for one in events if isinstance(one, messages.SessionState) and one.state == "failed"]
            assert failed.code == "audio_elsewhere"
            assert "send it again" in (failed.message or "")
            with pytest.raises(convo.RequestError) as error:
                await at_b.request(messages.RetrySession(session=file.id))
            assert error.value.code == "audio_elsewhere"
            assert "has stopped; start it" in str(error.value)
            await at_b.request(messages.DeleteSession(session=kept.id))
            a.start()
            async with convo.connect(a.url) as at_a:
                await at_a.request(messages.ResumeQueue())
                await at_b.request(messages.RetrySession(session=file.id))  # done by the one that has the audio
                retried = await at_b.attach(file.id, after_seq=failed.seq)
                events += [event async for event in retried.events()]
            assert_whole(events)
            assert states(events)[-1] == "completed"
        while audio_in(a.state / "spool"):  # noqa: ASYNC110 - its end is seen before that is deleted
            await trio.sleep(AGAIN_S)
        assert not faults(a) + faults(b)
    row.saw(failed.message or "")
