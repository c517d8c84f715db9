"""convod as a service: sockets that were opened for it, notices, reload, drain. Real processes, no systemd."""

from __future__ import annotations

import grp
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import running
from tests.support.manager import Manager, managing
from tests.support.sessions import OFF, states, talk_live, text
from tests.support.speech import pcm, truth, word_error_rate
from tests.support.wire import wired


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with managing(tmp_path) as manager:
        yield manager


async def aside(function: object, *arguments: object) -> object:
    """A blocking wait, while the loop goes on."""
    return await trio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)  # type: ignore[call-overload]


async def test_both_listeners_come_from_the_manager_and_it_is_told_what_happens(manager: Manager) -> None:
    urls = [manager.open_unix(), manager.open_tcp()]
    manager.start()
    await aside(manager.wait_told, "READY=1")
    audio, said = pcm("single.flac"), truth("single")
    for url in urls:
        async with convo.connect(url) as client:
            events = await talk_live(client, audio, summary=OFF)
            assert word_error_rate(said, text(events)) < 0.3
    notice = str(await aside(manager.wait_told, "STATUS=ready"))
    assert "builtin; 0 live, 0 file" in notice
    manager.signal(signal.SIGHUP)
    await aside(manager.wait_told, "RELOADING=1")
    await aside(manager.wait_told, "READY=1")
    assert await aside(manager.stop) == 0
    await aside(manager.wait_told, "STOPPING=1")
    assert "given.sock" in os.listdir(manager.directory), "the manager's socket is not convod's to remove"


async def test_no_connection_attempt_is_lost_in_a_restart(manager: Manager) -> None:
    url = manager.open_unix()
    manager.start()
    await aside(manager.wait_told, "READY=1")
    async with convo.connect(url) as client:
        await client.request(messages.Ping())
    assert await aside(manager.stop) == 0
    async with trio.open_nursery() as nursery:

        async def attempt() -> None:
            async with convo.connect(url, connect_timeout=60) as client:
                await client.request(messages.Ping())
                done.append(True)

        done: list[bool] = []
        for _ in range(10):
            nursery.start_soon(attempt)
        await trio.sleep(0.1)  # they wait: nobody is there
        assert not done
        manager.start()
    assert len(done) == 10


async def test_the_watchdog_is_fed_by_a_daemon_that_lives_and_not_by_one_that_hangs(manager: Manager) -> None:
    manager.open_unix()
    manager.start(watchdog_s=0.6)
    await aside(manager.wait_told, "READY=1")
    for _ in range(3):
        await aside(manager.wait_told, "WATCHDOG=1", 5)
    manager.signal(signal.SIGSTOP)
    manager.forget()
    with pytest.raises(AssertionError, match="WATCHDOG=1 was not told"):
        await aside(manager.wait_told, "WATCHDOG=1", 1.0)
    manager.signal(signal.SIGCONT)
    await aside(manager.wait_told, "WATCHDOG=1", 5)


async def test_a_port_open_to_the_network_is_refused_when_it_is_handed_over_too(manager: Manager) -> None:
    manager.open_tcp(host="0.0.0.0")
    manager.start()
    assert manager.process is not None
    assert await aside(manager.process.wait, 60) == 2
    assert "open to the network" in manager.log


async def test_a_reload_changes_settings_and_drops_no_session(tmp_path: Path) -> None:
    settings = tmp_path / "convod.toml"
    settings.write_text('[engine]\nmodel = "builtin"\n')
    environment = {"CONVOD_SESSIONS_IDLE_S": "120"}
    with running(tmp_path, "--config", str(settings), environment=environment, model=None) as daemon:
        audio, said = pcm("single.flac"), truth("single")
        half = len(audio) // 4 * 2
        async with convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(audio[:half])
            settings.write_text('[sessions]\nresume_s = 7.5\n[engine]\nmodel = "small"\n[listen]\nconnections = 1\n')
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were read again")
            await daemon.wait_log("wait for a restart settings=engine.model")
            async with wired(daemon.url, hello=False) as late:
                assert (await late.hello())["code"] == "busy"
            settings.write_text("[sessions]\nresume_s = 8.5\nnonsense = 1\n")
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were not read again: .*nonsense")
            settings.write_text("[sessions]\nresume_s = 9.5\n")
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were read again", times=2)
            async with convo.connect(daemon.url) as other:
                assert other.welcome.limits.resume_s == 9.5
            await session.send_audio(audio[half:])
            await session.end()
            events = [event async for event in session.events()]
    assert states(events)[-1] == "completed"
    assert word_error_rate(said, text(events)) < 0.3


async def test_told_twice_it_stops_at_once(tmp_path: Path) -> None:
    environment = {"CONVOD_DRAIN_S": "600", "CONVOD_ENGINE_DEADLINE_S": "600"}
    with running(tmp_path, environment=environment) as daemon:
        async with convo.connect(daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            audio = pcm("single.flac")
            for worker in daemon.workers():
                daemon.send(signal.SIGSTOP, worker)
            await session.send_audio(audio)
            async for event in session.events():
                if isinstance(event, messages.SpeechStarted):
                    break
            daemon.send(signal.SIGTERM)
            await daemon.wait_log("convod is stopping")
            assert await aside(daemon.stop) == 0


async def test_the_socket_is_open_to_whom_the_settings_say(tmp_path: Path) -> None:
    environment = {"CONVOD_LISTEN_SOCKET_MODE": "0660", "CONVOD_LISTEN_SOCKET_GROUP": "daemon"}
    with running(tmp_path, environment=environment) as daemon:
        about = daemon.socket.stat()
        assert about.st_mode & 0o777 == 0o660
        assert grp.getgrgid(about.st_gid).gr_name == "daemon"
        async with convo.connect(daemon.url) as client:
            await client.request(messages.Ping())
