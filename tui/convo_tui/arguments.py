"""The command line of `convo-tui`.

In: arguments. Out: `Options`. Imports nothing but argparse, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

_EPILOG = """\
settings are kept in tui.toml in $XDG_CONFIG_HOME/convo (else ~/.config/convo); flags override them.
environment: CONVO_URL stands for --connect, CONVO_TOKEN for --token; NO_COLOR turns colours off.
"""


class Options(argparse.Namespace):
    """Every flag; None or False if it was not given."""

    connect: str | None
    token: str | None
    device: str | None
    captions: bool
    play: str | None
    session: str | None
    theme: str | None
    ascii: bool


def parse(words: Sequence[str] | None = None) -> Options:
    """Parse the command line. Exits like argparse on a bad one, on `--help` and on `--version`."""
    parser = argparse.ArgumentParser(
        prog="convo-tui",
        description="Live captions and summaries in the terminal.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--connect", metavar="URL", help="where the daemon listens: unix:PATH, ws://HOST:PORT or wss://HOST")
    add(
        "--token",
        metavar="TOKEN",
        default=os.environ.get("CONVO_TOKEN") or None,
        help="the daemon's access token (better in CONVO_TOKEN, where no process list shows it)",
    )
    add("--device", metavar="NAME", help="the microphone: part of its name, or its number")
    add("--captions", action="store_true", help="start with large captions")
    add("--play", metavar="FILE", help="play a recording as if it were live")
    add("--session", metavar="ID", help="open a session, live or past, by its id or the first letters of it")
    add("--theme", metavar="NAME", help="convo-dark, convo-light, convo-contrast, or any theme of Textual")
    add("--ascii", action="store_true", help="draw with ASCII only, for limited terminals")
    add("--version", action=_Version, nargs=0, help="print the version and exit")
    options = parser.parse_args(words, namespace=Options())
    if options.play is not None and options.session is not None:
        parser.error("--play starts a session and --session opens one: give only one of them")
    return options


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        from convo import __version__

        print(f"convo-tui {__version__}")
        parser.exit()
