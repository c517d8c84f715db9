"""A file through `convo transcribe` beside plain faster-whisper, what it costs the daemon, what it costs a live talk.

The yardsticks run in this process with the same model, compute type and number of threads: its batched pipeline (its
own batch size, VAD on) and its sequential transcription. All are run in turn and compared turn by turn, as the
machine's speed changes from minute to minute. CONVO_BENCH_MINUTES (30) is how long the file is, CONVO_BENCH_HOURS (3)
the long one, CONVO_BENCH_PASSES (3) how often the first is heard, CONVO_BENCH_PARTS (speed,long,live) what is done.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import trio
from faster_whisper import BatchedInferencePipeline, WhisperModel

import convo
from convo.messages import Progress, SummaryOptions
from convod.engine import models
from convod.engine.whisper import _compute_type

from .daemon import Daemon
from .figures import Figures, ms, percentile
from .listener import speak
from .live import ENDPOINT_S
from .talk import RATE, SECOND, Talk, errors, load, plain

PASSES = int(os.environ.get("CONVO_BENCH_PASSES", "3"))
MINUTES = float(os.environ.get("CONVO_BENCH_MINUTES", "30"))
HOURS = float(os.environ.get("CONVO_BENCH_HOURS", "3"))
LIVE_PASSES = 2
OFF = SummaryOptions(mode="off")


def long_talk(seconds: float) -> tuple[bytes, list[str]]:
    """The two recordings in turn, until there are so many seconds; mono s16le, and the words."""
    talks = [load("talk"), load("minutes")]
    pcm = bytearray()
    words: list[str] = []
    for talk in cycle(talks):
        if len(pcm) >= seconds * SECOND:
            break
        pcm += talk.pcm
        words += [word.text for word in talk.words]
    return bytes(pcm), words


@contextmanager
def wav_file(pcm: bytes) -> Iterator[Path]:
    """Samples as a file."""
    with tempfile.TemporaryDirectory(prefix="convo-bench-") as folder:
        path = Path(folder) / "talk.wav"
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(pcm)
        yield path


async def bench(daemon: Daemon, model: str) -> Figures:
    """Everything, one after the other."""
    parts: dict[str, Callable[[], Awaitable[Figures]]] = {
        "speed": lambda: _speed(daemon, model),
        "long": lambda: _long(daemon),
        "live": lambda: _live(daemon),
    }
    figures: Figures = {}
    for name in os.environ.get("CONVO_BENCH_PARTS", ",".join(parts)).split(","):
        found = await parts[name]()
        print(f"{name}: {found}", file=sys.stderr, flush=True)
        figures |= found
    return figures


# --- against faster-whisper -------------------------------------------------------------------------------


async def _speed(daemon: Daemon, model: str) -> Figures:
    pcm, said = long_talk(60 * MINUTES)
    cores = len(os.sched_getaffinity(0))
    found = models.find(model)
    whisper = WhisperModel(
        str(found.directory), device="cpu", compute_type=_compute_type("cpu", "default"), cpu_threads=cores
    )
    batched = BatchedInferencePipeline(whisper)
    with wav_file(pcm) as path:

        def through_convo() -> str:
            command = [sys.executable, "-m", "convo_cli", "--connect", daemon.socket, "transcribe", str(path)]
            return subprocess.run([*command, "--language", "en"], check=True, capture_output=True, text=True).stdout

        def in_batches() -> str:
            return " ".join(one.text for one in batched.transcribe(str(path), language="en", batch_size=8)[0])

        def sequential() -> str:
            return " ".join(one.text for one in whisper.transcribe(str(path), language="en")[0])

        ways: dict[str, Callable[[], str]] = {"convo": through_convo, "batched": in_batches, "sequential": sequential}
        took: dict[str, list[float]] = {way: [] for way in ways}
        texts: dict[str, str] = {}
        for _ in range(PASSES):
            for way, run in ways.items():
                begun = time.perf_counter()
                texts[way] = await trio.to_thread.run_sync(run)
                took[way].append(time.perf_counter() - begun)
                print(f"{way}: {took[way][-1]:.1f} s", file=sys.stderr, flush=True)
    rates = {way: 100 * errors(said, plain(text)) / len(said) for way, text in texts.items()}
    return {
        "length of the file, s": round(len(pcm) / SECOND, 1),
        **{f"time, {way}, s": round(sorted(times)[PASSES // 2], 2) for way, times in took.items()},
        "against batched (median of the turns, least, most)": _ratios(took["convo"], took["batched"]),
        "against sequential (median of the turns, least, most)": _ratios(took["convo"], took["sequential"]),
        **{f"word error rate, {way}, %": round(rate, 2) for way, rate in rates.items()},
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    return [round(ratio, 3) for ratio in (ratios[len(ratios) // 2], ratios[0], ratios[-1])]


# --- a long file ------------------------------------------------------------------------------------------


async def _long(daemon: Daemon) -> Figures:
    """Memory of the daemon's own process while hours of talk are transcribed."""
    pcm, _ = long_talk(600)
    most = start = daemon.memory_mb()
    begun = time.perf_counter()
    heard = 0.0
    async with convo.connect(daemon.socket) as client:
        session = await client.create_session(kind="file", language="en", summary=OFF)
        for _ in range(round(6 * HOURS)):  # raw WAV of unknown length, ten minutes at a time
            if not session.sent:
                await session.send_audio(_stream_header())
            await session.send_audio(pcm[: 600 * SECOND])
            most = max(most, daemon.memory_mb())
        await session.end()
        async for event in session.events():
            most = max(most, daemon.memory_mb())
            if isinstance(event, Progress):
                heard = event.done_s
    return {
        "hours in one file": round(heard / 3600, 2),
        "memory of the daemon's process before / at most, MiB": [round(start, 1), round(most, 1)],
        "time for it, s": round(time.perf_counter() - begun, 1),
    }


def _stream_header() -> bytes:
    head = io.BytesIO()
    with wave.open(head, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
    data = bytearray(head.getvalue())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    return bytes(data)


# --- a live talk beside it --------------------------------------------------------------------------------


async def _live(daemon: Daemon) -> Figures:
    """Final latencies of a live talk without and with a file at work, in turn."""
    talk = load("talk")
    pcm, _ = long_talk(3600)
    alone: list[float] = []
    beside: list[float] = []
    async with convo.connect(daemon.socket) as client, convo.connect(daemon.socket) as other:
        for _ in range(LIVE_PASSES):
            alone += await _latencies(client, talk)
            async with trio.open_nursery() as nursery:
                await nursery.start(_keep_busy, other, _stream_header() + pcm)
                beside += await _latencies(client, talk)
                nursery.cancel_scope.cancel()
    without, with_file = (percentile(latencies, 0.95) for latencies in (alone, beside))
    return {
        "live final latency beyond the endpoint p95, without / with a file, ms": [ms(without), ms(with_file)],
        "ratio of p95 latencies from the last word": round((ENDPOINT_S + with_file) / (ENDPOINT_S + without), 3),
        "ratio of p95 latencies beyond the endpoint": round(with_file / without, 3),
    }


async def _keep_busy(client: convo.Client, audio: bytes, *, task_status: trio.TaskStatus[None]) -> None:
    """One file after another, until cancelled; started when the first is at work."""
    started = False
    while True:
        session = await client.create_session(kind="file", language="en", summary=OFF)
        try:
            await session.send_audio(audio)
            await session.end()
            async for event in session.events():
                if not started and isinstance(event, Progress) and event.done_s:
                    started = True
                    task_status.started()
        finally:
            with trio.move_on_after(10, shield=True), suppress(convo.RequestError):
                await session.cancel()


async def _latencies(client: convo.Client, talk: Talk) -> list[float]:
    return (await speak(client, talk)).final_latencies(ENDPOINT_S)
