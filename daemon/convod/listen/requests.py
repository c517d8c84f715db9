"""Requests to answers: one method each, found by the request's type.

In: a request and the client it came from. Out: exactly one reply in the client's outbox. Nothing here knows bytes or
sockets; what a request does is done by sessions, engine, store and summarizers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec
import trio

from convo.messages import (
    AddMark,
    Attach,
    AttachReply,
    CancelSession,
    Code,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    EndSession,
    Error,
    Export,
    ExportReply,
    Finalize,
    FinalizeReply,
    GetSession,
    GetSessionReply,
    ListModels,
    ListModelsReply,
    ListQueue,
    ListQueueReply,
    ListSessions,
    ListSessionsReply,
    ListSummaries,
    ListSummariesReply,
    Mark,
    Metrics,
    MetricsReply,
    ModelInfo,
    ModelProgress,
    PauseQueue,
    Ping,
    PingReply,
    PullModel,
    PullModelReply,
    Reply,
    Request,
    ResumeQueue,
    Retranscribe,
    RetranscribeReply,
    RetrySession,
    Search,
    SearchReply,
    Status,
    StatusReply,
    Summarize,
    SummaryOptions,
    UpdateSession,
)
from convo.transcript import one_line
from convod import __version__
from convod.engine import models
from convod.engine.fetch import FetchFailed, fetch
from convod.listen.accept import SHORTAGES
from convod.listen.auth import Grant, Right
from convod.listen.limits import ConnectionLimiter
from convod.listen.outbox import Outbox
from convod.sessions import Manager, Refused
from convod.sessions.lengths import check_text, cut_line
from convod.sessions.manager import settings_of
from convod.sessions.session import Session, SessionSettings
from convod.store import SpoolFailed, StoreFailed
from convod.summary import Summarizers

log = logging.getLogger("convod.listen")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of metrics: Prometheus' text format."""

SLOW_AT_ONCE: Final = 16
"""Slow requests of one connection that are answered side by side."""

PAGE_SEGMENTS: Final = 500
"""Segments in one get_session reply; the rest is asked for by `after_segment`."""

PAGE_BYTES: Final = 400_000
"""Bytes of segments or content in one reply: well below the smallest message limit in use."""

SHORTAGE: Final = "The daemon has as many files open as the system lets it have; try again later."

MOST: Final = 1000
"""Most sessions or hits in one reply."""


class Client:
    """One connection as requests see it: whose it is, what it produces, where its answers go."""

    def __init__(self, outbox: Outbox, peer: str, number: int) -> None:
        self.outbox = outbox
        self.peer = peer
        self.number = number
        self.grant = Grant("", Right(0))  # nothing, until it said hello
        self.slow = trio.CapacityLimiter(SLOW_AT_ONCE)
        self.producing: dict[str, Session] = {}
        self.streams = False  # whether audio is what came last

    @property
    def owner(self) -> str:
        """Whose sessions it makes."""
        return self.grant.owner

    @property
    def reach(self) -> str | None:
        """Whose sessions it sees; None for everybody's."""
        return self.grant.reach

    def gone(self) -> None:
        """The connection ended: sessions that it sent audio to are told."""
        for session in self.producing.values():
            session.producer_gone(self)
        self.producing.clear()

    @property
    def quiet(self) -> bool:
        """Whether nothing comes but audio, and nobody speaks in it."""
        return self.streams and all(session.quiet for session in self.producing.values())


Answer = Callable[["Service", Client, Any], Awaitable[Reply | None]]


class Service:
    """Answers requests of any connection."""

    def __init__(
        self,
        manager: Manager,
        summarizers: Summarizers,
        limiter: ConnectionLimiter,
        settings: Callable[[], SessionSettings],
        metrics: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._manager = manager
        self._summarizers = summarizers
        self.limiter = limiter
        self._settings = settings
        self._metrics_text = metrics
        self._began = time.monotonic()
        self._pulling = trio.CapacityLimiter(1)

    @property
    def audio_credit(self) -> int:
        """Bytes that a live session in the default format may have unacknowledged."""
        return int(self._settings().credit_s * 32000)

    @property
    def resume_s(self) -> float:
        """How long a live session waits for its client."""
        return self._settings().resume_s

    @staticmethod
    def is_slow(request: Request[Any]) -> bool:
        """Whether the answer may take long."""
        return isinstance(
            request, Finalize | PullModel | Summarize | DeleteSession | Export | Search | Metrics | Status
        )

    async def audio(self, client: Client, session_id: str, offset: int, pieces: Sequence[bytes]) -> None:
        """Bytes of a session from `offset` on, in the pieces they came in.

        Raises:
            Refused: they cannot be taken, or not all: those before the first that is refused are.
        """
        _check(client, Right.STREAM, "stream")
        session = self._manager.find(session_id)
        if session is None or session.record.owner != client.owner:
            try:
                session = await self._manager.running(client.reach, session_id)
            except StoreFailed as error:
                raise Refused(Code.BUSY, str(error)) from error
        try:
            session.audio(client, offset, *pieces)
        except Refused:
            if len(pieces) == 1:
                raise
            for piece in pieces:
                session.audio(client, offset, piece)
                offset += len(piece)

    async def answer(self, client: Client, request: Request[Any]) -> None:
        """Do what is asked and put the answer in the outbox."""
        answer, right = _ANSWERS[type(request)]
        try:
            _check(client, right, request.__struct_config__.tag)
            reply = await answer(self, client, request)
        except Refused as error:
            client.outbox.put(Error(id=request.id, code=error.code, message=str(error)))
        except StoreFailed as error:
            client.outbox.put(Error(id=request.id, code=Code.BUSY, message=str(error)))
        except SpoolFailed as error:
            client.outbox.put(
                Error(id=request.id, code=Code.BUSY, message=f"{error.strerror}; look at the daemon's disk")
            )
        except Exception as error:
            if isinstance(error, OSError) and error.errno in SHORTAGES:
                log.warning("a request found no descriptor or memory left", extra={"connection": client.number})
                client.outbox.put(Error(id=request.id, code=Code.BUSY, message=SHORTAGE))
                return
            # A fault in one answer must not take the connection's other sessions with it.
            log.exception("a request could not be answered", extra={"connection": client.number})
            client.outbox.put(
                Error(id=request.id, code=Code.INTERNAL, message="convod made a mistake; its log says which")
            )
        else:
            if reply is not None:
                client.outbox.put(reply)

    # --- daemon -------------------------------------------------------------------------------------------

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
                if request.model != models.BUILTIN:
                    await fetch(request.model, models.repository_of(request.model), progress)
                model = models.find(request.model)
            except models.UnknownModel as error:
                raise Refused(Code.UNKNOWN_MODEL, str(error)) from error
            except (FetchFailed, models.ModelNotHere) as error:
                raise Refused(Code.MODEL_UNAVAILABLE, str(error)) from error
        return PullModelReply(id=request.id, model=model.name, size_bytes=model.size_bytes)

    # --- a session's life ---------------------------------------------------------------------------------

    async def _create_session(self, client: Client, request: CreateSession) -> Reply | None:
        journal, session = await self._manager.create(client.owner, _cleaned(request), client)
        credit = 0
        if session is not None and session.takes_audio:
            client.producing[session.id] = session
            credit = session.credit
        client.outbox.put(
            CreateSessionReply(
                id=request.id, session=journal.id, config=settings_of(journal.record.config), credit=credit
            )
        )
        client.outbox.attach(journal.feed, 0)
        return None  # the answer is in the outbox, before the session's first event

    async def _finalize(self, client: Client, request: Finalize) -> Reply | None:
        session = await self._manager.running(client.reach, request.session)
        offset = await session.finalize()
        client.outbox.put(
            FinalizeReply(id=request.id, offset=offset),
            after=client.outbox.attachment(session.id),
            seq=session.feed.seq,
        )
        return None

    async def _end_session(self, client: Client, request: EndSession) -> Reply:
        session = await self._manager.running(client.reach, request.session)
        await session.end()
        client.producing.pop(session.id, None)
        return Reply(id=request.id)

    async def _cancel_session(self, client: Client, request: CancelSession) -> Reply:
        session = await self._manager.running(client.reach, request.session)
        session.cancel()
        client.producing.pop(session.id, None)
        return Reply(id=request.id)

    async def _delete_session(self, client: Client, request: DeleteSession) -> Reply:
        await self._manager.delete(client.reach, request.session)
        client.producing.pop(request.session, None)
        client.outbox.detach(request.session)
        return Reply(id=request.id)

    async def _attach(self, client: Client, request: Attach) -> Reply | None:
        if request.produce:
            _check(client, Right.STREAM, "attach with produce")
        journal = await self._manager.journal(client.reach, request.session)
        session = self._manager.find(request.session)
        credit = 0
        if request.produce and session is not None and session.takes_audio:
            session.produce(client)
            client.producing[session.id] = session
            credit = session.credit
        client.outbox.put(
            AttachReply(
                id=request.id,
                state=journal.record.state,
                seq=journal.feed.seq,
                audio_offset=session.audio_offset if session else journal.record.audio_bytes,
                credit=credit,
                ended=session is None or not session.takes_audio,
            )
        )
        client.outbox.attach(journal.feed, request.after_seq)
        return None  # the answer is in the outbox, before the session's events

    async def _detach(self, client: Client, request: Detach) -> Reply:
        if not client.outbox.detach(request.session):
            raise Refused(Code.UNKNOWN_SESSION, f"this connection is not attached to session {request.session!r}")
        if (session := client.producing.pop(request.session, None)) is not None:
            session.producer_gone(client)
        return Reply(id=request.id)

    async def _summarize(self, client: Client, request: Summarize) -> Reply:
        options = SummaryOptions(
            provider=request.provider, model=request.model, style=request.style, language=request.language
        )
        journal = await self._manager.summarize(client.reach, request.session, options)
        # A session that has ended since it was attached to has another feed now.
        attachment = client.outbox.attachment(journal.id)
        if attachment is None or attachment.log is not journal.feed:
            client.outbox.attach(journal.feed, journal.feed.seq if attachment is None else attachment.cursor)
        return Reply(id=request.id)

    # --- the queue ----------------------------------------------------------------------------------------

    async def _update_session(self, client: Client, request: UpdateSession) -> Reply:
        await self._manager.update(client.reach, request.session, request.title, request.priority)
        return Reply(id=request.id)

    async def _retry_session(self, client: Client, request: RetrySession) -> Reply:
        await self._manager.retry(client.reach, request.session)
        return Reply(id=request.id)

    async def _retranscribe(self, client: Client, request: Retranscribe) -> Reply:
        return RetranscribeReply(
            id=request.id, session=await self._manager.retranscribe(client.reach, client.owner, request)
        )

    async def _list_queue(self, client: Client, request: ListQueue) -> Reply:
        jobs, paused = self._manager.queue(client.owner)
        return ListQueueReply(id=request.id, jobs=jobs[:MOST], paused=paused)

    async def _pause_queue(self, client: Client, request: PauseQueue) -> Reply:
        await self._manager.pause(client.owner, True)
        return Reply(id=request.id)

    async def _resume_queue(self, client: Client, request: ResumeQueue) -> Reply:
        await self._manager.pause(client.owner, False)
        return Reply(id=request.id)

    async def _list_summaries(self, client: Client, request: ListSummaries) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        limit = _limit(request.limit)
        found = await self._manager.store.summaries(journal.id, before=request.before, limit=limit + 1)
        fits = _fitting(found[:limit])
        return ListSummariesReply(id=request.id, summaries=found[:fits], more=fits < len(found))

    async def _add_mark(self, client: Client, request: AddMark) -> Reply:
        if not (math.isfinite(request.time) and request.time >= 0):
            raise Refused(Code.BAD_REQUEST, "time must be seconds from the session's beginning, 0 or more")
        journal = await self._manager.journal(client.reach, request.session)
        self._manager.admission.check_room(journal.record.owner)
        await journal.publish(Mark, wait=False, time=request.time, text=cut_line(request.text))
        return Reply(id=request.id)

    # --- what was said ------------------------------------------------------------------------------------

    async def _get_session(self, client: Client, request: GetSession) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        store = self._manager.store
        after = -1 if request.after_segment is None else request.after_segment
        segments = await store.segments(journal.id, after, PAGE_SEGMENTS + 1)
        fits = _fitting(segments[:PAGE_SEGMENTS])
        marks = await store.marks(journal.id) if request.after_segment is None else []
        info = journal.record.info
        return GetSessionReply(
            id=request.id,
            session=info.session,
            kind=info.kind,
            title=info.title,
            state=info.state,
            created=info.created,
            duration_s=info.duration_s,
            segments=segments[:fits],
            summary=await store.summary(journal.id),
            more=fits < len(segments),
            marks=marks[: _fitting(marks)],
        )

    async def _list_sessions(self, client: Client, request: ListSessions) -> Reply:
        sessions = await self._manager.store.newest(
            client.reach,
            state=request.state,
            kind=request.kind,
            before=request.before,
            prefix=request.prefix,
            limit=_limit(request.limit),
        )
        return ListSessionsReply(id=request.id, sessions=sessions)

    async def _search(self, client: Client, request: Search) -> Reply:
        hits = await self._manager.search(client.reach, client.owner, request, _limit(request.limit))
        return SearchReply(id=request.id, hits=hits[: _fitting(hits)])

    async def _export(self, client: Client, request: Export) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        # A character takes at most four bytes.
        content, following = await self._manager.exports.page(
            journal, request.format, request.offset, PAGE_BYTES // 4, client.owner
        )
        return ExportReply(id=request.id, content=content, next=following)


def _cleaned(request: CreateSession) -> CreateSession:
    """The request with its title, and the name that may become one, as one line that a terminal can show."""
    title, name = request.title, request.audio.name
    check_text("audio.name", name)
    return msgspec.structs.replace(
        request,
        title=title if title is None else cut_line(title),
        audio=msgspec.structs.replace(request.audio, name=name if name is None else one_line(name)),
    )


def _models_here(own: str) -> list[models.Model]:
    """The models that are here, with the daemon's own if that is a directory."""
    here = list(models.here())
    if own not in {model.name for model in here}:
        with suppress(models.UnknownModel, models.ModelNotHere):
            here.append(replace(models.find(own), name=own))
    return here


def _fitting(values: Sequence[msgspec.Struct]) -> int:
    """How many of the first values one reply has room for; one at least."""
    size = 0
    for count, value in enumerate(values):
        size += len(msgspec.msgpack.encode(value))
        if size > PAGE_BYTES and count:
            return count
    return len(values)


_WHO_MAY: Final = {
    Right.STREAM: "ask the operator for a token of a wider scope",
    Right.PULL: "ask an admin: a user in listen.admins, or one with a token of the scope admin",
}


def _check(client: Client, right: Right, what: object) -> None:
    if right not in client.grant.rights:
        raise Refused(Code.FORBIDDEN, f"you may not {what}; {_WHO_MAY[right]}")


def _limit(limit: int) -> int:
    if limit < 1:
        raise Refused(Code.BAD_REQUEST, "limit must be 1 or more")
    return min(limit, MOST)


_ANSWERS: Final[dict[type[Request[Any]], tuple[Answer, Right]]] = {
    Ping: (Service._ping, Right.READ),
    Status: (Service._status, Right.READ),
    Metrics: (Service._metrics, Right.READ),
    ListModels: (Service._list_models, Right.READ),
    PullModel: (Service._pull_model, Right.PULL),
    CreateSession: (Service._create_session, Right.STREAM),
    Finalize: (Service._finalize, Right.STREAM),
    EndSession: (Service._end_session, Right.STREAM),
    CancelSession: (Service._cancel_session, Right.STREAM),
    DeleteSession: (Service._delete_session, Right.STREAM),
    Attach: (Service._attach, Right.READ),
    Detach: (Service._detach, Right.READ),
    Summarize: (Service._summarize, Right.STREAM),
    UpdateSession: (Service._update_session, Right.STREAM),
    RetrySession: (Service._retry_session, Right.STREAM),
    Retranscribe: (Service._retranscribe, Right.STREAM),
    ListQueue: (Service._list_queue, Right.READ),
    PauseQueue: (Service._pause_queue, Right.STREAM),
    ResumeQueue: (Service._resume_queue, Right.STREAM),
    ListSummaries: (Service._list_summaries, Right.READ),
    AddMark: (Service._add_mark, Right.STREAM),
    GetSession: (Service._get_session, Right.READ),
    ListSessions: (Service._list_sessions, Right.READ),
    Search: (Service._search, Right.READ),
    Export: (Service._export, Right.READ),
}
"""By the request's type: who answers it, and what a client must be allowed to ask it."""
