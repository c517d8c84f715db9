"""The program `convo-gateway`: serves until it is told to stop.

In: the command line, signals. Out: a listening socket, an exit status. What it says goes to standard error, and
holds no token: there is no access log.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec

import trio

from . import settings as settings_module
from .settings import Settings

log = logging.getLogger("convo_gateway")

MESSAGE_BYTES = 1 << 20
"""Longest message of a WebSocket client."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the gateway; returns the exit status."""
    if missing := [name for name in ("hypercorn", "starlette", "python_multipart") if find_spec(name) is None]:
        print(f"convo-gateway: {', '.join(missing)} is missing: pip install 'convo[http]'", file=sys.stderr)
        return 1
    settings = settings_module.read(words)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        listener = bound(settings.host, settings.port, settings.stall_s)
    except OSError as error:
        print(f"convo-gateway: cannot listen on {settings.listen}: {error.strerror}", file=sys.stderr)
        return 1
    with listener, ExitStack() as others:
        wyoming = None
        if settings.wyoming_address is not None:
            try:
                wyoming = others.enter_context(bound(*settings.wyoming_address, settings.stall_s))
            except OSError as error:
                print(f"convo-gateway: cannot listen on {settings.wyoming}: {error.strerror}", file=sys.stderr)
                return 1
        trio.run(_serve_until_signal, settings, listener, wyoming)
    return 0


def bound(host: str, port: int, stall_s: float) -> socket.socket:
    """Return a socket bound to an address.

    A peer that takes or acknowledges nothing for `stall_s` is dropped by the system (Linux): the server has no time
    limit of its own for what it writes.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_s * 1000))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return listener


async def _serve_until_signal(settings: Settings, listener: socket.socket, wyoming: socket.socket | None) -> None:
    stopped = trio.Event()

    async def wait_signal(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                if stopped.is_set():
                    sys.exit(1)  # told twice
                stopped.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(wait_signal)
        await serve(settings, listener, stopped, wyoming)
        nursery.cancel_scope.cancel()


async def serve(
    settings: Settings, listener: socket.socket, stopped: trio.Event, wyoming: socket.socket | None = None
) -> None:
    """Serve on bound sockets until `stopped`; what is at work over HTTP then has a moment to finish."""
    # Imported here, for `--help` to be quick.
    from hypercorn.config import Config
    from hypercorn.trio import serve as serve_asgi

    from .app import application
    from .daemon_client import Daemon
    from .metrics import Metrics

    daemon, metrics = Daemon(settings.connect), Metrics()

    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # which hypercorn closes
    config.certfile, config.keyfile = settings.tls_cert, settings.tls_key
    config.loglevel = "WARNING"
    config.accesslog = None  # a token may stand in a query
    config.include_server_header = False
    config.graceful_timeout = 1.5  # closed WebSockets wait for their next ping, so this is often used up
    config.keep_alive_timeout = 15.0
    config.websocket_max_message_size = MESSAGE_BYTES
    config.websocket_ping_interval = 20.0
    scheme = "http" if settings.tls_cert is None else "https"
    listener.listen(config.backlog)
    async with trio.open_nursery() as nursery:
        if wyoming is not None:
            from .wyoming import Wyoming

            handler = Wyoming(daemon, settings, metrics).serve
            sockets = [trio.SocketListener(trio.socket.from_stdlib_socket(wyoming.dup()))]
            nursery.start_soon(trio.serve_listeners, handler, sockets)
            log.info("Wyoming is served on tcp://%s", _name(wyoming))
        log.info("convo-gateway is ready on %s://%s", scheme, _name(listener))
        await serve_asgi(application(settings, daemon, metrics), config, mode="asgi", shutdown_trigger=stopped.wait)
        nursery.cancel_scope.cancel()


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
