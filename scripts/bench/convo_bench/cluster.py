"""Windows on a worker of another machine beside those of the daemon's own: time, processor time, final latency.

Both daemons have one worker with the same threads, the other's comes by a redis-server of the bench's own, over a link
that takes DELAY_S each way for live speech. They are run in turn, as the machine's speed changes from minute to minute.
`--minutes` is how long the file is, CONVO_BENCH_PASSES (3) how often it is done, CONVO_BENCH_PARTS (files,finals) what.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

import convo
from convo.messages import SummaryOptions, TranscriptSegment

from .daemon import Daemon, running
from .figures import Figures, ms, percentile
from .files import _ratios as ratios
from .files import long_talk, wav_file
from .listener import speak
from .live import ENDPOINT_S
from .options import Options
from .talk import Talk, load

PARTS = os.environ.get("CONVO_BENCH_PARTS", "files,finals").split(",")
PASSES = int(os.environ.get("CONVO_BENCH_PASSES", "3"))
MINUTES = 5.0
DELAY_S = 0.0025
"""Each way: a round trip of 5 ms."""

OFF = SummaryOptions(mode="off")


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Files, then live speech; `daemon` hears by itself."""
    if shutil.which("redis-server") is None:
        raise SystemExit("this bench needs redis-server: apt install redis-server")
    with _redis() as port:
        async with _slow_link(port) as slow:
            near, far = (f"redis://127.0.0.1:{one}" for one in (port, slow))
            figures: Figures = {}
            if "files" in PARTS:
                with _coordinator(near, options) as remote:
                    async with _worker(near, options):
                        figures |= await _files(daemon, remote, options)
            if "finals" in PARTS:
                with _coordinator(near, options) as remote:
                    async with _worker(far, options):
                        figures |= await _finals(daemon, remote)
    return figures


async def _files(local: Daemon, remote: Daemon, options: Options) -> Figures:
    talk = long_talk(60 * (options.minutes or MINUTES))
    took: dict[str, list[float]] = {"local": [], "remote": []}
    texts: dict[str, str] = {}
    cpu: dict[str, list[float]] = {"local": [], "remote": []}
    with wav_file(talk.pcm) as path:
        data = path.read_bytes()
        for number in range(PASSES + 1):
            for way, daemon in (("local", local), ("remote", remote)):
                before, begun = daemon.cpu_s(parent_only=True), time.perf_counter()
                texts[way] = await _transcribed(daemon, talk, data)
                if number:  # the first one pays for what is loaded lazily
                    took[way].append(time.perf_counter() - begun)
                    cpu[way].append(1000 * (daemon.cpu_s(parent_only=True) - before) / talk.seconds)
    return {
        "minutes": round(talk.seconds / 60, 1),
        "time, s": {way: [round(one, 1) for one in times] for way, times in took.items()},
        "time through a remote worker against a local one, median / least / most": ratios(
            took["remote"], took["local"]
        ),
        "processor time of the daemon's own process, ms for a second of audio": {
            way: round(percentile(times, 0.5), 2) for way, times in cpu.items()
        },
        "the texts are the same": texts["local"] == texts["remote"],
    }


async def _transcribed(daemon: Daemon, talk: Talk, data: bytes) -> str:
    async with convo.connect(daemon.socket) as client:
        session = await client.create_session(kind="file", language=talk.language, summary=OFF)
        await session.send_audio(data)
        await session.end()
        return " ".join([event.text async for event in session.events() if isinstance(event, TranscriptSegment)])


async def _finals(local: Daemon, remote: Daemon) -> Figures:
    talk = load("talk")
    latencies: dict[str, list[float]] = {"local": [], "remote": []}
    for _ in range(PASSES):
        for way, daemon in (("local", local), ("remote", remote)):
            async with convo.connect(daemon.socket) as client:
                showing = await speak(client, talk, interim=False)
            latencies[way] += showing.final_latencies(ENDPOINT_S)
    local_s, remote_s = (sorted(latencies[way]) for way in ("local", "remote"))
    return {
        "finals, link with a round trip of 5 ms: beyond the endpoint, ms (p50, p95)": {
            way: [ms(percentile(values, 0.5)), ms(percentile(values, 0.95))] for way, values in latencies.items()
        },
        "finals by the remote lane, p95 more than local, ms": ms(
            percentile(remote_s, 0.95) - percentile(local_s, 0.95)
        ),
    }


# --- what takes part --------------------------------------------------------------------------------------


@contextmanager
def _redis() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="convo-bench-") as folder:
        process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def _coordinator(broker: str, options: Options) -> Iterator[Daemon]:
    settings = {"CONVOD_ENGINE_BROKER": broker, "CONVOD_ENGINE_REMOTE_ONLY": "true"}
    with running("--model", options.model, **settings) as daemon:
        yield daemon


@asynccontextmanager
async def _worker(broker: str, options: Options) -> AsyncIterator[None]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "convod", "worker", "--model", options.model, "--device", "cpu"],
        stderr=subprocess.DEVNULL, env={**os.environ, "CONVOD_ENGINE_BROKER": broker},
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        with trio.fail_after(30, shield=True):
            await process.wait()  # not in the way of the link that it says goodbye by


@asynccontextmanager
async def _slow_link(target: int) -> AsyncIterator[int]:
    """A port that leads to another one, DELAY_S later each way."""

    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        send, receive = trio.open_memory_channel[tuple[float, bytes]](10_000)

        async def read() -> None:
            async with send:
                async for data in source:
                    await send.send((trio.current_time() + DELAY_S, bytes(data)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            async for due, data in receive:
                await trio.sleep_until(due)
                await sink.send_all(data)
            await sink.send_eof()

    async def serve(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream("127.0.0.1", target)
        try:
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(carry, near, far)
                nursery.start_soon(carry, far, near)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one side has gone

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
