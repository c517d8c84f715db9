"""PostgreSQL goes and comes back under a daemon at work."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import trio

import convo
from convo import messages
from tests.faults.test_faults_disk import ANSWER_S, monitored
from tests.faults.test_faults_stops import speak
from tests.support.faults import Row, started, warm
from tests.support.postgres import Server
from tests.support.sessions import OFF, assert_whole, states, text, upload
from tests.support.speech import DATA, pcm, truth, word_error_rate


async def test_a_server_that_is_away(tmp_path: Path, row: Row, postgres: Server) -> None:
    row.promise(
        "PostgreSQL stopped under a daemon at work, and started again",
        "`busy` in one sentence for each request that needs it, all others answered; `readyz` says so; audio is "
        "acknowledged all the while; it goes on by itself, and nothing is missing",
    )
    refused: dict[str, str] = {}
    with (
        postgres.fresh() as address,
        started(tmp_path, CONVOD_STORE_URL=address, CONVOD_METRICS_HTTP="127.0.0.1:0") as daemon,
    ):
        async with convo.connect(daemon.url) as client, httpx.AsyncClient() as http:
            finished = (await upload(client, (DATA / "short.wav").read_bytes(), summary=OFF))[0].session
            live = await client.create_session("live", summary=OFF)
            audio = pcm("single.flac")
            half = len(audio) // 4 * 2
            await live.send_audio(audio[:half])
            await live.finalize()
            await trio.to_thread.run_sync(postgres.signal, signal.SIGINT)

            async def ask(name: str, call: Callable[[], Awaitable[object]]) -> None:
                with trio.fail_after(ANSWER_S), pytest.raises(convo.RequestError) as error:
                    await call()
                assert error.value.code == "busy", f"{name}: {error.value}"
                refused[name] = str(error.value)

            await ask("create_session", lambda: client.create_session("live", summary=OFF))
            await ask("add_mark", lambda: client.request(messages.AddMark(session=finished, time=1.0)))
            await ask("list_sessions", lambda: client.request(messages.ListSessions()))
            await ask("search", lambda: client.request(messages.Search(query="exactly")))
            await ask("get_session", lambda: client.get_session(finished))
            await ask("delete_session", lambda: client.request(messages.DeleteSession(session=finished)))
            await ask("pause_queue", lambda: client.request(messages.PauseQueue()))
            with trio.fail_after(ANSWER_S):
                await live.send_audio(audio[half:])
                while live.acknowledged < len(audio):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                await client.request(messages.Ping())
                ready = await http.get(f"{monitored(daemon)}/readyz")
                alive = await http.get(f"{monitored(daemon)}/healthz")
            assert (ready.status_code, alive.status_code) == (503, 200)
            assert "cannot be reached" in ready.text
            assert all("\n" not in one and "cannot be reached" in one for one in refused.values()), refused
            await trio.to_thread.run_sync(postgres.start)
            while (await http.get(f"{monitored(daemon)}/readyz")).status_code != 200:  # noqa: ASYNC110
                await trio.sleep(0.05)
            await live.end()
            events = [event async for event in live.events()]
            assert_whole(events)
            assert states(events)[-1] == "completed"
            assert word_error_rate(truth("single"), text(events)) < 0.5
            assert (await client.get_session(finished)).state == "completed"
        assert not [line for line in daemon.log if "Traceback" in line or "fault of convod" in line]
    row.saw(refused["add_mark"].replace(str(postgres.folder), "…"))


async def crash_at_random(tmp_path: Path, row: Row, postgres: Server, rounds: int) -> None:
    row.promise(
        f"PostgreSQL crashes at {rounds} random points under load",
        "acknowledged audio is accounted for; no event is missing or twice; every session is finished, whole",
    )
    chance = random.Random(815)
    done = trio.Event()
    said = 0
    with postgres.fresh() as address, started(tmp_path, CONVOD_STORE_URL=address) as daemon:
        await warm(daemon)

        async def crash() -> None:
            for at in range(rounds):
                await trio.sleep(chance.uniform(0.05, 0.8))
                await trio.to_thread.run_sync(postgres.signal, (signal.SIGQUIT, signal.SIGKILL, signal.SIGINT)[at % 3])
                await trio.to_thread.run_sync(postgres.start)
            done.set()

        async def keep_speaking(name: str) -> None:
            nonlocal said
            while True:
                _, heard = await speak(daemon, f"{name} {said}")
                assert word_error_rate(truth("single"), heard) <= 0.5
                said += 1
                if done.is_set():
                    return

        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(keep_speaking, name)
            nursery.start_soon(crash)
        async with convo.connect(daemon.url) as client:
            assert len((await client.request(messages.ListSessions())).sessions) >= said
            assert (await client.request(messages.Search(query="exactly", limit=1000))).hits is not None
        assert not [line for line in daemon.log if "Traceback" in line or "fault of convod" in line]
    row.saw(f"{said} sessions, all whole")


async def test_a_server_that_crashes(tmp_path: Path, row: Row, postgres: Server) -> None:
    await crash_at_random(tmp_path, row, postgres, 2)


@pytest.mark.slow
async def test_a_server_that_crashes_often(tmp_path: Path, row: Row, postgres: Server) -> None:
    await crash_at_random(tmp_path, row, postgres, 20)
