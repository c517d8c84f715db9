"""Many talks at once: how many keep their finals within endpoint + 500 ms (p95)."""

from __future__ import annotations

import time

import trio

import convo

from .daemon import Daemon
from .engine import finals_of
from .figures import Figures, p50_p95
from .listener import Showing, speak
from .live import ENDPOINT_S
from .talk import load

STEPS = (8, 16, 32, 48, 64, 80, 96, 112, 128)
LATE_MS = 500


async def bench(daemon: Daemon, model: str) -> Figures:
    """More and more talks until their finals are late."""
    talk = load("talk")
    held = 0
    figures: Figures = {}
    decode = finals_of(talk, model)
    begun = time.process_time()
    decode()
    bare = round((time.process_time() - begun) / talk.seconds, 4)
    figures["bare engine for the finals alone, processor seconds a second and talk"] = bare
    idle = daemon.memory_mb()
    for count in STEPS:
        showings: list[Showing] = []
        before = daemon.cpu_s()
        most = 0.0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, daemon.memory_mb())
                await trio.sleep(0.5)

        # A connection for each eight talks, as from eight rooms.
        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for first in range(0, count, 8):
                    nursery.start_soon(_room, daemon, range(first, min(count, first + 8)), count, showings)
            watching.cancel_scope.cancel()
        finals = [latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S)]
        said = sum(len(showing.talk.words) for showing in showings)
        figures[f"{count} talks"] = {
            "final latency p50 / p95, ms": p50_p95(finals),
            "word latency p50 / p95, ms": p50_p95(
                [latency for showing in showings for latency in showing.word_latencies()]
            ),
            "partials a second and talk": round(
                sum(len(showing.partials) for showing in showings) / count / talk.seconds, 2
            ),
            "word error rate, %": round(100 * sum(showing.errors() for showing in showings) / said, 2),
            "processor seconds a second": round((daemon.cpu_s() - before) / talk.seconds, 2),
            "memory of a talk at most, MiB": round((most - idle) / count, 2),
        }
        if p50_p95(finals)[1] > LATE_MS:
            break
        held = count
    return {f"talks at once within endpoint + {LATE_MS} ms": held, **figures}


async def _room(daemon: Daemon, numbers: range, count: int, showings: list[Showing]) -> None:
    async with convo.connect(daemon.web) as client, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            # Spread over three seconds, or all would pause at once.
            showings.append(await speak(client, load("talk"), delay_s=3.0 * number / count))

        for number in numbers:
            nursery.start_soon(one, number)
