"""The command `convo`: reads the command line, runs what it names, ends with a code that a script can tell apart.

In: words, signals, what the command raises. Out: an exit code; a sentence on standard error where it is not 0. Each
command is imported when it is run; nothing heavier than argparse is imported before.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import cast

from .arguments import Options, parse

Command = Callable[[Options], Awaitable[None]]

HOMES = {
    "transcribe": "transcribe",
    "watch-folder": "watch_folder",
    "stream": "stream",
    "ls": "history",
    "show": "history",
    "watch": "history",
    "export": "history",
    "search": "history",
    "ask": "ask",
    "rename": "history",
    "edit": "edit",
    "speakers": "speakers",
    "voices": "speakers",
    "vocabulary": "vocabulary",
    "queue": "jobs",
    "priority": "jobs",
    "retry": "jobs",
    "retranscribe": "jobs",
    "refine": "refine",
    "summarize": "summarize",
    "summaries": "summarize",
    "cancel": "history",
    "rm": "history",
    "status": "service",
    "metrics": "service",
    "models": "service",
    "pull": "service",
    "mcp": "service",
}
"""The module that holds each command's function, which has the command's name, with _ for -."""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit code."""
    _open_streams()
    options = parse(words)
    try:
        home = import_module(f".{HOMES[options.command]}", __package__)
        return run(cast("Command", getattr(home, options.command.replace("-", "_"))), options)
    except KeyboardInterrupt:  # while something was imported
        return 128 + signal.SIGINT


def run(command: Command, options: Options) -> int:
    """Run a command under trio; return the exit code, and say why if it is not 0."""
    import trio

    from .errors import ClosedPipe, Exit, Interrupted, explain
    from .interrupts import on_interrupt
    from .output import note

    async def interruptible() -> None:
        """Run the command; a signal cancels it, unless the command handles signals itself."""
        with trio.CancelScope() as scope, on_interrupt(scope.cancel) as interrupts:
            await command(options)
        interrupts.check()

    try:
        trio.run(interruptible)
    except BaseException as error:
        told = explain(error)
        if told is None:
            raise
        if isinstance(told, ClosedPipe):
            _forget_output()
            return Exit.CLOSED_PIPE
        if isinstance(told, Interrupted):
            return 128 + told.signum
        note(told.sentence)
        return told.code
    return Exit.OK


def _open_streams() -> None:
    """Replace standard streams that were closed (`>&-`), or the next socket would get their descriptors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # open as long as we run


def _forget_output() -> None:
    """Redirect standard output: Python flushes it once more at its end, and would report the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
