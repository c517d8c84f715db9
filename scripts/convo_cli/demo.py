"""What `scripts/demo` shows: a daemon of its own, a recording played to it as if it were spoken now, the summary.

In: the sample. Out: captions and summary on standard output. The daemon's socket and state are in a directory that is
gone afterwards, however this ends; nothing of the user's is read or written, no setting and no session.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import convo
from convo.messages import CreateSession, SummaryOptions

from .__main__ import run
from .arguments import Options
from .captions import Captions
from .errors import Exit, Problem
from .interrupts import before_leaving
from .live import Live
from .output import Lines, colours, put
from .sources import Paced, Source, decoded
from .summaries import DIM, PLAIN

_START_S = 60.0
_LOOK_S = 0.05  # between two looks whether the daemon answers
_STOP_S = 10.0


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; returns an exit code of `convo`."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Captions and a summary of a talk of two, made on this machine."
    )
    parser.add_argument("--sample", metavar="FILE", required=True, help=argparse.SUPPRESS)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--fast", action="store_true", help="as fast as it goes, not at the pace of the talk")
    how.add_argument("--tui", action="store_true", help="in the terminal app, convo-tui")
    return run(_demo, parser.parse_args(words, namespace=Options()))


async def _demo(options: Options) -> None:
    dim, plain = (DIM, PLAIN) if colours(sys.stdout) else ("", "")
    with tempfile.TemporaryDirectory(prefix="convo-demo-", ignore_cleanup_errors=True) as place:
        options.connect, options.token = f"unix:{place}/convod.sock", None
        async with _daemon(Path(place), options.connect):
            if options.tui:
                await _play_in_the_app(options)
                return
            put(f"{dim}convod is up with its built-in model. Captions of a recorded talk, as it is spoken:{plain}\n\n")
            await _play(options)
    put(
        f"\n{dim}Next, your own voice: `{_program('convod')} --model small`, and in another terminal "
        f"`{_program('convo')} stream --mic --summary`.{plain}\n"
    )


async def _play_in_the_app(options: Options) -> None:
    """Give the terminal to convo-tui until somebody leaves it."""
    command = [sys.executable, "-m", "convo_tui", "--connect", str(options.connect), "--play", options.sample]
    # The app reads the keyboard in a mode of its own: Ctrl-C is a key to it, and a signal to nobody.
    code = await trio.run_process(command, stdin=None, check=False, capture_stdout=False, capture_stderr=False)
    if code.returncode:
        raise Problem(Exit.OTHER, "convo-tui did not end well: what it said is above.")


async def _play(options: Options) -> None:
    source: Source = decoded(Path(options.sample))
    if not options.fast:
        source = Paced(source)
    lines = Lines()
    captions = Captions(lines, times=True)
    request = CreateSession(
        kind="live",
        audio=source.format,
        title="Demo",
        interim=captions.wants_interims,
        # The built-in summarizer: the same summary on every machine, whatever language model runs there.
        summary=SummaryOptions(mode="final", provider="extractive"),
    )
    try:
        await Live(options, request, source, captions, lines).run()
    finally:
        source.close()


@asynccontextmanager
async def _daemon(place: Path, url: str) -> AsyncIterator[None]:
    """A daemon that answers at `url` and keeps everything in `place`; stopped at the end.

    Raises:
        Problem: it does not start; its own words say why.
    """
    log = place / "convod.log"
    settings = place / "convod.toml"
    settings.touch()
    command = [sys.executable, "-m", "convod", "--config", str(settings), "--model", "builtin"]
    command += ["--socket", str(place / "convod.sock"), "--state-dir", str(place / "state")]
    with log.open("wb") as stderr:
        # In a session of its own: Ctrl-C is for us, who then ends the talk before the daemon.
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith(("CONVOD_", "CONVO_"))},
        )

    def leave() -> None:
        process.kill()
        shutil.rmtree(place, ignore_errors=True)

    with before_leaving(leave):
        try:
            await _wait_up(process, url, log)
            yield
        finally:
            with trio.CancelScope(shield=True):
                await _stop(process)


async def _wait_up(process: trio.Process, url: str, log: Path) -> None:
    with trio.move_on_after(_START_S):
        while process.poll() is None:
            try:
                async with convo.connect(url, client="convo-demo"):
                    return
            except convo.CannotConnect:
                await trio.sleep(_LOOK_S)
    raise Problem(Exit.NO_DAEMON, f"convod did not start: {_last_line(log)}")


def _last_line(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return said[-1] if said else "it said nothing."


async def _stop(process: trio.Process) -> None:
    process.terminate()
    with trio.move_on_after(_STOP_S):
        await process.wait()
        return
    process.kill()
    await process.wait()


def _program(name: str) -> str:
    """How to call a program that lies beside this Python, from where we are."""
    path = Path(sys.executable).with_name(name)
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)


if __name__ == "__main__":
    sys.exit(main())
