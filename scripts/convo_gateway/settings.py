"""The gateway's settings: flags, then the environment (`CONVO_GATEWAY_NAME`), then defaults.

In: the command line. Out: `Settings`, or the end of the program with a sentence. This module opens nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import msgspec

import convo
from convo.address import default_url, parse

GIB = 1 << 30


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set.

    Args:
        connect: where the daemon listens.
        listen: HOST:PORT to serve; port 0 takes a free one.
        open_loopback: serve without tokens to every program on this machine, as the gateway's own user.
        insecure: serve other machines without TLS, such as behind a proxy that has it.
        origins: web pages that may use the gateway; all others are refused.
        spool_bytes: disk for OpenAI uploads on their way to the daemon, of all clients together.
        keep_sessions: keep the daemon's sessions behind OpenAI requests once they are answered.
        requests: requests and streams served at once.
        job_streams: event streams of one job at once.
        stall_s: seconds after which a client that sends nothing, or takes nothing, is dropped.
        wyoming: tcp://HOST:PORT to serve Wyoming at; None does not.
        wyoming_token: the token of all Wyoming clients, for they have none of their own.
    """

    connect: str
    listen: str = "127.0.0.1:8766"
    open_loopback: bool = False
    insecure: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    origins: tuple[str, ...] = ()
    spool_bytes: int = 4 * GIB
    keep_sessions: bool = False
    requests: int = 512
    job_streams: int = 256
    stall_s: float = 30.0
    wyoming: str | None = None
    wyoming_token: str | None = None

    @property
    def host(self) -> str:
        """The host of `listen`, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def wyoming_address(self) -> tuple[str, int] | None:
        """Host and port of `wyoming`."""
        if self.wyoming is None:
            return None
        host, _, port = self.wyoming.removeprefix("tcp://").rpartition(":")
        return host.strip("[]"), int(port)


def read(words: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the command line and the environment.

    Raises:
        SystemExit: they are invalid; the reason is on standard error.
    """
    environment = os.environ if environment is None else environment
    parser = _parser()
    flags = {name: value for name, value in vars(parser.parse_args(words)).items() if value is not None}
    given: dict[str, object] = {
        name: environment[variable]
        for name in Settings.__struct_fields__
        if environment.get(variable := f"CONVO_GATEWAY_{name.upper()}")
    }
    if (file := flags.pop("wyoming_token_file", None)) is not None:
        try:
            with open(file) as opened:
                given["wyoming_token"] = opened.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--wyoming-token-file: {file} cannot be read: {error}")
    if isinstance(origins := given.get("origins"), str):
        given["origins"] = origins.split()
    given |= flags
    given.setdefault("connect", environment.get("CONVO_URL") or default_url())
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        parser.error(f"a setting is wrong: {error}")
    if (problem := _problem(settings)) is not None:
        parser.error(problem)
    return settings


def _problem(settings: Settings) -> str | None:
    """Return what is wrong with settings of the right types, in a sentence; None if nothing is."""
    try:
        daemon = parse(settings.connect)
    except ValueError as error:
        return str(error)
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        return f"--listen must be HOST:PORT, not {settings.listen!r}"
    if (settings.tls_cert is None) != (settings.tls_key is None):
        return "--tls-cert and --tls-key go together"
    if min(settings.spool_bytes, settings.requests, settings.job_streams) < 1 or not 0 < settings.stall_s <= 3600:
        return "limits must be above zero, and --stall-s at most an hour"
    local = is_loopback(settings.host)
    if not local and settings.tls_cert is None and not settings.insecure:
        return f"{settings.listen} is open to the network: give --tls-cert and --tls-key, or --insecure behind a proxy"
    if settings.open_loopback and not local:
        return "--open-loopback requires no token: listen on a loopback address, such as 127.0.0.1:8766"
    if daemon.scheme == "unix" and not settings.open_loopback:
        return (
            "a Unix socket asks for no token, so every client would be this user: --connect to a WebSocket of the "
            "daemon, or let all programs on this machine in with --open-loopback"
        )
    return _wyoming_problem(settings)


def _wyoming_problem(settings: Settings) -> str | None:
    if settings.wyoming is None:
        return None
    host, _, port = settings.wyoming.removeprefix("tcp://").rpartition(":")
    if not settings.wyoming.startswith("tcp://") or not host or not port.isdigit() or int(port) > 65535:
        return f"--wyoming must be tcp://HOST:PORT, not {settings.wyoming!r}"
    local = is_loopback(host.strip("[]"))
    if settings.wyoming_token is None and not (local and settings.open_loopback):
        return (
            "Wyoming has no tokens: name one for all its clients with --wyoming-token-file, or serve it on a loopback "
            "address with --open-loopback"
        )
    if not local and not settings.insecure:
        return f"{settings.wyoming} is open to the network, and Wyoming has no TLS: give --insecure if that is meant"
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convo-gateway",
        description="Serve the conversation API, OpenAI's audio API and others, as a client of convod.",
        epilog="Each setting can also be given in the environment, as CONVO_GATEWAY_LISTEN and so on.",
    )
    parser.add_argument("--version", action="version", version=f"convo-gateway {convo.__version__}")
    add = parser.add_argument
    add("--listen", metavar="HOST:PORT", help="address to serve (127.0.0.1:8766)")
    add("--connect", metavar="URL", help="the daemon: ws://HOST:PORT, wss://HOST:PORT or unix:PATH (CONVO_URL)")
    add("--open-loopback", action="store_true", default=None, help="let every program on this machine in as this user")
    add("--tls-cert", metavar="FILE", help="certificate (PEM)")
    add("--tls-key", metavar="FILE", help="its key (PEM)")
    add("--insecure", action="store_true", default=None, help="serve other machines without TLS, as behind a proxy")
    add("--origin", dest="origins", action="append", metavar="URL", help="a web page that may connect; repeatable")
    add("--spool-bytes", metavar="N", help="disk for OpenAI uploads on their way, in all (4 GiB)")
    add("--keep-sessions", action="store_true", default=None, help="keep the sessions behind OpenAI requests")
    add("--requests", metavar="N", help="requests and streams at once (512)")
    add("--job-streams", metavar="N", help="event streams of one job at once (256)")
    add("--stall-s", metavar="S", help="seconds until a client that neither sends nor reads is dropped (30)")
    add("--wyoming", metavar="tcp://HOST:PORT", help="serve Wyoming there, for Home Assistant (port 10300 is usual)")
    add("--wyoming-token-file", metavar="FILE", help="holds the token of all Wyoming clients")
    return parser
