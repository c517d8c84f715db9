"""Hooks of a daemon that is killed again and again: each end of a session is told, and none that there was not."""

from __future__ import annotations

import base64
import random
from collections import Counter
from pathlib import Path

import pytest
import trio

import convo
from convo.messages import ListSessions, State
from tests.fakes.httpserver import serving
from tests.support.daemon import Daemon
from tests.support.sessions import OFF


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_each_end_is_told_over_random_kills(tmp_path: Path, kills: int) -> None:
    async def run() -> None:
        with trio.fail_after(30 + 15 * kills):
            await told_over_random_kills(tmp_path, kills)

    trio.run(run)


async def told_over_random_kills(tmp_path: Path, kills: int) -> None:
    got: Counter[str] = Counter()
    (tmp_path / "secret").write_text(base64.b64encode(bytes(32)).decode())
    chance = random.Random(kills)

    async def hook(request, reply) -> None:
        got[request.json["session"]["session"]] += 1
        await reply.send(chance.choice([204, 204, 500]), b"")

    async def talk(daemon: Daemon) -> None:
        try:
            async with convo.connect(daemon.url) as client:
                while True:
                    session = await client.create_session("live", summary=OFF)
                    await session.send_audio(bytes(3200))
                    await session.end()
        except convo.ConvoError:
            return  # it was killed

    async with serving(hook) as url:
        environment = {"CONVOD_HOOKS_URL": url, "CONVOD_HOOKS_SECRET_FILE": str(tmp_path / "secret")}
        daemon = Daemon(tmp_path, "--listen", "ws://127.0.0.1:0", environment=environment)
        for _ in range(kills):
            await trio.to_thread.run_sync(daemon.start)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk, daemon)
                await trio.sleep(chance.uniform(0.05, 0.8))
                await trio.to_thread.run_sync(daemon.kill)
        await trio.to_thread.run_sync(daemon.start)
        try:
            async with convo.connect(daemon.url) as client:
                while True:
                    infos = (await client.request(ListSessions(limit=100000))).sessions
                    final = {info.session for info in infos if info.state is State.COMPLETED}
                    if final and len(final) == len(infos) and final <= set(got):
                        break
                    await trio.sleep(0.05)
        finally:
            await trio.to_thread.run_sync(daemon.stop)
    assert set(got) == final
