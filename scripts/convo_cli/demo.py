"""What `scripts/demo` shows: a daemon of its own that captions a talk, your recordings or your voice, and a summary.

In: the sample, files, or the microphone. Out: captions and summary on standard output. The daemon's socket and state
are in a directory that is gone afterwards, however this ends: no setting and no session of the user's is read or
written. A model that is fetched stays, with the user's other models.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio

import convo
from convo import SessionOptions
from convo.messages import EngineStatus, PullModel, Status, SummaryOptions

from .__main__ import run
from .arguments import Options
from .captions import Captions, Interim
from .errors import Exit, Problem
from .interrupts import before_leaving
from .live import Live
from .output import Lines, colours, note, on_screen, put
from .sources import Paced, Source, decoded
from .speaking import name_of, speaking
from .summaries import DIM, PLAIN
from .text import clean, file_name

REAL: Final = "tiny.en"
"""The smallest model that understands people, of one language: fetched the first time, about 70 MB."""

BUILTIN: Final = "builtin"

VOICES: Final = "voices"
"""The package that tells speakers apart."""

_START_S = 60.0
_LOOK_S = 0.05  # between two looks at a daemon that is starting
_STOP_S = 10.0
STALL_S = 25.0
"""How long a fetch may stand still. An offline machine mostly knows at once; one whose packets are dropped needs ten
seconds for the hub and the index, one whose names nobody resolves twice as long.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; returns an exit code of `convo`."""
    parser = _parser()
    options = parser.parse_args(words, namespace=Options())
    if wrong := _usage_error(options):
        parser.error(wrong)
    return run(_demo, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Captions and a summary, made on this machine: of a talk, of your recordings, or of your voice.",
    )
    parser.add_argument("--sample", metavar="FILE", required=True, help=argparse.SUPPRESS)
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="a recording of your own, anything FFmpeg reads, instead of the talk"
    )
    parser.add_argument("--mic", action="store_true", help="caption what you say, until Ctrl-C")
    parser.add_argument("--device", metavar="NAME", help="which microphone: a part of its name, or its number")
    parser.add_argument(
        "--model", metavar="NAME", help=f"a speech model other than {REAL}: builtin, a size such as small, a directory"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--fast", action="store_true", help="as fast as it goes, not at the pace of the talk")
    how.add_argument("--tui", action="store_true", help="in the terminal app, convo-tui")
    return parser


def _usage_error(options: Options) -> str | None:
    """What is wrong with words that are each right."""
    if options.mic and options.files:
        return "--mic takes the place of a FILE: give one of them"
    if options.mic and options.fast:
        return "--fast is for recordings: leave it out with --mic"
    if options.mic and options.tui:
        return "in the app `s` turns the microphone on: leave out --mic or --tui"
    if options.device is not None and not options.mic:
        return "--device names a microphone: give --mic too"
    if options.tui and len(options.files) > 1:
        return "the app plays one FILE: leave out the others"
    return None


async def _demo(options: Options) -> None:
    await _check_sources(options)
    with tempfile.TemporaryDirectory(prefix="convo-demo-", ignore_cleanup_errors=True) as place:
        options.connect, options.token = f"unix:{place}/convod.sock", None
        if options.model is not None:
            await _with_model(Path(place), options, options.model)
        elif (why := await _with_model(Path(place), options, REAL, instead=True)) is not None:
            note(
                f"{_capital(why)}, so the built-in model hears this, which knows synthetic voices only and does not "
                "understand people: run this again where there is a network."
            )
            await _with_model(Path(place), options, BUILTIN)
    if not options.tui:
        _say(f"\nNext, your own voice: `scripts/demo --mic`. For good: `{_program('convod')}`, and in another terminal "
             f"`{_program('convo')} stream --mic --summary`.\n")  # fmt: skip


async def _check_sources(options: Options) -> None:
    """Raise Problem for what cannot be played, before a model is fetched for it."""
    if options.mic:
        from convo.errors import BadAudio, NoMicrophone
        from convo.microphone import input_devices

        try:
            devices = input_devices()
        except NoMicrophone as error:
            raise Problem(Exit.OTHER, str(error)) from None
        except BadAudio as error:
            raise Problem(Exit.BAD_AUDIO, str(error)) from None
        if not devices:
            raise Problem(
                Exit.BAD_AUDIO, "There is no microphone: plug one in, or give a recording, scripts/demo FILE."
            )
    for file in options.files:
        source = decoded(Path(file))
        try:
            if not await source.read():
                raise Problem(Exit.BAD_AUDIO, f"{file_name(source.name)} has no sound: give another recording.")
        finally:
            source.close()


async def _with_model(place: Path, options: Options, model: str, *, instead: bool = False) -> str | None:
    """Show everything with a model. With `instead`, return why there is no such model; else raise that as Problem."""
    async with _daemon(place, str(options.connect), model):
        why = await _model_missing(options)
        if why is None:
            await _show(options, model)
            return None
        if instead:
            return why.partition("; ")[0].partition(", so ")[0]
    raise Problem(Exit.OTHER, f"{_capital(why)}.")


async def _show(options: Options, model: str) -> None:
    if options.tui:
        await _play_in_the_app(options)
        return
    options.split_channels = False
    real = model != BUILTIN and bool(options.files or options.mic)
    options.speakers = "auto" if real and await _tells_voices(options) else None
    with_it = "its built-in model" if model == BUILTIN else f"the model {clean(model)}"
    _say(f"convod is up with {with_it}. ")
    if options.mic:
        _say("Captions of what you say; Ctrl-C ends it:\n\n")
        from .microphone import Microphone

        await _play(options, Microphone(options.device), "Your voice")
        return
    pace = "as fast as it goes" if options.fast else "as it is spoken"
    if not options.files:
        _say(f"Captions of a talk by synthetic voices, {pace}:\n\n")
        await _play_file(options, Path(options.sample), "Demo")
    for number, file in enumerate(options.files):
        name = file_name(Path(file).name)
        _say(("\n" if number else "") + f"Captions of {name}, {pace}:\n\n")
        await _play_file(options, Path(file), name)


async def _play_in_the_app(options: Options) -> None:
    """Give the terminal to convo-tui until somebody leaves it."""
    recording = options.files[0] if options.files else options.sample
    command = [sys.executable, "-m", "convo_tui", "--connect", str(options.connect), "--play", recording]
    # The app reads the keyboard in a mode of its own: Ctrl-C is a key to it, and a signal to nobody.
    code = await trio.run_process(command, stdin=None, check=False, capture_stdout=False, capture_stderr=False)
    if code.returncode:
        raise Problem(Exit.OTHER, "convo-tui did not end well: what it said is above.")


async def _play_file(options: Options, path: Path, title: str) -> None:
    source: Source = decoded(path)
    await _play(options, source if options.fast else Paced(source), title)


async def _play(options: Options, source: Source, title: str) -> None:
    lines = Lines()
    who = speaking(options)
    named = partial(name_of, who) if who else None
    captions = Captions(lines, times=True, name_of=named)
    wanted = SessionOptions(
        audio=source.format,
        title=title,
        interim=captions.wants_interims,
        **who,
        # The built-in summarizer: the same summary on every machine, whatever language model runs there.
        summary=SummaryOptions(mode="final", provider="extractive"),
    )
    try:
        await Live(options, wanted, source, captions, lines).run()
    finally:
        source.close()


# --- the model --------------------------------------------------------------------------------------------


async def _model_missing(options: Options) -> str | None:
    """Wait until the daemon hears; why it never will, or None."""
    shown = Interim(sys.stderr) if on_screen(sys.stderr) else None
    last, since = "", trio.current_time()
    async with convo.connect(str(options.connect), client="convo-demo") as client:
        while True:
            engine: EngineStatus = (await client.request(Status())).engine
            message = engine.message or ""
            if engine.state != "loading":
                break
            if message != last:
                if message and not last:
                    note(f"Fetching {clean(engine.model)}, the first time only.")
                if shown is not None:
                    shown.draw("", _capital(message), "")
                last, since = message, trio.current_time()
            if message and trio.current_time() - since > STALL_S:
                break
            await trio.sleep(_LOOK_S)
    if shown is not None:
        shown.erase()
    if engine.state == "failed":
        return clean(message) or "the model cannot be used"
    if engine.state == "loading":
        return f"nothing came of {clean(engine.model)} for {STALL_S:.0f} s"
    return None


async def _tells_voices(options: Options) -> bool:
    """Fetch what tells voices apart, 17 MB the first time; without it the captions name no speakers."""
    async with convo.connect(str(options.connect), client="convo-demo") as client:
        with trio.move_on_after(STALL_S), suppress(convo.RequestError):
            await client.request(PullModel(model=VOICES))
            return True
    return False


# --- the daemon -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _daemon(place: Path, url: str, model: str) -> AsyncIterator[None]:
    """A daemon that answers at `url` and keeps everything in `place`; stopped at the end.

    Raises:
        Problem: it does not start; its own words say why.
    """
    log = place / "convod.log"
    settings = place / "convod.toml"
    settings.touch()
    command = [sys.executable, "-m", "convod", "--config", str(settings), "--model", model]
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


# --- words ------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    dim, plain = (DIM, PLAIN) if colours(sys.stdout) else ("", "")
    put(f"{dim}{text}{plain}")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _program(name: str) -> str:
    """How to call a program that lies beside this Python, from where we are."""
    path = Path(sys.executable).with_name(name)
    near = os.path.relpath(path)
    return near if not near.startswith("..") else str(path)


if __name__ == "__main__":
    sys.exit(main())
