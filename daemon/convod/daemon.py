"""The whole daemon: every part is made once, every task has its place in one tree, and all of them end in order.

In: settings. Out: a running daemon that reports where it listens, until it is cancelled or told to stop. What a part
does is in its own room; this file says who knows whom, who outlives whom, and in which order they stop.

    store ── spool                      opens first, closes last: nothing is lost
      └─ engine (worker processes)      outlives the sessions that wait for it
          └─ sessions (one task each)   outlive the connections that come and go
              └─ listeners              open last, close first
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import trio

from convo.address import Address, default_socket
from convo.codec import Json
from convo.connection import Connection, Role
from convo.framing import LengthPrefixed, WholeMessages
from convo.unix_peer import peer_uid
from convod.engine.models import Model
from convod.engine.pool import EnginePool
from convod.engine.remote import Lanes
from convod.engine.supervisor import Engine, EngineSettings
from convod.hooks import Hooks
from convod.listen import auth, tcp, unix
from convod.listen.endpoint import WebSocketEndpoint
from convod.listen.limits import ConnectionLimiter, Slot
from convod.listen.link import Link
from convod.listen.requests import Service
from convod.listen.serve import ConnectionHandler
from convod.listen.tls import Certificate
from convod.listen.tokens import TokenFile
from convod.metrics import SessionMetrics
from convod.ops import http, logs, systemd
from convod.ops.config import Settings
from convod.ops.health import Health
from convod.ops.metrics import MetricsExporter
from convod.ops.reload import ReloadableSettings
from convod.ops.signals import ProcessControl
from convod.sessions import Manager
from convod.sessions.file_queue import FileQueue
from convod.sessions.journal import JournalDeps
from convod.sessions.session import SessionDeps
from convod.speech.hallucination import HallucinationFilter
from convod.startup import check, folder_id, raise_file_limit, spool_directory, state_directory
from convod.store import Member, SessionStore, Spool, Usage, database_at
from convod.summary import Summarizers

log = logging.getLogger("convod")

CLOSE_S: Final = 5.0
"""How long connections to summarizers may take to close."""

SWITCH_S: Final = 0.0005
"""How long a busy thread may hold the interpreter while the loop waits for it, after each read and write. With Python's
default of 5 ms, a few requests during a summary delay every connection by half a second."""


async def run(
    settings: Settings,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    *,
    read_settings: Callable[[], Settings] | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, or until cancelled; pass the urls to `task_status` once all of them are open.

    Args:
        settings: as they are at the start.
        task_status: as trio's `nursery.start` gives it.
        read_settings: reads them again at SIGHUP.

    Raises:
        BadHook, CannotStart, StoreFailed, SocketTaken, BadAddress, BadCertificate, BadActivation: before anything was
            changed.
    """
    check(settings)
    raise_file_limit()
    sys.setswitchinterval(SWITCH_S)
    with ExitStack() as resources:
        await _Daemon(ReloadableSettings(settings, read_settings), resources).run(task_status)
    log.info("convod has stopped")


def _open_lanes(settings: EngineSettings, model: Model, engine: Engine) -> Lanes:
    from convod.cluster import lanes  # needs Redis' client, which is imported only if a broker is set

    return lanes.Lanes(settings, model, engine)


class _Daemon:
    """All parts, each made from those above it. What must be closed again is left to `resources`."""

    def __init__(self, config: ReloadableSettings, resources: ExitStack) -> None:
        self.config = config
        settings = config.settings
        config.on_reload(lambda fresh: logs.begin(fresh.log))

        # The service manager and the operator.
        self.activated = systemd.activated_sockets(os.environ)
        notifier = systemd.Notifier.from_environment(os.environ)
        resources.callback(notifier.close)
        self.control = resources.enter_context(ProcessControl(config, notifier))

        # Who may connect.
        state = resources.enter_context(state_directory(settings.state_path))
        self.limiter = ConnectionLimiter()
        self.authenticator = auth.Authenticator(TokenFile(state), config.listen)
        self.certificate = _certificate(config)
        config.on_reload(lambda fresh: self.authenticator.recheck())

        # Sockets. Addresses are only checked here: opening them may take long, and is done in `_listen`.
        self.adopted, self.addresses = self._check_addresses(settings)
        self.unix_listeners, self.unix_urls = _unix_listeners(self.activated, settings, resources)
        self.monitors = _monitor_sockets(self.activated, settings, resources)

        # What is stored.
        folder = spool_directory(settings, state)
        member = None
        if settings.store.url:
            name = settings.store.name or socket.gethostname()
            member = Member(folder_id(state), folder_id(folder), settings.store.lease_s, name)
        self.database = database_at(
            settings.store.url, state / "convod.sqlite", durable=settings.spool.fsync, member=member
        )
        self.database.open()
        resources.callback(self.database.close)
        usage = Usage(settings.limits.owner_disk_bytes)
        store = SessionStore(self.database, usage)
        spool = Spool(folder, fsync=settings.spool.fsync, quota=settings.limits.disk_bytes, usage=usage)

        # What transcribes and summarises.
        self.engine = Engine(settings.engine, _open_lanes)
        self.engine_pool = EnginePool(settings.engine, _open_lanes)  # for sessions that ask for another model
        self.summarizers = Summarizers(settings.summary)
        session_metrics = SessionMetrics()
        session_deps = SessionDeps(
            spool=spool,
            engine=self.engine,
            engine_pool=self.engine_pool,
            hallucination_filter=HallucinationFilter(),
            file_queue=FileQueue(settings.sessions.files_at_once),
            limits=settings.limits,
            metrics=session_metrics,
            may_append=self._may_append if settings.spool.path else lambda: True,
        )
        self.hooks = Hooks(settings.hooks, store) if settings.hooks.enabled else None
        journal_deps = JournalDeps(store, self.summarizers, session_metrics, self.hooks)
        self.manager = Manager(
            journal_deps, session_deps, config.sessions, settings.retention, settings.store.audio_grace_s
        )

        # What answers, and how it is watched.
        metrics = MetricsExporter(self.manager, self.summarizers, self.limiter, self.authenticator, state, folder)
        self.service = Service(self.manager, self.summarizers, self.limiter, config.sessions, metrics.text)
        self.health = Health(metrics.text, self.engine, self.manager, self.control)

    def _may_append(self) -> bool:
        """Whether no other convod can have begun to write audio of this one's sessions in a folder that they share."""
        leases = self.database.leases
        return leases is None or leases.valid

    async def run(self, task_status: trio.TaskStatus[list[str]]) -> None:
        """Start from the inside out, wait to be told to stop, and stop from the outside in."""
        async with trio.open_nursery() as store_tasks:
            store_tasks.start_soon(self.database.run)
            store_tasks.start_soon(self.database.check)
            async with (
                trio.open_nursery() as engine_tasks,
                trio.open_nursery() as session_tasks,
                trio.open_nursery() as connections,
                trio.open_nursery() as listeners,
            ):
                connections.start_soon(self.control.run)  # beside the connections, which outlast the drain
                with self.control.cancel_on_stop():  # a start may take long: a name that does not resolve, a slow disk
                    await engine_tasks.start(self.engine_pool.run)
                    await session_tasks.start(self.manager.run)
                    if self.hooks is not None:
                        engine_tasks.start_soon(self.hooks.run)  # outlives the sessions whose ends it reports
                    urls = await self._listen(listeners, connections)
                    if self.service.forwarder is not None:
                        connections.start_soon(self.service.forwarder.run)
                    connections.start_soon(self.control.report, self.engine, self.manager.counts)
                    # Last: its processes keep all cores busy for a while, and clients that connect now need not wait.
                    engine_tasks.start_soon(self.engine.run)
                    gc.freeze()  # what exists by now stays: the collector need not examine it again
                    log.info("convod is ready on %s", " and ".join(urls))
                    self.control.ready()
                    task_status.started(urls)

                await self.control.wait_stop()
                if self.activated:
                    listeners.cancel_scope.cancel()  # new clients wait in the sockets for the next convod
                with self.control.cancel_on_stop():  # by a second signal
                    await self.manager.drain(self.config.settings.drain_s)
                for tasks in (listeners, connections, session_tasks, engine_tasks):
                    tasks.cancel_scope.cancel()
            # Everything that writes has ended, and what it wrote last is stored.
            with trio.move_on_after(CLOSE_S, shield=True):
                await self.summarizers.aclose()
            store_tasks.cancel_scope.cancel()

    async def _listen(self, listeners: trio.Nursery, connections: trio.Nursery) -> list[str]:
        """Accept connections in `listeners`, serve them in `connections`, and return the urls."""
        for listener in self.unix_listeners:
            listeners.start_soon(unix.listen, listener, self._serve_unix, connections)
        bound = self.adopted + [await tcp.bind(address) for address in self.addresses]
        for one in bound:
            listeners.start_soon(tcp.listen, one, self._endpoint(one), connections)
        if bound:
            listeners.start_soon(self.authenticator.watch)
        for monitor in self.monitors:
            connections.start_soon(http.serve, monitor, self.health)
        return [*self.unix_urls, *(one.url for one in bound), *map(http.url_of, self.monitors)]

    def _check_addresses(self, settings: Settings) -> tuple[list[tcp.Bound], list[Address]]:
        """The WebSocket listeners that were opened for us, and the addresses to open; refuses what is not safe."""
        has_tokens, certified = self.authenticator.has_tokens(), self.certificate is not None
        insecure = settings.listen.insecure
        addresses = [
            tcp.check(url, has_tokens=has_tokens, certified=certified, insecure=insecure)
            for url in settings.listen.websocket
        ]
        adopted = [
            tcp.adopt(one.socket, certified, has_tokens, insecure) for one in self.activated if one.role == "websocket"
        ]
        return adopted, addresses

    async def _serve_unix(self, link: unix.UnixLink, stream: trio.SocketStream) -> None:
        async def authenticate(token: str | None) -> auth.Grant:
            return self.authenticator.authenticate_user(stream.socket)

        with self.limiter.slot(self.config.listen(), f"uid:{peer_uid(stream.socket)}") as slot:
            connection = Connection(Role.SERVER, LengthPrefixed(slot.settings.message_bytes))
            await ConnectionHandler(link, connection, authenticate, self.service, slot).run()

    async def _serve_websocket(self, loopback: bool, link: Link, slot: Slot) -> None:
        async def authenticate(token: str | None) -> auth.Grant:
            return await self.authenticator.authenticate(token, slot.peer.rpartition(":")[0], loopback=loopback)

        codec = Json() if link.is_json else None
        connection = Connection(Role.SERVER, WholeMessages(slot.settings.message_bytes), codec)
        await ConnectionHandler(link, connection, authenticate, self.service, slot).run()

    def _endpoint(self, bound: tcp.Bound) -> WebSocketEndpoint:
        loopback = bound.loopback
        requires_token = partial(self.authenticator.requires_token, loopback=loopback)
        if requires_token() and (why := self.authenticator.why_no_valid_token()):
            log.warning("no client can connect to %s yet: %s", bound.url, why)
        handler = partial(self._serve_websocket, loopback)
        return WebSocketEndpoint(self.config.listen, requires_token, self.limiter, handler, self.certificate)


def _certificate(config: ReloadableSettings) -> Certificate | None:
    """The certificate that the settings name, read again at each reload."""
    listen = config.listen()
    if not listen.tls_cert:
        return None
    certificate = Certificate.read(listen.tls_cert, listen.tls_key)
    config.before_reload(lambda fresh: certificate.renewal(fresh.listen.tls_cert, fresh.listen.tls_key))
    return certificate


def _unix_listeners(
    activated: list[systemd.ActivatedSocket], settings: Settings, resources: ExitStack
) -> tuple[list[trio.SocketListener], list[str]]:
    """The Unix sockets that were opened for us, or else the one in the settings; and their urls."""
    sockets = [one.socket for one in activated if one.role == "unix"]
    if sockets:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
        return listeners, [f"unix:{one.getsockname()}" for one in sockets]
    path = Path(settings.listen.socket or default_socket())
    mode = int(settings.listen.socket_mode, 8)
    return [resources.enter_context(unix.bound(path, mode, settings.listen.socket_group))], [f"unix:{path}"]


def _monitor_sockets(
    activated: list[systemd.ActivatedSocket], settings: Settings, resources: ExitStack
) -> list[socket.socket]:
    """The sockets for monitors: those that were opened for us, and the one in the settings."""
    monitors = [one.socket for one in activated if one.role == "metrics"]
    if settings.metrics.http:
        monitors.append(http.bind(settings.metrics.http, insecure=settings.metrics.insecure))
    for monitor in monitors:
        resources.callback(monitor.close)
    return monitors
