"""The program `convod`: flags to settings, faults to one line and an exit status.

Exit status: 0 stopped as told, 1 cannot run here, 2 wrong flags or settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from convod import __version__

FLAGS = {
    "socket": "listen.socket",
    "listen": "listen.websocket",
    "model": "engine.model",
    "device": "engine.device",
    "compute_type": "engine.compute_type",
    "state_dir": "state_dir",
    "log_level": "log.level",
    "log_format": "log.format",
}
"""Settings that have a flag of their own."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser(
        prog="convod",
        description="Live captions and conversation summaries on this machine: the daemon. "
        "Settings come from flags, then CONVOD_* in the environment, then convod.toml.",
    )
    parse.add_argument(
        "command", nargs="?", choices=["run", "check-config", "backup"], default="run", help=argparse.SUPPRESS
    )
    parse.add_argument("file", nargs="?", type=Path, help=argparse.SUPPRESS)
    parse.add_argument("--config", metavar="FILE", type=Path, help="read settings from this TOML file")
    parse.add_argument("--socket", metavar="PATH", help="listen on this Unix socket")
    parse.add_argument("--listen", metavar="ws://HOST:PORT", action="append", help="listen for WebSockets too")
    parse.add_argument(
        "--model", metavar="NAME", help="builtin, a size such as small, a hub id, or a directory (default: builtin)"
    )
    parse.add_argument("--device", choices=["auto", "cpu", "cuda"], help="where the model runs")
    parse.add_argument("--compute-type", metavar="TYPE", help="int8, float16, float32 … (default: the model's)")
    parse.add_argument("--state-dir", metavar="DIR", help="keep sessions and audio here")
    parse.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    parse.add_argument("--log-format", choices=["text", "json"])
    parse.add_argument("--version", action="version", version=f"convod {__version__}")
    parse.epilog = (
        "`convod check-config` prints the settings in force and stops. `convod backup FILE` writes a copy of all "
        "transcripts and summaries, also while the daemon runs; to restore it, stop convod and put it in the place of "
        "convod.sqlite in the state directory."
    )
    return parse


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon, or check its settings."""
    parse = parser()
    given = parse.parse_args(arguments)
    if (given.command == "backup") != (given.file is not None):
        parse.error("`convod backup` takes the FILE to write, and no other command takes one")
    from convod.ops import config

    flags: dict[str, Any] = {key: getattr(given, flag) for flag, key in FLAGS.items()}
    try:
        settings, file = config.load(flags, os.environ, given.config)
    except config.BadSettings as error:
        print(f"convod: {error}", file=sys.stderr)
        return 2
    if given.command == "check-config":
        return _show(settings, file)
    if given.command == "backup":
        return _backup(settings, given.file)
    return _run(settings)


def _backup(settings: Any, target: Path) -> int:
    from convod.store import StoreFailed, backup

    try:
        backup(settings.state_path / "convod.sqlite", target)
    except StoreFailed as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    return 0


def _show(settings: Any, file: Path | None) -> int:
    import msgspec

    print(f"# settings from {file}" if file else "# no settings file")
    tree = msgspec.to_builtins(settings)
    if tree["listen"]["token"]:
        tree["listen"]["token"] = "(set)"
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    for key, value in plain.items():
        print(f"{key} = {_toml(value)}")
    for section, values in tree.items():
        if isinstance(values, dict):
            print(f"\n[{section}]")
            for key, value in values.items():
                print(f"{key} = {_toml(value)}")
    return 0


def _toml(value: object) -> str:
    import json

    # JSON's texts, numbers, booleans and lists of texts are TOML's too.
    return json.dumps(value)


def _run(settings: Any) -> int:
    import trio

    from convod import daemon
    from convod.listen.unix import SocketTaken
    from convod.listen.websocket import BadAddress
    from convod.ops import logs
    from convod.store import StoreFailed

    logs.begin(settings.log)
    fault: BaseException | None = None
    try:
        trio.run(daemon.run, settings)
    except* (daemon.CannotStart, StoreFailed, SocketTaken, BadAddress, OSError) as group:
        fault = group
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
    if fault is not None:
        print(f"convod: {fault}", file=sys.stderr)
        return 2 if isinstance(fault, BadAddress) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
