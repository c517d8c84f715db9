"""Decoders of files are killed, hang, or get headers that lie: others finish, and the session says why it failed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from convod.engine.decode import STALL_S
from tests.support.daemon import Daemon
from tests.support.faults import Row, started, unharmed, warm
from tests.support.hostile import FILES
from tests.support.sessions import OFF, assert_whole, of, states, text, upload
from tests.support.speech import DATA, truth, word_error_rate

AT_ONCE = 2
"""Files that are decoded at once."""


async def begin(client: convo.Client, data: bytes) -> convo.ClientSession:
    session = await client.create_session("file", summary=OFF)
    await session.send_audio(data)
    await session.end()
    return session


async def events_of(session: convo.ClientSession) -> list[messages.Event]:
    return [event async for event in session.events()]


async def decoders(daemon: Daemon, count: int) -> list[int]:
    """The decoders of so many files, once they run."""
    while len(found := daemon.decoders()) < count:  # noqa: ASYNC110 - of another process
        await trio.sleep(0.01)
    return found


async def test_a_decoder_that_is_killed(tmp_path: Path, row: Row) -> None:
    row.promise("decoder killed, in the middle of a file", "the file is decoded again; no word is missing or twice")
    with started(tmp_path) as daemon:
        await warm(daemon)
        async with unharmed(daemon) as witness, convo.connect(daemon.url) as client:
            await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF)
            session = await begin(client, (DATA / "talk.flac").read_bytes())
            (decoder,) = await decoders(daemon, 1)

            async def kill() -> None:
                os.kill(decoder, signal.SIGKILL)

            await witness.during(kill)
            events = await events_of(session)
            assert_whole(events)
            assert states(events)[-1] == "completed"
            assert word_error_rate(truth("talk"), text(events)) < 0.3
            await client.request(messages.DeleteSession(session=session.id))
        row.saw(f"whole, {len(of(messages.SessionWarning, events))} warnings; {witness.seen}")


@pytest.mark.slow
async def test_decoders_that_hang(tmp_path: Path, row: Row) -> None:
    row.promise(
        f"as many decoders hung as run at once, while another file waits (deadline {STALL_S:.0f} s)",
        "each is ended, its session fails as `internal` and keeps its audio; the next file has its turn",
    )
    with started(tmp_path) as daemon:
        await warm(daemon)
        async with unharmed(daemon) as witness, convo.connect(daemon.url) as client:
            await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF)
            hung = [await begin(client, (DATA / "minutes.flac").read_bytes()) for _ in range(AT_ONCE)]
            stopped = await decoders(daemon, AT_ONCE)

            async def hang() -> None:
                for decoder in stopped:
                    os.kill(decoder, signal.SIGSTOP)

            await witness.during(hang)
            begun = trio.current_time()
            waiting = await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF)
            waited = trio.current_time() - begun
            assert states(waiting)[-1] == "completed"
            assert waited < STALL_S + 30
            for session in hung:
                failed = of(messages.SessionState, await events_of(session))[-1]
                assert (failed.state, failed.code) == ("failed", "internal")
                assert "gave nothing for too long" in (failed.message or "")
            assert daemon.decoders() == []
        row.saw(f"the other file was done after {waited:.0f} s; {witness.seen}")


async def test_headers_that_lie(tmp_path: Path, row: Row) -> None:
    row.promise(
        f"{len(FILES)} files whose headers ask for gigabytes, one after the other, beside another file",
        "each decoder takes less than 512 MB, its session says one sentence; the other file finishes",
    )
    with started(tmp_path) as daemon:
        await warm(daemon)
        async with unharmed(daemon) as witness, convo.connect(daemon.url) as client:
            await upload(client, (DATA / "single.flac").read_bytes(), summary=OFF)
            ended: list[str] = []

            async def send() -> None:
                for make in FILES.values():
                    events = await upload(client, make(), summary=OFF)
                    last = of(messages.SessionState, events)[-1]
                    ended.append(str(last.state))
                    assert last.state == "completed" or (last.message and "\n" not in last.message)
                    assert not last.message or "was ended" not in last.message

            other = await begin(client, (DATA / "talk.flac").read_bytes())
            await witness.during(send)
            events = await events_of(other)
            assert states(events)[-1] == "completed"
            assert word_error_rate(truth("talk"), text(events)) < 0.3
        row.saw(f"{ended.count('failed')} refused, {ended.count('completed')} with what sound they had; {witness.seen}")
