"""What a daemon at rest costs: its start, its memory, hundreds of connections, hundreds of silent sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

import convo
from convo.messages import AudioAck, SummaryOptions

from .daemon import Daemon
from .figures import Figures, ms, percentile
from .options import Options
from .talk import SECOND

CONNECTIONS = 500
SESSIONS = 200
OPENING_S = 0.02
"""Connections open one after the other: a host may have few handshakes at once (`listen.host_handshakes`)."""

SECONDS = 20.0
PIECE_S = 0.1
STARTS = 5
LATE_S = 60.0
"""How long after the last piece was due acknowledgements are waited for; what is missing then is a figure, too."""


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Start, idle connections, silent sessions."""
    figures: Figures = {}
    await _start()  # writes the bytecode, as installing a package does
    starts = [await _start() for _ in range(STARTS)]
    figures["start to answering hello, ms (median, worst)"] = [
        ms(percentile([start for start, _, _ in starts], 0.5)), ms(max(start for start, _, _ in starts))
    ]  # fmt: skip
    figures["processor time till then, ms (median)"] = ms(percentile([cpu for _, cpu, _ in starts], 0.5))
    figures["memory of the daemon's own process then, MiB"] = round(max(memory for _, _, memory in starts), 1)
    await _connections(daemon, figures)
    await _silence(daemon, figures)
    return figures


async def _start() -> tuple[float, float, float]:
    """Seconds to the answer, processor seconds till then, MiB of memory."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="convo-bench-") as folder:
        path = f"{folder}/s"
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "convod", "--model", "builtin", "--socket", path, "--state-dir", f"{folder}/state"],
            stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        try:
            while True:
                try:
                    async with convo.connect(f"unix:{path}"):
                        took = time.perf_counter() - begun
                        status = Path(f"/proc/{process.pid}/status").read_text()  # noqa: ASYNC240
                        threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")  # noqa: ASYNC240
                        cpu = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
                        return took, cpu, int(status.split("VmRSS:")[1].split()[0]) / 1024
                except convo.CannotConnect:
                    await trio.sleep(0.002)
        finally:
            process.terminate()
            process.wait(60)


async def _connections(daemon: Daemon, figures: Figures) -> None:
    for name, url in {"Unix socket": daemon.socket, "WebSocket": daemon.web}.items():
        before = daemon.memory_mb()
        async with AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                await stack.enter_async_context(convo.connect(url))
            await trio.sleep(1)
            cpu = daemon.cpu_s(parent_only=True)
            await trio.sleep(SECONDS)
            share = (daemon.cpu_s(parent_only=True) - cpu) / SECONDS
            more = daemon.memory_mb() - before
        figures[f"{CONNECTIONS} idle connections by {name}: share of a core, %"] = round(100 * share, 2)
        figures[f"{CONNECTIONS} idle connections by {name}: more memory, MiB"] = round(more, 1)


async def _silence(daemon: Daemon, figures: Figures) -> None:
    """Each session is a connection of its own; a piece's age is from its sending to the first ack that covers it."""
    ages: list[float] = []
    late: list[float] = []
    own: list[float] = []  # how late this process sent: what is above is not the daemon's alone
    piece = bytes(int(PIECE_S * SECOND))
    pieces = int(SECONDS / PIECE_S)
    ready = 0
    go = trio.Event()

    async def one(number: int) -> None:
        nonlocal ready
        async with convo.connect(daemon.web) as client:
            session: Any = await client.create_session(kind="live", summary=SummaryOptions(mode="off"))
            sent: list[float] = []
            acknowledged = 0
            ready += 1
            if ready == SESSIONS:
                go.set()
            await go.wait()
            # Microphones are not in step.
            begin = trio.current_time() + PIECE_S * number / SESSIONS

            async def feed() -> None:
                for index in range(pieces):
                    await trio.sleep_until(begin + index * PIECE_S)
                    sent.append(trio.current_time())
                    own.append(sent[-1] - begin - index * PIECE_S)
                    await session.send_audio(piece)

            async def listen() -> None:
                nonlocal acknowledged
                async for event in session.events():
                    if isinstance(event, AudioAck):
                        now = trio.current_time()
                        while acknowledged < event.offset // len(piece):
                            ages.append(now - sent[acknowledged])
                            acknowledged += 1
                        if acknowledged == pieces:
                            return

            with trio.move_on_at(begin + SECONDS + LATE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(feed)
                    nursery.start_soon(listen)
            late.append(trio.current_time() - (begin + pieces * PIECE_S))
            await session.cancel()

    async def measure() -> None:
        nonlocal share
        await go.wait()
        cpu = daemon.cpu_s(parent_only=True)
        await trio.sleep(SECONDS)
        share = (daemon.cpu_s(parent_only=True) - cpu) / SECONDS

    share = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure)
        for number in range(SESSIONS):
            nursery.start_soon(one, number)
            await trio.sleep(OPENING_S)
    name = f"{SESSIONS} silent live sessions by WebSocket"
    figures[f"{name}: acknowledged, ms (p50, p99, worst)"] = [
        ms(percentile(ages, 0.5)), ms(percentile(ages, 0.99)), ms(max(ages))
    ]  # fmt: skip
    figures[f"{name}: the bench's own clients sent late, ms (p99)"] = ms(percentile(own, 0.99))
    figures[f"{name}: pieces never acknowledged"] = SESSIONS * pieces - len(ages)
    figures[f"{name}: done after the last piece was due, s (worst)"] = round(max(late), 2)
    figures[f"{name}: share of a core, %"] = round(100 * share, 1)
