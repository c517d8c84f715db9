"""The application: all dialects on one router, and around it what holds for each of them.

In: settings. Out: an ASGI application. This module opens no socket.
"""

from __future__ import annotations

import logging

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from convo.messages import Code

from . import conversation, deepgram, openai_audio, openapi
from .daemon_client import Daemon
from .errors import Refused
from .fanout import Fanout
from .limits import Places
from .metrics import CONTENT_TYPE, Metrics
from .realtime import Realtime
from .settings import Settings, is_loopback
from .static import Page
from .talks import Talks
from .web import Guard, Json

log = logging.getLogger("convo_gateway")

_CHECK_S = 2.0  # between two looks at the daemon for monitors


def application(settings: Settings, daemon: Daemon, metrics: Metrics) -> ASGIApp:
    """Return all that is served over HTTP as an ASGI application."""
    fanout = Fanout(daemon)
    monitor = _Monitor(daemon, metrics)
    app: ASGIApp = Starlette(
        routes=[
            *conversation.Conversations(daemon, fanout, settings, metrics).routes(),
            *Talks(daemon, settings).routes(),
            *openai_audio.Transcriptions(daemon, settings, metrics).routes(),
            *Realtime(daemon, settings, metrics).routes(),
            *deepgram.Listen(daemon, settings, metrics).routes(),
            *Page().routes(),
            Route("/openapi.json", _openapi, methods=["GET"]),
            Route("/metrics", monitor.metrics, methods=["GET"]),
            Route("/healthz", monitor.healthz, methods=["GET"]),
        ],
        exception_handlers={
            Refused: _refused,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
        lifespan=lambda app: fanout.running(),
    )
    if settings.origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "last-event-id"],
        )
    places = Places(settings.requests, "The gateway is serving too many requests; try again later.")
    return Guard(
        app,
        refuse=refusal,
        origins=settings.origins,
        local=is_loopback(settings.host),
        places=places,
        metrics=metrics,
    )


def refusal(path: str, error: Refused) -> Response:
    """Return an error in the form of the dialect that a path belongs to."""
    if path == "/v1/listen":
        return deepgram.refusal(error)
    if path.startswith("/v1/"):
        return openai_audio.refusal(error)
    return conversation.refusal(error)


async def _openapi(request: Request) -> Response:
    return Json(openapi.DOCUMENT)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(request.url.path, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "There is nothing at this path; see /openapi.json.",
        405: "This path does not support that method.",
    }
    said = Refused(Code.BAD_REQUEST, sentences.get(error.status_code, error.detail), status=error.status_code)
    answer: Response = refusal(request.url.path, said)
    answer.headers.update(error.headers or {})
    return answer


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the number is for the metrics


async def _fault(request: Request, error: Exception) -> Response:
    return refusal(request.url.path, Refused(Code.INTERNAL, "Internal error in the gateway; see its log.", status=500))


class _Monitor:
    """Endpoints for monitors."""

    def __init__(self, daemon: Daemon, metrics: Metrics) -> None:
        self._daemon = daemon
        self._metrics = metrics
        self._checked = float("-inf")
        self._reachable = False
        self._checking = trio.Lock()

    async def metrics(self, request: Request) -> Response:
        """Return the gateway's own metrics."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})

    async def healthz(self, request: Request) -> Response:
        """Report whether the gateway runs, and something listens at the daemon's address."""
        async with self._checking:
            if trio.current_time() - self._checked >= _CHECK_S:
                self._reachable = await self._daemon.reachable()
                self._checked = trio.current_time()
        if self._reachable:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the daemon cannot be reached\n", 503)
