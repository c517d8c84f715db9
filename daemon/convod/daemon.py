"""The whole daemon, from top to bottom: every part made once, every task in one tree, everything ended.

In: settings. Out: a running daemon that reports where it listens, until it is cancelled or told to stop. What each part
does stands in its own room; here stands only who knows whom, who outlives whom, and in which order they stop.

    store ── spool                      open first, close last: nothing is lost
      └─ engine (worker processes)      outlives the sessions that wait for it
          └─ sessions (one task each)   outlive the connections that come and go
              └─ listeners              open last, close first
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from convo.address import default_socket
from convo.codec import Json
from convo.connection import Connection, Role
from convo.framing import LengthPrefixed, WholeMessages
from convo.messages import SummaryOptions
from convo.unix_peer import peer_uid
from convod.captions import Guard
from convod.disk import sync_folder
from convod.engine import models, selection
from convod.engine.others import OtherEngines
from convod.engine.supervisor import Engine
from convod.listen import auth, front, unix
from convod.listen.limits import Slot
from convod.listen.requests import Service
from convod.listen.serve import ConnectionHandler
from convod.listen.tls import BadCertificate, Certificate
from convod.listen.tokens import TokenBook
from convod.measure import Measures
from convod.ops import http, systemd
from convod.ops.config import Settings
from convod.ops.current import Current
from convod.ops.metrics import Metrics
from convod.ops.signals import Operator
from convod.sessions import Manager
from convod.sessions.acks import Acks
from convod.sessions.journal import Desk
from convod.sessions.session import Parts
from convod.sessions.turns import Turns
from convod.store import Database, SessionStore, Spool, Usage
from convod.summary import Summarizers, SummarySettings

if TYPE_CHECKING:
    from convod.listen.websocket import WebSocketLink

log = logging.getLogger("convod")

GOODBYE_S: Final = 5.0
"""How long connections to summarizers may take to close."""


SWITCH_S: Final = 0.0005
"""How long a thread at work may keep the loop waiting, which asks to go on after each read and write: with Python's own
5 ms, a few connections that ask for something while a thread writes a summary hold up everybody for half a second."""


class CannotStart(Exception):
    """The daemon cannot run here; the text is a sentence that says what to do."""


async def run(
    settings: Settings,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    *,
    read_settings: Callable[[], Settings] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, or until cancelled. The urls listened on are handed to `task_status`.

    SIGHUP reads the settings again with `read_settings`, and the certificate.

    Raises:
        CannotStart, StoreFailed, SocketTaken, BadAddress, BadCertificate, BadActivation: before anything was changed.
    """
    check(settings)
    _allow_many_files()
    sys.setswitchinterval(SWITCH_S)
    current = Current(settings, read_settings)
    with ExitStack() as stack:
        # Who asks us to listen, and wants to know how we are.
        given = systemd.given_sockets(os.environ)
        notifier = systemd.Notifier.from_environment(os.environ)
        stack.callback(notifier.close)
        operator = stack.enter_context(Operator(current, notifier))

        # Who may come in.
        state = stack.enter_context(_state_directory(settings.state_path))
        authenticator = auth.Authenticator(TokenBook(state), lambda: current.settings.listen)
        has_tokens = authenticator.has_tokens()
        certificate = (
            Certificate.read(settings.listen.tls_cert, settings.listen.tls_key) if settings.listen.tls_cert else None
        )

        addresses = [
            front.check(
                url, has_tokens=has_tokens, certified=certificate is not None, insecure=settings.listen.insecure
            )
            for url in settings.listen.websocket
        ]
        web = [
            front.adopt(one.socket, certificate is not None, has_tokens, settings.listen.insecure)
            for one in given
            if one.role == "websocket"
        ]
        local, local_urls = _local_listeners(given, settings, stack)

        # What survives.
        database = Database(state / "convod.sqlite", lasting=settings.spool.fsync)
        database.open()
        stack.callback(database.close)
        usage = Usage(settings.limits.owner_disk_bytes)
        store = SessionStore(database, usage)
        spool = Spool(state / "spool", fsync=settings.spool.fsync, quota=settings.limits.disk_bytes, usage=usage)

        # What hears, understands and writes.
        engine = Engine(settings.engine)
        others = OtherEngines(settings.engine)
        guard = Guard()
        summarizers = Summarizers(settings.summary)
        turns = Turns(settings.sessions.files_at_once)
        measures = Measures()
        parts = Parts(spool, engine, guard, Acks(), settings.sessions, turns, settings.limits, others, measures)
        manager = Manager(store, Desk(store, summarizers, measures), parts, settings.retention)
        service = Service(manager, summarizers, settings.sessions)

        # How it is watched.
        metrics = Metrics(manager, summarizers, service.limiter, lambda: authenticator.refused, state)
        service.metrics = metrics.text
        why_not_ready = operator.why_not_ready(engine, manager.why_not_stored)
        health = http.Health(metrics.text, operator.why_not_alive(engine), why_not_ready)
        monitors = [one.socket for one in given if one.role == "metrics"]
        if settings.metrics.http:
            monitors.append(http.bind(settings.metrics.http, insecure=settings.metrics.insecure))
        for monitor in monitors:
            stack.callback(monitor.close)

        # How it is reached.
        async def serve_unix(link: unix.UnixLink, stream: trio.SocketStream) -> None:
            listen = current.settings.listen
            peer = f"uid:{peer_uid(stream.socket)}"

            async def authenticate(token: str | None) -> auth.Grant:
                return authenticator.authenticate_user(stream.socket)

            with service.limiter.slot(listen, peer) as slot:
                connection = Connection(Role.SERVER, LengthPrefixed(listen.message_bytes))
                await ConnectionHandler(link, connection, authenticate, service, listen, slot, peer).run()

        async def serve_web(loopback: bool, link: WebSocketLink, peer: str, slot: Slot) -> None:
            listen = current.settings.listen

            async def authenticate(token: str | None) -> auth.Grant:
                return await authenticator.authenticate(token, peer.rpartition(":")[0], loopback=loopback)

            codec = Json() if link.is_json else None
            connection = Connection(Role.SERVER, WholeMessages(listen.message_bytes), codec)
            await ConnectionHandler(link, connection, authenticate, service, listen, slot, peer).run()

        def endpoint(bound: front.Bound) -> front.WebSocketEndpoint:
            loopback = bound.loopback
            if authenticator.requires_token(loopback=loopback) and (why := authenticator.why_nobody_comes_in()):
                log.warning("%s lets nobody in yet: %s", bound.url, why)
            return front.WebSocketEndpoint(
                settings=lambda: current.settings.listen,
                requires_token=partial(authenticator.requires_token, loopback=loopback),
                limiter=service.limiter,
                serve=partial(serve_web, loopback),
                certificate=certificate,
            )

        def prepare(fresh: Settings) -> Callable[[], None]:
            renewed = Certificate.read(fresh.listen.tls_cert, fresh.listen.tls_key) if certificate is not None else None

            def put_in_force() -> None:
                if certificate is not None and renewed is not None:
                    certificate.context = renewed.context
                manager.reconfigure(fresh.sessions)
                service.reconfigure(fresh.sessions)
                authenticator.recheck()

            return put_in_force

        operator.on_reload(prepare, BadCertificate)

        async with trio.open_nursery() as store_tasks:
            store_tasks.start_soon(database.run)
            store_tasks.start_soon(database.check)
            async with (
                trio.open_nursery() as engine_tasks,
                trio.open_nursery() as session_tasks,
                trio.open_nursery() as connections,
                trio.open_nursery() as listen_tasks,
            ):
                connections.start_soon(operator.listen)
                with operator.until_told():  # for a start may take long: a name that nobody resolves, a slow disk
                    await engine_tasks.start(others.run)
                    await session_tasks.start(manager.run)
                    for listener in local:
                        listen_tasks.start_soon(unix.listen, listener, serve_unix, connections)
                    web += [await front.bind(address) for address in addresses]
                    for bound in web:
                        listen_tasks.start_soon(front.listen, bound, endpoint(bound), connections)
                    if web:
                        listen_tasks.start_soon(authenticator.watch)
                    for monitor in monitors:
                        connections.start_soon(http.serve, monitor, health)
                    connections.start_soon(operator.report, engine, manager.counts)
                    # Last: for a while its processes take all processors, and whoever connects now need not wait.
                    engine_tasks.start_soon(engine.run)
                    urls = [*local_urls, *(bound.url for bound in web), *map(http.url_of, monitors)]
                    gc.freeze()  # what is there by now stays: no collection needs to look at it again
                    log.info("convod is ready on %s", " and ".join(urls))
                    operator.ready()
                    task_status.started(urls)

                await operator.wait_told_to_stop()
                if given:
                    listen_tasks.cancel_scope.cancel()  # who comes now waits in the socket for the next convod
                with operator.until_told():
                    await manager.drain(current.settings.drain_s)
                listen_tasks.cancel_scope.cancel()
                connections.cancel_scope.cancel()
                session_tasks.cancel_scope.cancel()
                engine_tasks.cancel_scope.cancel()
            # Whoever may write something has ended by now: what is stored last is stored before this goes.
            with trio.move_on_after(GOODBYE_S, shield=True):
                await summarizers.aclose()
            store_tasks.cancel_scope.cancel()
    log.info("convod has stopped")


def _local_listeners(
    given: list[systemd.Given], settings: Settings, stack: ExitStack
) -> tuple[list[trio.SocketListener], list[str]]:
    """The Unix sockets that were opened for us, else the one of the settings."""
    sockets = [one.socket for one in given if one.role == "unix"]
    if sockets:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
        return listeners, [f"unix:{one.getsockname()}" for one in sockets]
    path = Path(settings.listen.socket or default_socket())
    mode = int(settings.listen.socket_mode, 8)
    return [stack.enter_context(unix.bound(path, mode, settings.listen.socket_group))], [f"unix:{path}"]


def _allow_many_files() -> None:
    """As many open files as the system lets us have: each connection and each session is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check(settings: Settings) -> None:
    """Look whether the names in the settings are of anything: a model, a summarizer, a style.

    Raises:
        CannotStart: one is not.
    """
    try:
        if settings.engine.model != selection.AUTO:
            models.find(settings.engine.model)
    except models.UnknownModel as error:
        raise CannotStart(f"engine.model: {error}") from error
    except models.ModelNotHere:
        pass  # the engine fetches it, and says how far it is
    if settings.summary != SummarySettings():  # which need no look into installed packages
        try:
            Summarizers(settings.summary).check(SummaryOptions())
        except ValueError as error:
            raise CannotStart(f"summary.provider or summary.style: {error}") from error


@contextlib.contextmanager
def _state_directory(path: Path) -> Iterator[Path]:
    """The directory of what survives, made if need be, held by a lock while the daemon runs."""
    try:
        # `parents` makes them with the usual mode: the directory itself comes first.
        made = not (path / "lock").exists()  # which is made last: else a start that failed had not synced all
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "spool").mkdir(mode=0o700, exist_ok=True)
        if made:
            for folder in (path, path.absolute().parent):
                sync_folder(folder)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"the state directory {path} cannot be written ({error.strerror}); choose another with --state-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(
                f"another convod works in {path}; stop it, or choose another place with --state-dir"
            ) from error
        if not os.access(path / "spool", os.W_OK | os.X_OK):
            raise CannotStart(f"the state directory {path} cannot be written; choose another with --state-dir")
        yield path
    finally:
        os.close(lock)
