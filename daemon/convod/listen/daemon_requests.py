"""Requests about the daemon itself: its state, its figures, its models.

In: a request and its client. Out: the reply. Models are fetched one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import trio

from convo.messages import (
    Code,
    ListModels,
    ListModelsReply,
    Metrics,
    MetricsReply,
    ModelInfo,
    ModelProgress,
    Ping,
    PingReply,
    PullModel,
    PullModelReply,
    Reply,
    Status,
    StatusReply,
)
from convod import __version__
from convod.engine import models, voices
from convod.engine.fetch import FetchFailed, fetch
from convod.listen.auth import Right
from convod.listen.client import Answers, Client
from convod.metrics import CONTENT_TYPE
from convod.sessions import Manager, Refused
from convod.summary import Summarizers


class DaemonRequests:
    """Answers requests about the daemon; `answers` maps each to its method."""

    def __init__(
        self, manager: Manager, summarizers: Summarizers, metrics: Callable[[], Awaitable[str]] | None
    ) -> None:
        self._manager = manager
        self._summarizers = summarizers
        self._metrics_text = metrics
        self._began = time.monotonic()
        self._pulling = trio.CapacityLimiter(1)
        self.answers: Answers = {
            Ping: (self._ping, Right.READ),
            Status: (self._status, Right.READ),
            Metrics: (self._metrics, Right.READ),
            ListModels: (self._list_models, Right.READ),
            PullModel: (self._pull_model, Right.PULL),
        }

    async def _ping(self, client: Client, request: Ping) -> Reply:
        return PingReply(id=request.id, time=time.time())

    async def _status(self, client: Client, request: Status) -> Reply:
        engine = self._manager.engine
        return StatusReply(
            id=request.id,
            version=__version__,
            uptime_s=round(time.monotonic() - self._began, 3),
            engine=engine.status(),
            queue=engine.queue(),
            sessions=self._manager.counts(),
            summarizer=await self._summarizers.status(),
            rejected=dict(self._manager.hallucination_filter.rejected),
            storage=await trio.to_thread.run_sync(self._manager.storage),  # it looks at the disk
            cluster=None if engine.lanes is None else engine.lanes.status(),
        )

    async def _metrics(self, client: Client, request: Metrics) -> Reply:
        if self._metrics_text is None:
            raise Refused(Code.BAD_STATE, "this daemon counts nothing")
        return MetricsReply(id=request.id, content=await self._metrics_text(), content_type=CONTENT_TYPE)

    async def _list_models(self, client: Client, request: ListModels) -> Reply:
        loaded = self._manager.engine.status().model
        here = await trio.to_thread.run_sync(_models_here, loaded)
        infos = [
            ModelInfo(
                name=model.name,
                here=True,
                size_bytes=model.size_bytes,
                context=model.context,
                loaded=model.name == loaded,
                languages=list(model.languages) if model.languages else None,
                source=model.source,
            )
            for model in here
        ]
        names = {model.name for model in here}
        infos += [
            ModelInfo(name=name, here=False, size_bytes=0, context="full") for name in models.SIZES if name not in names
        ]
        return ListModelsReply(id=request.id, models=infos)

    async def _pull_model(self, client: Client, request: PullModel) -> Reply:
        def progress(done: int, total: int | None) -> None:
            client.outbox.put(ModelProgress(model=request.model, done_bytes=done, total_bytes=total))

        async with self._pulling:
            try:
                if request.model == voices.NAME:
                    await fetch(voices.NAME, voices.NAME, progress)
                    size = voices.find(voices.NAME).stat().st_size
                    return PullModelReply(id=request.id, model=voices.NAME, size_bytes=size)
                if request.model != models.BUILTIN:
                    await fetch(request.model, models.repository_of(request.model), progress)
                model = models.find(request.model)
            except models.UnknownModel as error:
                raise Refused(Code.UNKNOWN_MODEL, str(error)) from error
            except (FetchFailed, models.ModelNotHere, voices.NoVoices) as error:
                raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error
        return PullModelReply(id=request.id, model=model.name, size_bytes=model.size_bytes)


def _models_here(own: str) -> list[models.Model]:
    """Return the models on this machine, with the daemon's own if that is a directory."""
    here = list(models.here())
    if own not in {model.name for model in here}:
        with suppress(models.UnknownModel, models.ModelNotHere):
            here.append(replace(models.find(own), name=own))
    return here
