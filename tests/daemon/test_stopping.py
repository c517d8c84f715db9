"""How the daemon ends where one of its parts does not: every wait on the way out has an end of its own."""

from __future__ import annotations

import itertools
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import convo
from convo import messages
from convod import daemon
from convod.engine.supervisor import Engine
from convod.listen import tcp
from convod.listen.settings import ListenSettings
from convod.ops.config import Settings
from convod.store import SessionStore
from convod.summary import Summarizers
from tests.support.until import until

PATIENCE_S = 30.0
"""For a daemon that ends at once, on a busy machine; those that hang do so for ever."""

OFF = messages.SummaryOptions(mode="off")


class NoEngine(Engine):
    """Starts no processes, and answers nothing. Each time that it is stopped, all others are, too."""

    stopped: trio.Event

    async def run(self) -> None:
        NoEngine.stopped = trio.Event()
        try:
            await trio.sleep_forever()
        finally:
            self.stopped.set()


def settings(tmp_path: Path, *urls: str) -> Settings:
    listen = ListenSettings(socket=str(tmp_path / "s"), websocket=list(urls))
    return Settings(state_dir=str(tmp_path / "state"), listen=listen, drain_s=0.2)


@asynccontextmanager
async def stopped_by_its_operator(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> AsyncIterator[str]:
    """A daemon in this process: told to stop at the end of the block, and then it must."""
    monkeypatch.setattr(daemon, "Engine", NoEngine)
    async with trio.open_nursery() as nursery:
        await nursery.start(daemon.run, settings)
        yield f"unix:{settings.listen.socket}"
        signal.raise_signal(signal.SIGTERM)
        nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_S
    assert not nursery.cancel_scope.cancelled_caught, "it did not stop"


async def test_what_is_stored_last_is_stored_before_the_store_goes(monkeypatch, tmp_path):
    """A session that is on its way to the store when all is cancelled cannot be held up, and is not forgotten."""
    save = SessionStore.save
    begun, saved = [], []

    async def late(self: SessionStore, *arguments: Any, **how: Any) -> None:
        begun.append(arguments)
        await NoEngine.stopped.wait()  # it is past the point where it could have been cancelled
        await save(self, *arguments, **how)
        saved.append(arguments)

    async with stopped_by_its_operator(monkeypatch, settings(tmp_path)) as url, convo.connect(url) as client:
        sessions = [await client.create_session("live", summary=OFF) for _ in range(5)]
        monkeypatch.setattr(SessionStore, "save", late)
        for session in sessions:
            await session.send_audio(bytes(32000))
        await until(lambda: len(begun) == 5)
        assert saved == []
    assert len(saved) == 5


async def test_a_summarizer_that_cannot_be_hung_up_on_is_left(monkeypatch, tmp_path):
    async def forever(self: Summarizers) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(Summarizers, "aclose", forever)
    monkeypatch.setattr(daemon, "CLOSE_S", 0.1)
    async with stopped_by_its_operator(monkeypatch, settings(tmp_path)):
        pass


async def test_a_start_that_takes_for_ever_can_be_stopped(monkeypatch, tmp_path):
    begun = trio.Event()

    async def bind(address: object) -> None:
        begun.set()
        await trio.sleep_forever()  # a name that nobody resolves

    monkeypatch.setattr(tcp, "bind", bind)
    monkeypatch.setattr(daemon, "Engine", NoEngine)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run, settings(tmp_path, "ws://localhost:0"))
            await begun.wait()
            signal.raise_signal(signal.SIGTERM)


async def test_a_reload_during_the_start_is_done_after_it(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        bind = tcp.bind

        async def slow(address: Any) -> tcp.Bound:
            signal.raise_signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked()  # it has come
            return await bind(address)

        monkeypatch.setattr(tcp, "bind", slow)
        async with stopped_by_its_operator(monkeypatch, settings(tmp_path, "ws://127.0.0.1:0")):
            pass
        told = []
        with pytest.raises(BlockingIOError):
            while True:
                told.append(manager.recv(4096).decode().partition("\n")[0])
    assert [one for one in told if not one.startswith("STATUS")] == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


async def test_a_client_that_takes_nothing_holds_nobody_up(monkeypatch, tmp_path):
    async with stopped_by_its_operator(monkeypatch, settings(tmp_path)) as url, convo.connect(url) as client:
        path = url.removeprefix("unix:")
        deaf = await trio.open_unix_socket(path)
        asking = convo.connection.Connection(convo.connection.Role.CLIENT, convo.framing.LengthPrefixed())
        await deaf.send_all(asking.send(messages.Hello(protocol=1, client="deaf")))
        asking.receive_data(bytes(await deaf.receive_some(4096)))
        asking.next_event()

        async def ask() -> None:
            for number in itertools.count(1):
                await deaf.send_all(asking.send(messages.ListModels(id=number)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()  # its answers fill the socket, and it is read no further
            nursery.cancel_scope.cancel()
        assert (await client.request(messages.Ping())).time
    await deaf.aclose()
