"""The benches: `live` (one talk), `load` (many at once), `noise` (no talk at all), `captions`, `all`."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import trio

import convo

from . import noises, policies
from .daemon import Daemon, running
from .listener import Showing, speak
from .talk import errors, load

ENDPOINT_S = 0.5


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(1000 * seconds)


def offline(talks: list[Any], model: str) -> float:
    """Word error rate of plain faster-whisper on the same audio, its defaults with the VAD filter."""
    import numpy as np
    from faster_whisper import WhisperModel

    from convod.engine import models

    whisper = WhisperModel(str(models.find(model).directory), device="cpu", cpu_threads=1)
    wrong = said = 0
    for talk in talks:
        samples = np.frombuffer(talk.pcm, np.int16).astype(np.float32) / 32768
        segments, _ = whisper.transcribe(samples, language="en", vad_filter=True)
        wrong += errors([word.text for word in talk.words], " ".join(s.text for s in segments).lower().split())
        said += len(talk.words)
    return wrong / said


async def live(daemon: Daemon, model: str) -> dict[str, Any]:
    """One talk at a time in real time."""
    talks = [load("talk"), load("minutes")]
    before = daemon.cpu_s()
    showings: list[Showing] = []
    async with convo.connect(daemon.socket) as client:
        for talk in talks:
            showings.append(await speak(client, talk))
    seconds = sum(talk.seconds for talk in talks)
    said = sum(len(talk.words) for talk in talks)
    words = [latency for showing in showings for latency in showing.word_latencies()]
    finals = [latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S)]
    flickers = [showing.flicker() for showing in showings]
    plain_wer = await trio.to_thread.run_sync(offline, talks, model)
    live_wer = sum(showing.errors() for showing in showings) / said
    return {
        "word error rate, live, %": round(100 * live_wer, 2),
        "word error rate, plain faster-whisper, %": round(100 * plain_wer, 2),
        "word latency p50 / p95, ms": [ms(percentile(words, 0.5)), ms(percentile(words, 0.95))],
        "words that appeared, %": round(100 * len(words) / said, 1),
        "final latency beyond the endpoint p50 / p95, ms": [
            ms(percentile(finals, 0.5)), ms(percentile(finals, 0.95))
        ],
        "flicker tentative / stable, %": [
            round(100 * sum(f[0] for f in flickers) / len(flickers), 1),
            round(100 * sum(f[1] for f in flickers) / len(flickers), 1),
        ],
        "processor seconds an audio second": round((daemon.cpu_s() - before) / seconds, 4),
    }  # fmt: skip


async def load_bench(daemon: Daemon, model: str) -> dict[str, Any]:
    """How many talks at once keep their finals within endpoint + 500 ms (p95)."""
    talk = load("talk")
    held = 0
    rows = {}
    for count in (8, 16, 32, 48, 64):
        showings: list[Showing] = []
        before = daemon.cpu_s()

        async def one(client: Any, delay: float, into: list[Showing] = showings) -> None:
            into.append(await speak(client, talk, delay_s=delay))

        async with convo.connect(daemon.web) as client, trio.open_nursery() as nursery:
            for i in range(count):
                nursery.start_soon(one, client, i * 3.0 / count)
        finals = [latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S)]
        p95 = percentile(finals, 0.95)
        rows[f"{count} talks: final latency p50 / p95, ms; processor s a s"] = [
            ms(percentile(finals, 0.5)), ms(p95), round((daemon.cpu_s() - before) / talk.seconds, 2)
        ]  # fmt: skip
        if p95 > 0.5:
            break
        held = count
    return {"talks at once within endpoint + 500 ms": held, **rows}


async def noise(daemon: Daemon, model: str) -> dict[str, Any]:
    """Text over ten minutes of noises, fed faster than real time."""
    said: dict[str, list[str]] = {}
    async with convo.connect(daemon.socket) as client:
        for name, pcm in noises.all_of_them(seconds=100):
            session = await client.create_session(
                kind="live", interim=False, summary=convo.messages.SummaryOptions(mode="off")
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(noises.send, session, pcm)
                said[name] = [e.text async for e in session.events() if isinstance(e, convo.messages.TranscriptSegment)]
    return {f"texts over 100 s of {name}": texts for name, texts in said.items()}


async def captions(daemon: Daemon, model: str) -> dict[str, Any]:
    """Policies for what is shown of an interim, on the same hypotheses."""
    heard = await trio.to_thread.run_sync(policies.hypotheses, [load("talk"), load("minutes")], model)
    return {
        f"shown after {show}, promised after {promise} passes": policies.judge(
            heard, show=show, promise=promise, hold=1
        )
        for show in (1, 2, 3)
        for promise in (2, 3, 4)
        if promise >= show
    }


BENCHES: dict[str, Callable[[Daemon, str], Any]] = {
    "live": live,
    "load": load_bench,
    "noise": noise,
    "captions": captions,
}


def main() -> None:
    """Run benches and print their figures."""
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    parser.add_argument("bench", choices=[*BENCHES, "all"])
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("convo", "faster-whisper", "ctranslate2"))
    }
    for name in BENCHES if arguments.bench == "all" else [arguments.bench]:
        with running("--model", arguments.model) as daemon:
            figures[name] = trio.run(_ready_then, BENCHES[name], daemon, arguments.model)
        for figure, value in figures[name].items():
            print(f"{name}: {figure}: {value}", flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=2)


async def _ready_then(bench: Callable[[Daemon, str], Any], daemon: Daemon, model: str) -> Any:
    async with convo.connect(daemon.socket) as client:
        # A session of silence is done when the model is loaded and warm.
        session = await client.create_session(kind="live", summary=convo.messages.SummaryOptions(mode="off"))
        await session.send_audio(bytes(3200))
        await session.end()
        async for _ in session.events():
            pass
    return await bench(daemon, model)


main()
