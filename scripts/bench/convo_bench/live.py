"""One talk at a time in real time: words, latencies, what vanishes from the screen, work.

The yardstick for words is plain faster-whisper in this process, on the same audio with the same model.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

import convo

from .comparison import CONVO, Texts, compare
from .daemon import Daemon
from .figures import Figures, p50_p95, percent
from .listener import speak
from .options import Options
from .showing import Showing
from .yardstick import Yardstick

ENDPOINT_S: Final = 0.5
"""convod's default endpoint."""


@dataclass(frozen=True)
class Measured:
    """A talk as it was shown, each side's words, and the processor seconds of the daemon and its workers."""

    showing: Showing
    texts: Texts
    work_s: float


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Speak the talks, one after the other; a row for each, and one for all in a language."""
    yardstick = await trio.to_thread.run_sync(Yardstick, options.model)
    measured: list[Measured] = []
    async with convo.connect(daemon.socket) as client:
        for untimed in options.load_talks():
            talk = await trio.to_thread.run_sync(yardstick.time_words, untimed)
            texts = await trio.to_thread.run_sync(yardstick.transcribe, talk)
            before = daemon.cpu_s()
            showing = await speak(client, talk)
            work = daemon.cpu_s() - before
            measured.append(Measured(showing, {CONVO: showing.text, **texts}, work))
            print(f"{talk.name}: {talk.seconds:.0f} s spoken", file=sys.stderr, flush=True)
    return _rows(measured, options.tail_s)


def _rows(measured: Sequence[Measured], tail_s: float) -> Figures:
    rows: Figures = {one.showing.talk.name: _row([one], tail_s) for one in measured}
    for language in sorted({one.showing.talk.language for one in measured}):
        together = [one for one in measured if one.showing.talk.language == language]
        if len(together) > 1:
            rows[f"all in {language}"] = _row(together, tail_s)
    return rows


def _row(measured: Sequence[Measured], tail_s: float) -> Figures:
    showings = [one.showing for one in measured]
    seconds = sum(showing.talk.seconds for showing in showings)
    return {
        **compare([showing.talk for showing in showings], [one.texts for one in measured]),
        **look(showings, tail_s),
        "processor seconds an audio second": round(sum(one.work_s for one in measured) / seconds, 4),
    }


def look(showings: Sequence[Showing], tail_s: float) -> Figures:
    """Latencies, and how steady the captions are; `tail_s` as in `Options`."""
    seconds = sum(showing.talk.seconds for showing in showings)
    said = sum(len(showing.talk.words) for showing in showings)
    latencies = [latency for showing in showings for latency in showing.word_latencies()]
    shown = [word for showing in showings for word in showing.shown_words()]
    tentative = [word for word in shown if word.tentative]
    stable = [word for word in shown if word.stable]
    return {
        "word shown after its end p50 / p95, ms": p50_p95(latencies),
        "words that appeared, %": percent(len(latencies), said),
        "final beyond the endpoint p50 / p95, by the segment's times, ms": p50_p95(
            [latency for showing in showings for latency in showing.final_latencies(ENDPOINT_S, tail_s)]
        ),
        "final beyond the endpoint p50 / p95, by the truth's times, ms": p50_p95(
            [latency for showing in showings for latency in showing.final_latencies_of_truth(ENDPOINT_S)]
        ),
        "tentative words that vanish, %": percent(
            sum(not word.kept and not word.stable for word in tentative), len(tentative)
        ),
        "stable words that change, %": percent(sum(not word.kept for word in stable), len(stable)),
        "blank captions": sum(showing.blanks() for showing in showings),
        "partials a second": round(sum(len(showing.partials) for showing in showings) / seconds, 2),
    }
