"""SIGTERM while nothing answers: nobody may keep convod from ending within systemd's patience. Real processes."""

from __future__ import annotations

import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import trio

import convo
from convo import messages
from tests.fakes.ollama import running_ollama
from tests.support.daemon import running
from tests.support.manager import managing
from tests.support.sessions import OFF
from tests.support.speech import pcm
from tests.support.wire import wired

STOP_S = 45.0
"""TimeoutStopSec of the units: what is not gone by then is killed."""


def full(path: Path) -> socket.socket:
    """A service manager that has stopped reading, with its queue full."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sender.sendto(b"STATUS=" + bytes(1000), str(path))
    return manager


async def stops(stop: Callable[[], int]) -> None:
    """It is told to stop, and ends well and in time."""
    begun = trio.current_time()
    assert await trio.to_thread.run_sync(stop, abandon_on_cancel=True) == 0
    assert trio.current_time() - begun < STOP_S


def stored(state: Path) -> dict[str, tuple[str, int]]:
    """Sessions of a daemon that has stopped: their state, and how many segments they have."""
    with closing(sqlite3.connect(state / "convod.sqlite")) as database:
        rows = database.execute(
            "SELECT id, state, (SELECT count(*) FROM events WHERE session = id AND type = 'transcript_segment') "
            "FROM sessions"
        )
        return {session: (state, segments) for session, state, segments in rows}


async def test_what_was_heard_is_written_out_before_it_stops(tmp_path: Path) -> None:
    with running(tmp_path, environment={"CONVOD_SUMMARY_PROVIDER": "extractive", "CONVOD_DRAIN_S": "40"}) as daemon:
        async with convo.connect(daemon.url) as client:
            ended = await client.create_session("live", summary=messages.SummaryOptions(mode="final"))
            spoken = await client.create_session("live", summary=OFF)
            for session in (ended, spoken):
                await session.send_audio(pcm("single.flac"))
            await ended.end()
            async for event in spoken.events():  # in the middle of its sentence
                if isinstance(event, messages.SpeechStarted):
                    break
            await stops(daemon.stop)
        assert stored(daemon.state) == {ended.id: ("completed", 1), spoken.id: ("processing", 1)}


async def test_nothing_that_does_not_answer_keeps_it_from_stopping(tmp_path: Path) -> None:
    """At once: a model server that falls silent in its answer, an engine that hangs while somebody speaks, clients that
    take nothing, monitors in the middle of their requests, a service manager that does not listen.
    """
    silent = socket.create_server(("127.0.0.1", 0))
    with full(tmp_path / "full") as manager, silent:
        async with running_ollama(fault="stall") as (ollama, url):
            environment = {
                "NOTIFY_SOCKET": str(tmp_path / "full"),
                "CONVOD_DRAIN_S": "1",
                "CONVOD_SUMMARY_OLLAMA_URL": url,
                "CONVOD_SUMMARY_OPENAI_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
                "CONVOD_METRICS_HTTP": "127.0.0.1:0",
            }
            with running(tmp_path, environment=environment) as daemon:
                monitor = next(word for line in daemon.log for word in line.split() if word.startswith("http://"))
                async with (
                    convo.connect(daemon.url) as client,
                    wired(daemon.url) as deaf,
                    wired(daemon.web) as deaf_web,
                    await trio.open_tcp_stream("127.0.0.1", int(monitor.rpartition(":")[2])) as half,
                    await trio.open_tcp_stream("127.0.0.1", int(monitor.rpartition(":")[2])) as whole,
                ):
                    summed = await client.create_session("live", summary=messages.SummaryOptions(mode="final"))
                    await summed.send_audio(pcm("single.flac"))
                    await summed.end()
                    await ollama.stalled.wait()
                    for worker in daemon.workers():
                        daemon.send(signal.SIGSTOP, worker)
                    spoken = await client.create_session("live", summary=OFF)
                    await spoken.send_audio(pcm("single.flac"))
                    for wire in (deaf, deaf_web):
                        with trio.move_on_after(0.5):
                            while True:
                                await wire.send(*({"type": "list_models", "id": number} for number in range(1, 200)))
                    await half.send_all(b"GET /metrics HTTP/1.1\r\nHost:")
                    await whole.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                    await client.request(messages.Ping())
                    await stops(daemon.stop)
                assert "convod has stopped" in daemon.log[-1]
                # Beyond the deadline a summary waits for the next start: the transcript is there.
                assert stored(daemon.state)[summed.id] == ("transcribed", 1)
        assert manager.fileno() >= 0


async def test_a_store_that_somebody_else_holds_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    with running(tmp_path, environment={"CONVOD_DRAIN_S": "1"}) as daemon:
        async with convo.connect(daemon.url) as client:
            sessions = [await client.create_session("live", summary=OFF) for _ in range(3)]
            holder = sqlite3.connect(daemon.state / "convod.sqlite", isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
            for session in sessions:
                await session.send_audio(pcm("single.flac"))
            await client.request(messages.Ping())
            await stops(daemon.stop)
            holder.execute("ROLLBACK")
            holder.close()
        daemon.start()  # nothing that was acknowledged is missing
        async with convo.connect(daemon.url) as client:
            for session in sessions:
                again = await client.attach(session.id, produce=True)
                assert again.reply.audio_offset == session.acknowledged


async def test_told_while_it_starts_it_stops(tmp_path: Path) -> None:
    with managing(tmp_path) as manager:
        manager.open_unix()
        manager.start()
        await trio.to_thread.run_sync(manager.wait_told, "READY=1", abandon_on_cancel=True)
        await stops(manager.stop)  # its workers are still loading
