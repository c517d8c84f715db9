"""The disk takes nothing any more: each request that needs it is refused in words, and everything else goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from copy import deepcopy
from pathlib import Path

import httpx
import pytest
import trio

import convo
from convo import messages
from tests.support import power
from tests.support.daemon import Daemon, running
from tests.support.faults import Row
from tests.support.sessions import OFF, segments, states, text, upload
from tests.support.speech import DATA, pcm, truth, word_error_rate

ANSWER_S = 10.0


def monitored(daemon: Daemon) -> str:
    found = re.search(r"http://[\w.:]+", next(line for line in daemon.log if "convod is ready on" in line))
    assert found is not None
    return found.group(0)


async def test_a_disk_that_fails(tmp_path: Path, row: Row) -> None:
    row.promise(
        "the disk fails under a daemon at work: all writing is refused, as with EIO or EROFS",
        "`busy` in one sentence for each request that needs it, all others answered; `readyz` says so; on a disk "
        "that is well again nothing is missing that was answered",
    )
    refused: dict[str, str] = {}
    with power.disk(tmp_path) as disk, running(disk.mounted, environment={"CONVOD_METRICS_HTTP": "127.0.0.1:0"}) as one:
        async with convo.connect(one.url) as client, httpx.AsyncClient() as http:
            done = await upload(client, (DATA / "short.wav").read_bytes(), summary=OFF)
            finished = done[0].session
            live = await client.create_session("live", summary=OFF)
            audio = pcm("single.flac")
            await live.send_audio(audio)
            await live.finalize()
            ended = await client.create_session("file", summary=OFF)
            await ended.send_audio((DATA / "short.wav").read_bytes())
            await ended.end()
            while (await http.get(f"{monitored(one)}/readyz")).status_code != 200:  # noqa: ASYNC110
                await trio.sleep(0.05)
            power.fail(disk.mounted)

            async def ask(name: str, call: Callable[[], Awaitable[object]]) -> None:
                with trio.fail_after(ANSWER_S), pytest.raises(convo.RequestError) as error:
                    await call()
                assert error.value.code == "busy", f"{name}: {error.value}"
                refused[name] = str(error.value)

            async def send_audio() -> None:
                await live.send_audio(audio[:32000])
                async for _ in live.events():
                    pass

            def request(asked: messages.Request[messages.Reply]) -> Callable[[], Awaitable[object]]:
                return lambda: client.request(deepcopy(asked))

            await ask("create_session", lambda: client.create_session("live", summary=OFF))
            await ask("add_mark", request(messages.AddMark(session=finished, time=1.0)))
            await ask("update_session", request(messages.UpdateSession(session=finished, title="new")))
            await ask("pause_queue", request(messages.PauseQueue()))
            await ask("audio", send_audio)
            await ask("end_session", request(messages.EndSession(session=live.id)))
            await ask("delete_session", request(messages.DeleteSession(session=finished)))
            # What needs no disk, or only what is on it, is answered.
            with trio.fail_after(ANSWER_S):
                await client.request(messages.Ping())
                assert (await client.get_session(finished)).segments
                assert (await client.request(messages.Search(query="exactly"))).hits
                storage = (await client.request(messages.Status())).storage
                ready = await http.get(f"{monitored(one)}/readyz")
                alive = await http.get(f"{monitored(one)}/healthz")
            assert storage is not None
            assert storage.message
            assert ready.status_code == 503
            assert "written" in ready.text
            assert alive.status_code == 200
        assert not [line for line in one.log if "Traceback" in line]
        one.kill()
    # The disk is well again.
    with power.mounted(disk.image, disk.mounted), running(disk.mounted) as again:
        async with convo.connect(again.url) as client:
            assert (await client.get_session(finished)).state == "completed"
            attached = await client.attach(ended.id)
            events = [event async for event in attached.events()]
            assert states(events)[-1] == "completed"
            assert segments(events)
            assert word_error_rate(truth("short"), text(events)) <= 0.35
    row.saw(json.dumps(refused["add_mark"], ensure_ascii=False).strip('"').replace(str(tmp_path), "…"))
