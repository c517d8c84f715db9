"""One talk at a time in real time: words, latencies, flicker, work.

The yardstick for words is plain faster-whisper in this process, on the same audio with the same model.
"""

from __future__ import annotations

import numpy as np
import trio
from faster_whisper import WhisperModel

import convo
from convod.engine import models

from .daemon import Daemon
from .figures import Figures, p50_p95
from .listener import Showing, speak
from .talk import Talk, errors, load, plain

ENDPOINT_S = 0.5
"""convod's default endpoint."""


async def bench(daemon: Daemon, model: str) -> Figures:
    """Speak the two talks, one after the other."""
    talks = [load("talk"), load("minutes")]
    before = daemon.cpu_s()
    showings: list[Showing] = []
    async with convo.connect(daemon.socket) as client:
        for talk in talks:
            showings.append(await speak(client, talk))
    work = daemon.cpu_s() - before
    said = sum(len(talk.words) for talk in talks)
    latencies = [latency for showing in showings for latency in showing.word_latencies()]
    finals = [latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S)]
    flickers = [showing.flicker() for showing in showings]
    plain_whisper = await trio.to_thread.run_sync(_offline, talks, model)
    return {
        "word error rate, live, %": round(100 * sum(showing.errors() for showing in showings) / said, 2),
        **{f"word error rate, offline, {how}, %": round(100 * rate, 2) for how, rate in plain_whisper.items()},
        "word latency p50 / p95, ms": p50_p95(latencies),
        "words that appeared, %": round(100 * len(latencies) / said, 1),
        "final latency beyond the endpoint p50 / p95, ms": p50_p95(finals),
        "flicker tentative / stable, %": [
            round(100 * sum(flicker[kind] for flicker in flickers) / len(flickers), 1) for kind in (0, 1)
        ],
        "processor seconds an audio second": round(work / sum(talk.seconds for talk in talks), 4),
    }


def _offline(talks: list[Talk], model: str) -> dict[str, float]:
    whisper = WhisperModel(str(models.find(model).directory), device="cpu", cpu_threads=1)
    rates = {}
    for how, options in {"defaults": {}, "with its VAD filter": {"vad_filter": True}}.items():
        wrong = said = 0
        for talk in talks:
            samples = np.frombuffer(talk.pcm, np.int16).astype(np.float32) / 32768
            segments, _ = whisper.transcribe(samples, language="en", **options)
            wrong += errors([word.text for word in talk.words], plain(" ".join(segment.text for segment in segments)))
            said += len(talk.words)
        rates[how] = wrong / said
    return rates
