"""HTTP for all dialects: tokens, bodies with time limits, server-sent events, and the guard around it all.

In: ASGI scopes and messages. Out: the same, with limits. This module knows no dialect and no daemon.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import trio
from anyio.abc import TaskGroup
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convo.messages import Code
from convo.transport import background_tasks

from .errors import TIMEOUT, Refused
from .limits import Places
from .metrics import Metrics
from .settings import is_loopback

log = logging.getLogger("convo_gateway")

PING_S: Final = 15.0
"""Between two comments on an event stream, so that no proxy takes silence for the end."""

LINGER_S: Final = 2.0
"""For reading on after an early answer: a client that is still sending might not see it otherwise."""

SLOWEST: Final = 1024
"""Bytes a second that an upload must average, after `stall_s` to get going."""

SMALL_BYTES: Final = 64 << 10
"""Longest body that is read as a whole."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,1000}")


def token_of(connection: HTTPConnection, schemes: tuple[str, ...] = ("bearer",)) -> str | None:
    """Return the token that a client sent, as a header or, for EventSource and WebSockets, in the query.

    Raises:
        Refused: it cannot be a token.
    """
    header = connection.headers.get("authorization")
    if header is None:
        token = connection.query_params.get("token")
    else:
        scheme, _, token = header.partition(" ")
        if scheme.lower() not in schemes:
            raise Refused(Code.UNAUTHORIZED, "Send the token as `Authorization: Bearer TOKEN`.")
    return None if token is None else checked_token(token)


def checked_token(token: str) -> str:
    """Return a token that may be one.

    Raises:
        Refused: it can be none.
    """
    if not _TOKEN.fullmatch(token := token.strip()):
        raise Refused(Code.UNAUTHORIZED, "The token is wrong or missing; send the right one.")
    return token


async def body_of(request: Request, stall_s: float) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body.

    Raises:
        Refused: the client is too slow.
        ClientDisconnect: the client left.
    """
    began, size = trio.current_time(), 0
    async with aclosing(request.stream()) as chunks:
        while True:
            chunk: bytes | None = None
            with trio.move_on_after(stall_s) as waited:
                chunk = await anext(chunks, None)
            if waited.cancelled_caught:
                raise Refused(TIMEOUT, f"No data for {stall_s:g} seconds; send the request again.")
            if chunk is None:
                return
            size += len(chunk)
            if (trio.current_time() - began - stall_s) * SLOWEST > size:
                raise Refused(TIMEOUT, f"Send at least {SLOWEST} bytes a second.")
            if chunk:
                yield chunk


async def small_body(request: Request, stall_s: float) -> bytes:
    """Return a body other than a recording. Raises like `body_of`, and if it is too large."""
    raw = bytearray()
    async with aclosing(body_of(request, stall_s)) as body:
        async for chunk in body:
            raw += chunk
            if len(raw) > SMALL_BYTES:
                raise Refused(Code.TOO_LARGE, f"The body of this request is larger than {SMALL_BYTES >> 10} KiB.")
    return bytes(raw)


async def unless_gone(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """Return the answer of `work`, which is cancelled when the client leaves. The body must have been read."""
    answer = Response(status_code=499)  # nobody reads it; the number is for the metrics
    async with background_tasks() as tasks:
        tasks.start_soon(_cancel_when_gone, request.receive, tasks)
        answer = await work()
    return answer


async def _cancel_when_gone(receive: Receive, tasks: TaskGroup) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    tasks.cancel_scope.cancel()


def json_bytes(value: Any) -> bytes:
    """Return JSON, for any client."""
    return msgspec.json.encode(value)


class Json(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def __init__(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(json_bytes(value), status, {"cache-control": "no-store", **(headers or {})})


def sse(data: Any, *, event: str | None = None, id: int | None = None) -> bytes:
    """Return one server-sent event."""
    lines = ([f"event: {event}"] if event else []) + ([f"id: {id}"] if id is not None else [])
    # JSON has no line ends of its own, so no text can end the event.
    return "\n".join([*lines, "data: "]).encode() + json_bytes(data) + b"\n\n"


Produce = Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]


class StreamedResponse(Response):
    """A body from `produce`, which gets a function that sends a piece of it, until it returns or the client goes.

    The answer begins with the first piece, an empty one included: until then an error is an HTTP status. Without any,
    it is 204.
    """

    def __init__(self, produce: Produce, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(b"", status, headers)
        if headers is None or "content-length" not in headers:
            del self.headers["content-length"]
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it; a fault of `produce` after the first piece ends the connection."""
        sending = trio.Lock()
        begun = False

        async def put(data: bytes) -> None:
            nonlocal begun
            async with sending:
                if not begun:
                    begun = True
                    start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                    await send(start)
                await send({"type": "http.response.body", "body": data, "more_body": True})

        async with background_tasks() as tasks:
            tasks.start_soon(self._keep_alive, put)
            tasks.start_soon(_cancel_when_gone, receive, tasks)
            await self._produce(put)
        if not begun:
            await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, put: Callable[[bytes], Awaitable[None]]) -> None:
        """Send what keeps the connection from looking dead; nothing."""


class EventStreamResponse(StreamedResponse):
    """Server-sent events; after a 204 an EventSource does not come back."""

    media_type = "text/event-stream"

    def __init__(self, produce: Produce) -> None:
        super().__init__(produce, headers={"cache-control": "no-store", "x-accel-buffering": "no"})

    async def _keep_alive(self, put: Callable[[bytes], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(PING_S)
            await put(b": \n\n")


class Guard:
    """Wraps the application: refuses foreign web pages and too many requests, counts, and lingers after early answers.

    Args:
        app: what it guards.
        refuse: the answer of the path's dialect to an error.
        origins: web pages that may come in, beside the gateway's own.
        local: it is for this machine only, and goes by the machine's own names.
        places: for requests and streams.
        metrics: where they are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        refuse: Callable[[str, Refused], Response],
        origins: tuple[str, ...],
        local: bool,
        places: Places,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._origins = frozenset(origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in origins)
        self._local = local
        self._places = places
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            self._check_host_and_origin(scope)
            # A monitor is always told how it goes.
            with self._places.place("monitor" if scope["path"] in ("/healthz", "/metrics") else ""):
                self._metrics.open.labels(scope["type"]).inc()
                try:
                    await self._serve(scope, receive, counted)
                finally:
                    self._metrics.open.labels(scope["type"]).dec()
        except Refused as error:
            await self._turn_away(error, scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)

    def _check_host_and_origin(self, scope: Scope) -> None:
        headers = HTTPConnection(scope).headers
        host, origin = headers.get("host", ""), headers.get("origin")
        # A web page elsewhere can have its own name lead to this machine (DNS rebinding), and is of one origin with the
        # gateway then. It cannot have the name of this machine.
        if self._local and host and host not in self._hosts and not is_loopback(_name_of(host)):
            raise Refused(
                Code.FORBIDDEN, "This gateway is at localhost; where a proxy has another name, list it (--origin)."
            )
        if origin is not None and origin not in self._origins and urlsplit(origin).netloc != host:
            raise Refused(Code.FORBIDDEN, "This web page is not among the gateway's allowed origins (--origin).")

    async def _turn_away(self, error: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refuse(scope["path"], error)
        if scope["type"] == "http":
            await self._lingering(answer, scope, receive, send)
            return
        # Starlette sends a response in place of a handshake where the server can, as hypercorn can.
        await answer(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._lingering(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _lingering(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; after an early answer, read on until the client has sent all, or it might not see the answer."""
        headers = HTTPConnection(scope).headers
        drained = trio.Event()
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            drained.set()

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                drained.set()
            return message

        async def drain() -> None:
            while not drained.is_set():
                await watched()

        async def lingering(message: Message) -> None:
            if message["type"] == "http.response.start" and not drained.is_set():
                if scope["http_version"].startswith("1"):
                    message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
                tasks.start_soon(drain)
            elif message["type"] == "http.response.body" and not message.get("more_body") and not drained.is_set():
                await send({**message, "more_body": True})
                with trio.move_on_after(LINGER_S):
                    await drained.wait()
                message = {"type": "http.response.body", "body": b"", "more_body": False}  # closes the connection
            await send(message)

        async with background_tasks() as tasks:
            await app(scope, watched, lingering)


def _name_of(host: str) -> str:
    """Return the name or address in a `Host`, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
