"""The engine dies, hangs, has no memory: a new one takes its place, and nobody's words are missing."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon
from tests.support.faults import Row, started, unharmed, warm
from tests.support.sessions import OFF, assert_whole, of, segments, states, text
from tests.support.speech import pcm, truth, word_error_rate

DEADLINE_S = 3


def kill(worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def hang(worker: int) -> None:
    os.kill(worker, signal.SIGSTOP)


def starve(worker: int) -> None:
    """No more memory than it has: the next larger allocation fails."""
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(worker, resource.RLIMIT_AS, (size, size))


FAULTS: dict[str, tuple[Callable[[int], None], str]] = {
    "killed": (kill, "its windows are decoded again by a new worker"),
    "hung": (hang, "it is replaced after `deadline_s` for each of its windows; these are decoded again"),
    "out of memory": (starve, "its windows are decoded again by a new worker, or refused one by one with a warning"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_engine_that_is(tmp_path: Path, row: Row, fault: str) -> None:
    harm, promised = FAULTS[fault]
    row.promise(f"engine {fault}, in the middle of several sessions", promised)
    with started(tmp_path, CONVOD_ENGINE_DEADLINE_S=str(DEADLINE_S)) as daemon:
        await warm(daemon)
        heard: list[list[object]] = []
        async with unharmed(daemon) as witness:

            async def speak() -> None:
                audio = pcm("talk.flac")[: 12 * 32000]
                async with convo.connect(daemon.url) as client:
                    session = await client.create_session("live", summary=OFF)
                    half = len(audio) // 4 * 2
                    await session.send_audio(audio[:half])
                    spoke.set()
                    await session.send_audio(audio[half:])
                    await session.end()
                    heard.append([event async for event in session.events()])

            async def happen() -> None:
                await spoke.wait()
                for worker in daemon.workers():
                    harm(worker)

            spoke = trio.Event()
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(speak)
                if fault == "out of memory":
                    await happen()
                else:
                    nursery.start_soon(witness.during, happen)
            await replaced(daemon, fault)
            async with convo.connect(daemon.url) as client:
                restarts = (await client.request(messages.Status())).engine.restarts
            # Somebody who comes after it sees nothing of it.
            async with convo.connect(daemon.url) as client:
                session = await client.create_session("live", summary=OFF)
                await session.send_audio(pcm("single.flac"))
                await session.end()
                after = [event async for event in session.events()]
            assert word_error_rate(truth("single"), text(after)) < 0.3
        warnings = 0
        for events in heard:
            assert_whole(events)
            assert states(events)[-1] == "completed"
            warnings += len(of(messages.SessionWarning, events))
        texts = {" ".join(segment.text for segment in segments(events)) for events in heard}
        if fault != "out of memory":
            assert warnings == 0
            assert min(map(len, texts)) > 100
        row.saw(f"all whole, {restarts} restarts, {warnings} warnings; {witness.seen}")


async def replaced(daemon: Daemon, fault: str) -> None:
    """Until workers serve that nothing was done to."""
    async with convo.connect(daemon.url) as client:
        while fault != "out of memory" and not (await client.request(messages.Status())).engine.restarts:  # noqa: ASYNC110
            await trio.sleep(0.02)
        for worker in daemon.workers():
            resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while (await client.request(messages.Status())).engine.state != "ready":  # noqa: ASYNC110
            await trio.sleep(0.02)
