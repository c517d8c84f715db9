"""The benches, each against a convod of its own: `scripts/bench/run NAME`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import trio

import convo
from convo.messages import SummaryOptions

from . import (
    captions,
    cluster,
    engine,
    files,
    gateway,
    history,
    idle,
    languages,
    live,
    load,
    make_talks,
    noise,
    refine,
    silence,
    soak,
    speakers,
    times,
)
from .daemon import Daemon, running
from .figures import Figures
from .options import Options

Bench = Callable[[Daemon, Options], Awaitable[Figures]]

BENCHES: dict[str, Bench] = {
    "live": live.bench,
    "load": load.bench,
    "noise": noise.bench,
    "silence": silence.bench,
    "captions": captions.bench,
    "idle": idle.bench,
    "soak": soak.bench,
    "gateway": gateway.bench,
    "engine": engine.bench,
    "files": files.bench,
    "times": times.bench,
    "history": history.bench,
    "cluster": cluster.bench,
    "speakers": speakers.bench,
    "refine": refine.bench,
    "languages": languages.bench,
}


def main() -> None:
    """Run benches and print their figures."""
    if sys.argv[1:2] == ["make-talks"]:
        make_talks.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    parser.add_argument("bench", choices=[*BENCHES, "all"])
    parser.add_argument("--model", default="builtin", metavar="NAME|DIR", help="as convod's --model (default: builtin)")
    parser.add_argument(
        "--talks", type=Path, metavar="DIR", help="recorded talks, NAME.flac beside NAME.json; or one NAME.json"
    )
    parser.add_argument("--noises", type=Path, metavar="DIR", help="recordings in which nobody speaks")
    parser.add_argument(
        "--clips",
        type=Path,
        metavar="FILE",
        help="speakers, languages: a manifest of recordings",
    )
    parser.add_argument("--larger", type=Path, metavar="DIR", help="refine: the model that hears it again")
    parser.add_argument("--seconds", type=float, metavar="N", help="so much of each talk; load: of each part (60)")
    parser.add_argument("--minutes", type=float, metavar="N", help="files: how long the file is")
    parser.add_argument("--at-once", type=_counts, metavar="N,…", help="load: so many talks at once")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the load bench (needs matplotlib)")
    arguments = parser.parse_args()
    options = Options(
        model=arguments.model,
        talks=arguments.talks,
        noises=arguments.noises,
        seconds=arguments.seconds,
        minutes=arguments.minutes,
        at_once=arguments.at_once,
        clips=arguments.clips,
        larger=arguments.larger,
    )
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "trio"))
    }
    print(figures["machine"], flush=True)
    for name in BENCHES if arguments.bench == "all" else [arguments.bench]:
        # Bare engine and daemon are compared with one worker each.
        one_worker = {"CONVOD_DEVICE": "cpu", "CONVOD_ENGINE_WORKERS": "1"} if name in ("engine", "cluster") else {}
        with (
            refine.hub_with(options.larger) as hub,
            running("--model", arguments.model, **one_worker, **hub) as daemon,
        ):
            result = trio.run(_warm_then, BENCHES[name], daemon, options)
        figures[name] = result
        _show(name, result)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=2)
    if arguments.plot:
        from .plot import plot

        plot(figures, arguments.plot)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(count) for count in text.split(","))


def _show(name: str, figures: Figures) -> None:
    """Print a figure a line, with the names of what it is a part of before it."""
    for figure, value in figures.items():
        if isinstance(value, dict):
            _show(f"{name}: {figure}", value)
        else:
            print(f"{name}: {figure}: {value}", flush=True)


async def _warm_then(bench: Bench, daemon: Daemon, options: Options) -> Figures:
    async with convo.connect(daemon.socket) as client:
        # A session of silence is done when the model is loaded and warm.
        session = await client.create_session(kind="live", summary=SummaryOptions(mode="off"))
        await session.send_audio(bytes(3200))
        await session.finalize()
        await session.end()
        async for _ in session.events():
            pass
    return await bench(daemon, options)


main()
