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
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import trio

from convo.address import default_socket
from convo.connection import Connection, Role
from convo.framing import LengthPrefixed, WholeMessages
from convod.captions import Guard
from convod.engine import models
from convod.engine.others import OtherEngines
from convod.engine.supervisor import Engine
from convod.listen import auth, unix, websocket
from convod.listen.requests import Service
from convod.listen.serve import serve
from convod.ops.config import Settings
from convod.sessions import Manager
from convod.sessions.acks import Acks
from convod.sessions.journal import Desk
from convod.sessions.session import Parts
from convod.sessions.turns import Turns
from convod.store import Database, SessionStore, Spool
from convod.summary import Summarizers

log = logging.getLogger("convod")


class CannotStart(Exception):
    """The daemon cannot run here; the text is a sentence that says what to do."""


async def run(settings: Settings, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
    """Run until SIGTERM or SIGINT, or until cancelled. The urls listened on are handed to `task_status`.

    Raises:
        CannotStart, StoreFailed, SocketTaken, BadAddress: before anything was changed.
    """
    _check_model(settings.engine.model)
    web = [
        websocket.check(url, token=settings.listen.token, insecure=settings.listen.insecure)
        for url in settings.listen.websocket
    ]
    with ExitStack() as stack:
        state = stack.enter_context(_state_directory(settings.state_path))
        socket_path = Path(settings.listen.socket or default_socket())
        socket = stack.enter_context(unix.bound(socket_path))

        # What survives.
        database = Database(state / "convod.sqlite")
        database.open()
        stack.callback(database.close)
        store = SessionStore(database)
        spool = Spool(state / "spool", fsync=settings.spool.fsync, quota=settings.limits.disk_bytes)

        # What hears, understands and writes.
        engine = Engine(settings.engine)
        others = OtherEngines(settings.engine)
        guard = Guard()
        summarizers = Summarizers(settings.summary)
        turns = Turns(settings.sessions.files_at_once)
        parts = Parts(spool, engine, guard, Acks(), settings.sessions, turns, settings.limits, others)
        manager = Manager(store, Desk(store, summarizers), parts, settings.retention)
        service = Service(manager, summarizers, settings.sessions)

        # How it is reached.
        async def serve_unix(link: unix.UnixLink, stream: trio.SocketStream) -> None:
            owner = auth.unix_owner(stream.socket)
            connection = Connection(Role.SERVER, LengthPrefixed(settings.listen.message_bytes))
            await serve(link, connection, lambda token: owner, service, settings.listen, owner)

        async def serve_web(link: websocket.WebSocketLink, peer: str) -> None:
            connection = Connection(Role.SERVER, WholeMessages(settings.listen.message_bytes))
            await serve(
                link,
                connection,
                lambda token: auth.web_owner(settings.listen.token, token),
                service,
                settings.listen,
                peer,
            )

        async with (
            trio.open_nursery() as store_tasks,
            trio.open_nursery() as engine_tasks,
            trio.open_nursery() as session_tasks,
            trio.open_nursery() as listen_tasks,
        ):
            store_tasks.start_soon(database.run)
            engine_tasks.start_soon(engine.run)
            await engine_tasks.start(others.run)
            await session_tasks.start(manager.run)
            urls = [f"unix:{socket_path}"]
            listen_tasks.start_soon(unix.listen, socket, serve_unix)
            for address in web:
                urls.append(await listen_tasks.start(websocket.listen, address, settings.listen, serve_web))
            log.info("convod is ready on %s", " and ".join(urls))
            task_status.started(urls)

            await _wait_told_to_stop()
            log.info("convod is stopping")
            await manager.drain(settings.drain_s)
            listen_tasks.cancel_scope.cancel()
            session_tasks.cancel_scope.cancel()
            engine_tasks.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await summarizers.aclose()
            store_tasks.cancel_scope.cancel()
    log.info("convod has stopped")


def _check_model(name: str) -> None:
    try:
        models.find(name)
    except models.UnknownModel as error:
        raise CannotStart(str(error)) from error
    except models.ModelNotHere:
        pass  # the engine fetches it, and says how far it is


@contextlib.contextmanager
def _state_directory(path: Path) -> Iterator[Path]:
    """The directory of what survives, made if need be, held by a lock while the daemon runs."""
    try:
        # `parents` makes them with the usual mode: the directory itself comes first.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "spool").mkdir(mode=0o700, exist_ok=True)
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


async def _wait_told_to_stop() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("told to stop", extra={"signal": signal.Signals(number).name})
            return
