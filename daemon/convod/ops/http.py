"""The HTTP listener for monitors: `/metrics`, `/healthz`, `/readyz`. Off unless an address is configured.

In: GET requests. Out: metrics as text; 200 or 503 with a sentence. It shows numbers to anyone who reaches it, and
takes no orders: it belongs on this machine or behind a proxy.
"""

from __future__ import annotations

import logging
import os
import socket
from importlib.util import find_spec
from typing import Any

import trio

from convod.metrics import CONTENT_TYPE
from convod.ops.health import Health

log = logging.getLogger("convod.http")


class HttpUnavailable(Exception):
    """The listener cannot be opened; the text says what to do."""


def bind(address: str, *, insecure: bool) -> socket.socket:
    """A listening socket.

    Raises:
        HttpUnavailable: it is open to everybody, or the server is not installed.
        OSError: it is taken.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost") and not insecure:
        raise HttpUnavailable(
            f"metrics.http {address} is open to the network: use 127.0.0.1, or set metrics.insecure = true to mean it"
        )
    if find_spec("hypercorn") is None:
        raise HttpUnavailable("the HTTP listener needs hypercorn: pip install 'convo[http]'")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve(listener: socket.socket, health: Health) -> None:
    """Answer until cancelled. A fault here is logged, and ends monitoring alone."""
    # Imported on use: it brings HTTP/2 and more.
    from hypercorn.config import Config
    from hypercorn.trio import serve as serve_asgi

    config = Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]  # which hypercorn closes
    config.loglevel = "WARNING"
    config.graceful_timeout = 0.5
    config.include_server_header = False
    config.h11_max_incomplete_size = 8192
    config.read_timeout = 10
    try:
        await serve_asgi(_app(health), config, mode="asgi", shutdown_trigger=trio.sleep_forever)
    except* Exception:
        log.exception("the HTTP listener was ended by a fault")


def _app(health: Health) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (event := (await receive())["type"]) != "lifespan.shutdown":
                await send({"type": f"{event}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            return  # no WebSockets here
        status, kind, body = await _answer(scope["method"], scope["path"], health)
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body.encode()})

    return app


async def _answer(method: str, path: str, health: Health) -> tuple[int, str, str]:
    plain = "text/plain; charset=utf-8"
    if method not in ("GET", "HEAD"):
        return 405, plain, "only GET\n"
    if path == "/metrics":
        return 200, CONTENT_TYPE, await health.metrics()
    if path in ("/healthz", "/readyz"):
        why_not = health.why_not_alive()
        if path == "/readyz":
            why_not = why_not or health.why_not_ready()
        return (200, plain, "ok\n") if why_not is None else (503, plain, f"{why_not}\n")
    return 404, plain, "there are /metrics, /healthz and /readyz\n"
