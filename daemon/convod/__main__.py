"""The program `convod`: flags become settings, errors one line and an exit status.

Exit status: 0 stopped as told, 1 cannot run here, 2 wrong flags or settings.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convod import __version__

FLAGS = {
    "socket": "listen.socket",
    "listen": "listen.websocket",
    "tls_cert": "listen.tls_cert",
    "tls_key": "listen.tls_key",
    "insecure": "listen.insecure",
    "model": "engine.model",
    "device": "engine.device",
    "compute_type": "engine.compute_type",
    "broker": "engine.broker",
    "state_dir": "state_dir",
    "log_level": "log.level",
    "log_format": "log.format",
}
"""Settings that have a flag of their own."""

_DESCRIPTION = """\
Live captions and conversation summaries on this machine: the daemon. Settings come from flags, then CONVOD_* in the
environment, then ~/.config/convod/convod.toml or /etc/convod/convod.toml; `convod check-config` prints all there are.
"""

_EPILOG = "exit status: 0 stopped as told, 1 cannot run here, 2 wrong flags or settings"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parse = argparse.ArgumentParser(prog="convod", description=_DESCRIPTION, epilog=_EPILOG, parents=[_settings(None)])
    parse.add_argument("--version", action="version", version=f"convod {__version__}", help="print the version and end")
    commands = parse.add_subparsers(dest="command", metavar="COMMAND")
    # What is given behind a command must not be undone by the default of what was not given before it.
    everywhere = _settings(argparse.SUPPRESS)

    def command(name: str, text: str, under: Any = commands) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = under.add_parser(name, help=text, description=text, parents=[everywhere])
        return made

    command("run", "Run the daemon; this is what convod does without a command.")
    command("check-config", "Print the settings in force, say what is wrong with them, and stop.")

    tokens = command("token", "Tokens for clients that come by WebSocket; a running daemon takes changes at once.")
    actions = tokens.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = command("add", "Make a token and print it: it is shown this once.", actions)
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--scope",
        choices=["read", "stream", "admin"],
        default="stream",
        help="read: look at sessions; stream: that, and make them (default); admin: that, and see everybody's",
    )
    add.add_argument("--expires", metavar="WHEN", help="30d, 12h, or a date such as 2027-01-31 (default: never)")
    add.add_argument(
        "--owner", metavar="OWNER", default="", help="whose sessions it sees, such as uid:1000 (default: its own)"
    )
    command("list", "Show names, scopes and dates.", actions)
    command("revoke", "Forget a token; connections that use it are closed.", actions).add_argument(
        "name", metavar="NAME"
    )

    install = command("install", "Write systemd units for this convod.")
    install.add_argument("--user", action="store_true", help="a service of your own login instead of the system's")
    install.add_argument("--root", metavar="DIR", type=Path, default=Path("/"), help="write below here (for packages)")

    command("worker", "Decode audio for convods on other machines; --broker says where they meet.")

    backup = command("backup", "Write a copy of all transcripts and summaries, also while the daemon runs.")
    backup.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="to restore it, stop convod and put it in the place of convod.sqlite in the state directory",
    )

    migrate = command("migrate-store", "Move all transcripts and summaries to another store, checked; audio stays.")
    for name in ("source", "target"):
        migrate.add_argument(
            name,
            metavar="FROM" if name == "source" else "TO",
            help="a state directory or database, or postgresql://USER@HOST/DATABASE; its password in ~/.pgpass",
        )
    return parse


def _settings(default: Any) -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(add_help=False, argument_default=default)
    parse.add_argument("--config", metavar="FILE", type=Path, help="read settings from this TOML file")
    parse.add_argument("--socket", metavar="PATH", help="listen on this Unix socket")
    parse.add_argument(
        "--listen", metavar="ws://HOST:PORT", action="append", help="listen for WebSockets too; wss:// with TLS"
    )
    parse.add_argument("--tls-cert", metavar="FILE", help="certificate (chain) for wss://, PEM")
    parse.add_argument("--tls-key", metavar="FILE", help="its key, PEM")
    parse.add_argument(
        "--insecure", action="store_true", default=default, help="listen beyond this machine without TLS"
    )
    parse.add_argument(
        "--model",
        metavar="NAME",
        help="auto (default: the best that is here), builtin, a size such as small, a hub id, or a directory",
    )
    parse.add_argument("--device", choices=["auto", "cpu", "cuda"], help="where the model runs")
    parse.add_argument("--compute-type", metavar="TYPE", help="int8, float16, float32 … (default: the device's best)")
    parse.add_argument(
        "--broker",
        metavar="redis://HOST",
        help="the Redis through which workers on other machines get audio; or rediss://",
    )
    parse.add_argument("--state-dir", metavar="DIR", help="keep sessions and audio here")
    parse.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="what is logged (info)")
    parse.add_argument(
        "--log-format", choices=["auto", "text", "json", "journal"], help="auto is journal under systemd, else text"
    )
    return parse


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon, or do what the command says."""
    given = parser().parse_args(arguments)
    from convod.ops import config

    flags: dict[str, Any] = {key: getattr(given, flag) for flag, key in FLAGS.items()}

    def read() -> Any:
        return config.load(flags, os.environ, given.config)

    try:
        settings, file = read()
    except config.BadSettings as error:
        print(f"convod: {error}", file=sys.stderr)
        return 2
    if given.command == "check-config":
        return _show(settings, file)
    if given.command == "token":
        from convod.ops.tokens import run

        return run(given, settings.state_path)
    if given.command == "backup":
        return _backup(settings, given.file)
    if given.command == "migrate-store":
        return _move(given.source, given.target)
    if given.command == "install":
        from convod.ops.install import install

        return install(given.root, user=given.user)
    if given.command == "worker":
        return _work(settings)

    def read_again() -> Any:
        fresh, source = read()
        _warn(fresh, source)
        return fresh

    return _run(settings, file, read_again)


def _work(settings: Any) -> int:
    from convod import startup
    from convod.ops import logs

    logs.begin(settings.log)
    try:
        startup.check(settings, worker=True)
    except startup.CannotStart as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    from convod.cluster.worker import run

    status = run(settings.engine)
    logs.flush()
    return status


def _warn(settings: Any, file: Path | None) -> None:
    import logging

    from convod.ops.config import exposed_secret

    if (sentence := exposed_secret(settings, file)) is not None:
        logging.getLogger("convod").warning("%s", sentence)


def _backup(settings: Any, target: Path) -> int:
    from convod.store import StoreFailed, backup

    if settings.store.url:
        print(
            "convod: sessions are in PostgreSQL (store.url): use pg_dump, or copy them with `convod migrate-store`",
            file=sys.stderr,
        )
        return 1
    try:
        backup(settings.state_path / "convod.sqlite", target)
    except StoreFailed as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    return 0


def _move(source: str, target: str) -> int:
    from convod.store import StoreFailed
    from convod.store.move import move

    try:
        sessions, events = move(source, target, lambda text: print(f"convod: {text}", file=sys.stderr, flush=True))
    except StoreFailed as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    print(f"{sessions} sessions with {events} events are there, all compared; what they were moved from is as it was")
    return 0


def _show(settings: Any, file: Path | None) -> int:
    import msgspec

    from convod.ops.config import exposed_secret, without_password

    print(f"# settings from {file}" if file else "# no settings file")
    tree = msgspec.to_builtins(settings)
    if tree["listen"]["token"]:
        tree["listen"]["token"] = "(set)"
    tree["engine"]["broker"] = without_password(tree["engine"]["broker"])
    tree["store"]["url"] = without_password(tree["store"]["url"])
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    for key, value in plain.items():
        print(f"{key} = {_toml(value)}")
    for section, values in tree.items():
        if isinstance(values, dict):
            print(f"\n[{section}]")
            for key, value in values.items():
                print(f"{key} = {_toml(value)}")
    from convod import startup

    if (sentence := exposed_secret(settings, file)) is not None:
        print(f"convod: {sentence}", file=sys.stderr)
    try:
        startup.check(settings)
    except startup.CannotStart as error:
        print(f"convod: {error}", file=sys.stderr)
        return 1
    return 0


def _toml(value: object) -> str:
    import json

    # JSON's texts, numbers, booleans and lists of texts are TOML's too.
    return json.dumps(value)


def _run(settings: Any, file: Path | None, read_settings: Callable[[], Any]) -> int:
    from functools import partial

    import trio

    from convod import daemon
    from convod.hooks.hooks import BadHook
    from convod.listen.tcp import BadAddress
    from convod.listen.tls import BadCertificate
    from convod.listen.unix import SocketTaken
    from convod.ops import logs
    from convod.ops.http import HttpUnavailable
    from convod.ops.systemd import BadActivation
    from convod.startup import CannotStart
    from convod.store import StoreFailed

    logs.begin(settings.log)
    _warn(settings, file)
    fault: BaseException | None = None
    try:
        trio.run(partial(daemon.run, settings, read_settings=read_settings))
    except* (
        BadHook, CannotStart, StoreFailed, SocketTaken, BadAddress, BadCertificate, BadActivation,
        HttpUnavailable, OSError,
    ) as group:  # fmt: skip
        fault = group
        while isinstance(fault, BaseExceptionGroup):
            fault = fault.exceptions[0]
    logs.flush()
    if fault is not None:
        print(f"convod: {fault}", file=sys.stderr)
        return 2 if isinstance(fault, BadAddress) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
