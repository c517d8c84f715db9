"""A disk that is full: refused in words, nothing that was acknowledged is lost, and it goes on once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, assert_whole, of, segments, states, text
from tests.support.speech import pcm, truth, word_error_rate, words
from tests.support.wire import wired

SIZE = 3 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A state directory with three MiB of room in all."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    state = tmp_path / "state"
    state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(state)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mount is not allowed here")
    try:
        yield state
    finally:
        subprocess.run(["umount", str(state)], check=True)


@pytest.fixture
def daemon(small: Path) -> Iterator[Daemon]:
    with running(small.parent, environment={"CONVOD_SESSIONS_IDLE_S": "120"}) as daemon:
        yield daemon


def fill(state: Path, *, leave: int = 0) -> Path:
    """Take the room that is left but for some bytes."""
    file = state / "something else"
    # Unbuffered and a page at a time: the daemon writes too, and may take the last page first.
    with suppress(OSError), file.open("wb", buffering=0) as taken:
        while shutil.disk_usage(state).free > leave:
            taken.write(bytes(4096))
    return file


async def send_all(session: convo.ClientSession, data: bytes) -> None:
    """Send, and wait until it is acknowledged."""
    await session.send_audio(data)
    async for event in session.events():
        if isinstance(event, messages.AudioAck) and event.offset == len(data):
            return


async def create_many(client: convo.Client) -> None:
    """Sessions until there is no room: the database may have some of its own for a few."""
    for _ in range(200):
        await client.create_session("live", title="x" * 200, prompt="y" * 4000)


async def test_a_full_disk_is_told_and_a_live_session_goes_on_when_there_is_room_again(
    daemon: Daemon, small: Path
) -> None:
    audio = pcm("talk.flac")
    async with convo.connect(daemon.url) as client, wired(daemon.url) as wire:
        bystander = await client.create_session("live", summary=OFF)
        await bystander.send_audio(pcm("single.flac"))
        await bystander.finalize()
        live = (await wire.ask("create_session", kind="live", summary={"mode": "off"}))["session"]
        pieces = [
            {"type": "audio", "session": live, "offset": at, "data": audio[at : at + 32000]}
            for at in range(0, len(audio), 32000)
        ]
        await wire.send(*pieces[:8])
        await wire.wait(lambda message: message.get("offset") == 256_000)
        taken = fill(small, leave=100_000)
        await wire.send(*pieces[8:16])
        error = await wire.wait_error()
        assert error["code"] == "busy"
        assert error["session"] == live
        assert "room" in error["message"]
        assert (await wire.ask("ping"))["type"] == "ok"
        reply = await client.request(messages.Status())
        assert reply.sessions.live == 2
        # Room is made; what was acknowledged is there, the rest is sent again.
        taken.unlink()
        attached = await wire.ask("attach", session=live, after_seq=0, produce=True)
        stored = attached["audio_offset"]
        acknowledged = [message["offset"] for message in wire.passed if message["type"] == "audio_ack"]
        assert stored == max(acknowledged)
        assert 256_000 <= stored < 512_000
        rest = audio[stored:]
        for at in range(0, len(rest), 32000):
            await wire.send({"type": "audio", "session": live, "offset": stored + at, "data": rest[at : at + 32000]})
        await wire.ask("end_session", session=live)
        await wire.wait(lambda message: message.get("state") == "completed")
        shown = await client.get_session(live)
        assert word_error_rate(truth("talk"), " ".join(segment.text for segment in shown.segments)) <= 0.05
        await bystander.end()
        events = [event async for event in bystander.events()]
    assert states(events)[-1] == "completed"
    assert word_error_rate(truth("single"), text(events)) < 0.2


async def test_segments_wait_for_room_and_come_in_order(daemon: Daemon, small: Path) -> None:
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(pcm("talk.flac")[:320_000])
        events = [event async for event in session.events(until=lambda event: getattr(event, "segment", 0) == 1)]
        taken = fill(small)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.finalize)
            while not any("waits for the store" in line for line in daemon.log):  # noqa: ASYNC110
                await trio.sleep(0.01)
            # A stuck session holds up neither its connection nor others.
            await client.request(messages.Ping())
            taken.unlink()
        await session.end()
        events += [event async for event in session.events()]
    assert_whole(events)
    assert len(words(text(events))) >= 20
    assert not of(messages.SessionWarning, events)
    assert len(segments(events)) == 4


async def test_an_upload_that_does_not_fit_is_told(daemon: Daemon, small: Path) -> None:
    async with convo.connect(daemon.url) as client:
        file = await client.create_session("file", summary=OFF)
        with pytest.raises(convo.RequestError, match="room") as refused:
            await send_all(file, bytes(2 * SIZE))
        assert refused.value.code == "busy"
        fill(small)
        # It can be given up, though not a byte can be written, and its room comes back.
        await client.request(messages.DeleteSession(session=file.id))
        assert shutil.disk_usage(small).free > SIZE // 2
        again = await client.create_session("live", summary=OFF)
        await again.send_audio(pcm("single.flac"))
        await again.end()
        events = [event async for event in again.events()]
    assert states(events)[-1] == "completed"


async def test_a_session_cannot_be_created_without_room_and_can_with_it(daemon: Daemon, small: Path) -> None:
    async with convo.connect(daemon.url) as client:
        taken = fill(small)
        with pytest.raises(convo.RequestError) as refused:
            await create_many(client)
        assert refused.value.code == "busy"
        assert "room" in refused.value.message
        taken.unlink()
        session = await client.create_session("live", summary=OFF)
        await session.end()
        events = [event async for event in session.events()]
    assert states(events)[-1] == "completed"
