"""Many talks at once: how many keep their finals within endpoint + 500 ms (p95).

Of tests/data it is one talk many times. With `--talks` each is another part of the recordings, a minute long unless
`--seconds` says otherwise, and its words are compared with faster-whisper's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

import convo

from .comparison import CONVO, Texts, compare
from .daemon import Daemon
from .engine import finals_of
from .figures import Figures, p50_p95
from .listener import speak
from .live import ENDPOINT_S, look
from .options import Options
from .showing import Showing
from .talk import Talk, load
from .yardstick import Yardstick

STEPS = (8, 16, 32, 48, 64, 80, 96, 112, 128)
RECORDED_STEPS = (4, 8)
RECORDED_S = 60.0
LATE_MS = 500
FINAL = "final latency p50 / p95, ms"


async def bench(daemon: Daemon, options: Options) -> Figures:
    """More and more talks until their finals are late; all steps that `--at-once` names."""
    if options.talks is not None:
        return await _recorded(daemon, options)
    talk = load("talk")
    held = 0
    figures: Figures = {}
    decode = finals_of(talk, options.model)
    begun = time.process_time()
    decode()
    bare = round((time.process_time() - begun) / talk.seconds, 4)
    figures["bare engine for the finals alone, processor seconds a second and talk"] = bare
    for count in options.at_once or STEPS:
        row, showings = await _at_once(daemon, [talk] * count, options.tail_s)
        figures[f"{count} talks"] = {**row, **compare([talk] * count, [{CONVO: one.text} for one in showings])}
        if _late(row):
            break
        held = count
    return {f"talks at once within endpoint + {LATE_MS} ms": held, **figures}


def _late(row: Figures) -> bool:
    latencies = row[FINAL]
    assert isinstance(latencies, list)
    return bool(latencies[1] > LATE_MS)


async def _recorded(daemon: Daemon, options: Options) -> Figures:
    """Each step with so many different parts of the recordings, beside faster-whisper on the same parts."""
    yardstick = await trio.to_thread.run_sync(Yardstick, options.model)
    steps = options.at_once or RECORDED_STEPS
    parts = different_parts(options.load_one_language(whole=True), max(steps), options.seconds or RECORDED_S)
    talks = [await trio.to_thread.run_sync(yardstick.time_words, part) for part in parts]
    texts = [await trio.to_thread.run_sync(yardstick.transcribe, talk) for talk in talks]
    figures: Figures = {}
    for count in steps:
        row, showings = await _at_once(daemon, talks[:count], options.tail_s)
        by_talk = {showing.talk.name: showing for showing in showings}
        shown = [by_talk[talk.name] for talk in talks[:count]]
        sides: list[Texts] = [{CONVO: one.text, **text} for one, text in zip(shown, texts, strict=False)]
        figures[f"{count} talks"] = {**row, **look(shown, options.tail_s), **compare(talks[:count], sides)}
    return figures


def different_parts(talks: Sequence[Talk], count: int, seconds: float) -> list[Talk]:
    """So many parts of so many seconds: the talks in turn, each time from where the last part ended.

    A talk that is used up begins again half a part later than before.
    """
    first = [0] * len(talks)
    parts: list[Talk] = []
    for number in range(count):
        at = number % len(talks)
        talk = talks[at]
        part = talk.part(seconds, first=first[at])
        if part.seconds < seconds / 2 and first[at]:
            first[at] = 1 + number // len(talks)
            part = talk.part(seconds, first=first[at])
        first[at] = (first[at] + len(part.utterances)) % len(talk.utterances)
        parts.append(part)
    return parts


async def _at_once(daemon: Daemon, talks: Sequence[Talk], tail_s: float) -> tuple[Figures, list[Showing]]:
    count = len(talks)
    seconds = max(talk.seconds for talk in talks)
    showings: list[Showing] = []
    before = daemon.cpu_s()
    idle = most = daemon.memory_mb()

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
                nursery.start_soon(_room, daemon, talks, range(first, min(count, first + 8)), showings)
        watching.cancel_scope.cancel()
    latencies = [latency for showing in showings for latency in showing.word_latencies()]
    return {
        FINAL: p50_p95([latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S, tail_s)]),
        "word latency p50 / p95, ms": p50_p95(latencies),
        "partials a second and talk": round(
            sum(len(showing.partials) for showing in showings) / sum(talk.seconds for talk in talks), 2
        ),
        "processor seconds a second": round((daemon.cpu_s() - before) / seconds, 2),
        "memory of a talk at most, MiB": round((most - idle) / count, 2),
    }, showings


async def _room(daemon: Daemon, talks: Sequence[Talk], numbers: range, showings: list[Showing]) -> None:
    async with convo.connect(daemon.web) as client, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            # Spread over three seconds, or all would pause at once.
            showings.append(await speak(client, talks[number], delay_s=3.0 * number / len(talks)))

        for number in numbers:
            nursery.start_soon(one, number)
