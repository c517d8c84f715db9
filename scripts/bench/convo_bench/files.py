"""A file through `convo transcribe` beside plain faster-whisper, what it costs the daemon, what it costs a live talk.

The yardsticks run in this process with the same model, compute type and number of threads: its batched pipeline (VAD
on) and its sequential transcription, of recorded talks with its VAD filter. All are run in turn and compared turn by
turn, as the machine's speed changes from minute to minute. `--minutes` is how long the file is (30, or all talks of
`--talks` once), CONVO_BENCH_HOURS (3) the long one, CONVO_BENCH_PASSES (3) how often the first is transcribed,
CONVO_BENCH_PARTS (speed,long,live) what is done; with `--talks` it is `speed`.
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
from pathlib import Path

import trio

import convo
from convo.messages import Progress, SummaryOptions

from .comparison import CONVO, compare
from .daemon import Daemon
from .figures import Figures, ms, percentile
from .listener import speak
from .live import ENDPOINT_S
from .options import BUILT_IN_TALKS, Options
from .scoring import units
from .talk import RATE, SECOND, Talk, join, load
from .yardstick import Yardstick

PASSES = int(os.environ.get("CONVO_BENCH_PASSES", "3"))
BATCH = 8
"""Windows of a batch of faster-whisper's pipeline, its own default."""

MINUTES = 30.0
"""Of the recordings in tests/data, in turn."""
HOURS = float(os.environ.get("CONVO_BENCH_HOURS", "3"))
LIVE_PASSES = 2
OFF = SummaryOptions(mode="off")


def long_talk(seconds: float) -> Talk:
    """The two recordings of tests/data in turn, until there are so many seconds."""
    return join([load(name) for name in BUILT_IN_TALKS], seconds)


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


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Everything, one after the other."""
    parts: dict[str, Callable[[], Awaitable[Figures]]] = {
        "speed": lambda: _speed(daemon, options),
        "long": lambda: _long(daemon),
        "live": lambda: _live(daemon),
    }
    usual = "speed" if options.talks else ",".join(parts)
    figures: Figures = {}
    for name in os.environ.get("CONVO_BENCH_PARTS", usual).split(","):
        found = await parts[name]()
        print(f"{name}: {found}", file=sys.stderr, flush=True)
        figures |= found
    return figures


# --- against faster-whisper -------------------------------------------------------------------------------


async def _speed(daemon: Daemon, options: Options) -> Figures:
    talk = _file_of(options)
    yardstick = await trio.to_thread.run_sync(Yardstick, options.model)
    filtered = {"vad_filter": True} if options.talks else {}
    with wav_file(talk.pcm) as path:

        def through_convo() -> str:
            command = [sys.executable, "-m", "convo_cli", "--connect", daemon.socket, "transcribe", str(path)]
            command += ["--language", talk.language]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        ways: dict[str, Callable[[], str]] = {
            CONVO: through_convo,
            "batched": lambda: yardstick.batched_text(str(path), talk.language, batch_size=BATCH),
            "sequential": lambda: yardstick.text(str(path), talk.language, **filtered),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        texts: dict[str, list[str]] = {}
        for _ in range(PASSES):
            for way, run in ways.items():
                begun = time.perf_counter()
                text = await trio.to_thread.run_sync(run)
                took[way].append(time.perf_counter() - begun)
                texts[way] = units(text, talk.language)
                print(f"{way}: {took[way][-1]:.1f} s", file=sys.stderr, flush=True)
    return {
        "minutes": round(talk.seconds / 60, 1),
        "time, s": {way: [round(one, 1) for one in times] for way, times in took.items()},
        "time against the batched pipeline, median / least / most": _ratios(took[CONVO], took["batched"]),
        "time against sequential transcription, median / least / most": _ratios(took[CONVO], took["sequential"]),
        **compare([talk], [texts]),
    }


def _file_of(options: Options) -> Talk:
    if options.talks is None:
        return long_talk(60 * (options.minutes or MINUTES))
    talks = options.load_one_language()
    return join(talks, 60 * options.minutes if options.minutes else sum(talk.seconds for talk in talks))


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    return [round(ratio, 3) for ratio in (ratios[len(ratios) // 2], ratios[0], ratios[-1])]


# --- a long file ------------------------------------------------------------------------------------------


async def _long(daemon: Daemon) -> Figures:
    """Memory of the daemon's own process while hours of talk are transcribed."""
    pcm = long_talk(600).pcm
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
    pcm = long_talk(3600).pcm
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
