"""Sessions in which nobody speaks: what they cost, and whether a long one grows."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

import convo
from convo.messages import SummaryOptions, TranscriptSegment

from .daemon import Daemon
from .figures import Figures
from .listener import PIECE_S
from .options import Options
from .talk import SECOND, load

SESSIONS = 20
SECONDS = 15.0
HOURS = 8


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Processor share and memory of silent sessions; growth over a long one."""
    figures: Figures = {}
    await _loaded(daemon)
    for name, url in {"WebSocket": daemon.web, "Unix socket": daemon.socket}.items():
        before = daemon.memory_mb()
        share, after = await _silent(daemon, url)
        figures[f"processor share of a silent session by {name}, %"] = round(100 * share / SESSIONS, 3)
        figures[f"memory of a silent session by {name}, MiB"] = round((after - before) / SESSIONS, 3)
    figures[f"growth over {HOURS} hours of talk fed fast, MiB"] = await _long(daemon)
    return figures


async def _loaded(daemon: Daemon) -> None:
    """Until the engine has its model: loading it is no part of listening."""
    async with convo.connect(daemon.socket) as client:
        session = await client.create_session(kind="live", summary=SummaryOptions(mode="off"))
        await session.send_audio(load("talk").pcm[: 5 * SECOND])
        await session.finalize()
        await session.cancel()


async def _silent(daemon: Daemon, url: str) -> tuple[float, float]:
    """Processor share of all, and memory. Each session has its own connection, as most have, and its own moments."""
    piece = bytes(int(PIECE_S * SECOND))
    async with AsyncExitStack() as stack:
        sessions = []
        for _ in range(SESSIONS):
            client = await stack.enter_async_context(convo.connect(url))
            sessions.append(await client.create_session(kind="live", summary=SummaryOptions(mode="off")))
        begin = trio.current_time()
        cpu = daemon.cpu_s()

        async def feed(number: int) -> None:
            for i in range(int(SECONDS / PIECE_S)):
                await trio.sleep_until(begin + (i + 1 + number / SESSIONS) * PIECE_S)
                await sessions[number].send_audio(piece)

        async with trio.open_nursery() as nursery:
            for number in range(SESSIONS):
                nursery.start_soon(feed, number)
        share = (daemon.cpu_s() - cpu) / SECONDS
        memory = daemon.memory_mb()
        for session in sessions:
            await session.cancel()
    return share, memory


async def _long(daemon: Daemon) -> float:
    """Talk with long silences in it, for hours of audio; the memory that the daemon has more of after the first."""
    talk = load("talk").pcm
    block = talk + bytes(60 * SECOND)
    blocks = HOURS * 3600 * SECOND // len(block)
    first = 0.0
    async with convo.connect(daemon.socket) as client:
        session = await client.create_session(kind="live", interim=False, summary=SummaryOptions(mode="off"))
        heard = 0

        async def listen() -> None:
            nonlocal heard
            async for event in session.events():
                heard += isinstance(event, TranscriptSegment)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for number in range(blocks):
                await session.send_audio(block)
                if number == blocks // HOURS:
                    first = daemon.memory_mb()
            await session.finalize()
            grown = daemon.memory_mb() - first
            await session.end()
    assert heard, "nothing was heard, so nothing was measured"
    return round(grown, 1)
