"""The disk takes nothing any more, or refuses one call: each request that needs it is refused in words, all else goes
on, and nothing is lost.
"""

from __future__ import annotations

import errno
import json
import random
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Literal

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


# --- one call that is refused -------------------------------------------------------------------------------

CALLS = {"pwrite64": 60, "fdatasync": 30, "fsync": 12, "ftruncate": 3, "/^unlink": 6, "/^link": 2, "/^rename": 2}
"""System calls that change what is on the disk, SQLite's too, and about how many there are in the work below."""

POINTS = 20


class Client:
    """Somebody who says each thing again that was refused as `busy`. `refused` counts that."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.refused = 0

    async def talk(self, kind: Literal["live", "file"], audio: bytes, *, keep: bool) -> str:
        """A session from its first byte to its end, over as many connections as it takes; its id."""
        made: convo.ClientSession | None = None
        ended = False
        for _ in range(5):
            try:
                async with convo.connect(self.daemon.url) as client:
                    if made is None:
                        session = made = await client.create_session(kind, summary=OFF, keep_audio=keep)
                    else:
                        session = await client.attach(made.id, produce=not ended)
                    if not ended:
                        await session.send_audio(audio[session.sent :])
                        await session.end()
                        ended = True
                    events = [event async for event in session.events()]
                    assert states(events)[-1] == "completed", events[-1]
                    return session.id
            except convo.RequestError as error:
                self._was_refused(error)
        raise AssertionError("it is refused again and again")

    def _was_refused(self, error: convo.RequestError) -> None:
        assert error.code == "busy", error
        self.refused += 1

    async def ask(self, request: messages.Request[messages.Reply]) -> None:
        for _ in range(3):
            try:
                async with convo.connect(self.daemon.url) as client:
                    await client.request(deepcopy(request))
                return
            except convo.RequestError as error:
                if error.code == "unknown_session":  # it was deleted, but for what came after
                    return
                self._was_refused(error)
        raise AssertionError("it is refused again and again")


async def work(daemon: Daemon) -> tuple[list[str], str, int]:
    """Sessions that come and go: those that stay, one that was deleted, how often something was refused."""
    one = Client(daemon)
    stay: list[str] = []

    async def speak() -> None:
        stay.append(await one.talk("live", pcm("single.flac"), keep=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        gone = await one.talk("file", (DATA / "short.wav").read_bytes(), keep=True)
    await one.ask(messages.AddMark(session=stay[0], time=1.0))
    await one.ask(messages.Retranscribe(session=gone))
    await one.ask(messages.DeleteSession(session=gone))
    return stay, gone, one.refused


def refusing(directory: Path, call: str, number: int, when: int) -> list[str]:
    """The words of strace that let one system call of each thread fail, once."""
    return [
        "strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", str(directory / "trace"), "-e", f"trace={call}",
        "-e", f"inject={call}:error={errno.errorcode[number]}:when={when}",
    ]  # fmt: skip


def can_trace() -> bool:
    return (
        shutil.which("strace") is not None
        and subprocess.run(["strace", "-qq", "-e", "trace=none", "true"]).returncode == 0
    )


@pytest.mark.slow
async def test_any_call_that_the_disk_refuses(tmp_path: Path, row: Row) -> None:
    if not can_trace():
        pytest.skip("strace does not work here")
    row.promise(
        f"the disk refuses one call (EIO, ENOSPC or EROFS), at {POINTS} random points of a daemon's life, "
        "its start and SQLite's own calls among them",
        "the start or the request is refused in one sentence and works when it is tried again; every session is "
        "finished, whole; the database is sound",
    )
    dice = random.Random()
    seen: Counter[str] = Counter()
    environment = {"CONVOD_SPOOL_FSYNC": "true"}
    for point in range(POINTS):
        place = tmp_path / str(point)
        place.mkdir()
        call = dice.choices(list(CALLS), weights=list(CALLS.values()))[0]
        words = refusing(place, call, dice.choice((errno.EIO, errno.ENOSPC, errno.EROFS)), dice.randint(1, CALLS[call]))
        if dice.random() < 0.8:  # a new database is written in so many calls that most would be refused there
            with running(place):
                pass
        daemon = Daemon(place, environment=environment, under=words)
        try:
            daemon.start()
        except AssertionError:
            said = [line for line in daemon.log if line.startswith("convod: ")]
            assert len(said) == 1, daemon.log
            assert "; " in said[0]
            seen["start"] += 1
            daemon = Daemon(place, environment=environment)
            daemon.start()
        try:
            stay, gone, refused = await work(daemon)
            seen["request"] += refused
        finally:
            status = daemon.stop()
        assert status == 0, daemon.log
        assert not [line for line in daemon.log if "Traceback" in line or "fault of convod" in line], daemon.log
        seen["injected"] += "INJECTED" in (place / "trace").read_text()
        with running(place) as again:
            async with convo.connect(again.url) as client:
                for session in stay:
                    assert (await client.get_session(session)).state == "completed"
                with pytest.raises(convo.RequestError, match="no session"):
                    await client.attach(gone)
        with closing(sqlite3.connect(again.state / "convod.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert not list((again.state / "spool").glob(f"{gone}*"))
    row.saw(
        f"{seen['injected']} calls failed: {seen['start']} starts and {seen['request']} requests were refused, "
        "and worked when they were tried again; nothing was missing"
    )
