"""Requests to answers: one method each, found by the request's type.

In: a request and the client it came from. Out: exactly one reply in the client's outbox. Nothing here knows bytes or
sockets; what a request does is done by sessions, engine, store and summarizers. The methods are in `daemon_requests`,
`session_requests` and `history_requests`; here rights are checked, and errors become replies.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from convo.messages import (
    Ask,
    Code,
    DeleteSession,
    DeleteVoice,
    Error,
    Export,
    Finalize,
    GetAudio,
    Message,
    Metrics,
    PullModel,
    Refine,
    RenameSpeaker,
    Request,
    Search,
    Status,
    Summarize,
)
from convod.listen.accept import SHORTAGES
from convod.listen.auth import Right
from convod.listen.client import Answers, Client, check_right
from convod.listen.daemon_requests import DaemonRequests
from convod.listen.forward import Forwarded, Forwarder
from convod.listen.history_requests import HistoryRequests
from convod.listen.limits import ConnectionLimiter
from convod.listen.session_requests import SessionRequests, follow
from convod.sessions import Manager, Refused
from convod.sessions.session import SessionSettings, refused_by_disk
from convod.speech.pcm import PcmFormat
from convod.store import SpoolFailed, StoreFailed
from convod.summary import Summarizers

log = logging.getLogger("convod.listen")

SHORTAGE: Final = "The daemon has as many files open as the system lets it have; try again later."


class Service:
    """Answers requests of any connection; `answers` has the method for each."""

    def __init__(
        self,
        manager: Manager,
        summarizers: Summarizers,
        limiter: ConnectionLimiter,
        settings: Callable[[], SessionSettings],
        metrics: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._manager = manager
        self.limiter = limiter
        self._settings = settings
        rooms = DaemonRequests(manager, summarizers, metrics), SessionRequests(manager), HistoryRequests(manager)
        self.answers: Answers = {kind: answer for room in rooms for kind, answer in room.answers.items()}
        leases = manager.store.leases
        self.forwarder = None if leases is None else Forwarder(manager, leases, self._answer_here)

    @property
    def audio_credit(self) -> int:
        """Bytes that a new live session in the default format may send before they are acknowledged."""
        return int(self._settings().credit_s * PcmFormat().bytes_per_second)

    @property
    def resume_s(self) -> float:
        """How long a live session waits for its client."""
        return self._settings().resume_s

    def is_slow(self, request: Request[Any]) -> bool:
        """Whether the answer may take long."""
        return (self.forwarder is not None and self.forwarder.may_leave(request)) or isinstance(
            request,
            Finalize
            | PullModel
            | Refine
            | Summarize
            | DeleteSession
            | DeleteVoice
            | RenameSpeaker
            | Export
            | Search
            | Ask
            | GetAudio
            | Metrics
            | Status,
        )

    async def audio(self, client: Client, session_id: str, offset: int, pieces: Sequence[bytes]) -> None:
        """Pass bytes to a session, from `offset` on and in the pieces they came in.

        Raises:
            Refused: one of the pieces cannot be taken; those before it were.
        """
        check_right(client, Right.STREAM, "stream")
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
        """Do what is asked, or have another convod do it, and put the answer in the outbox."""
        await self._answer(client, request, self.forwarder)

    async def _answer_here(self, client: Client, request: Request[Any]) -> None:
        await self._answer(client, request, None)

    async def _answer(self, client: Client, request: Request[Any], forwarder: Forwarder | None) -> None:
        answer, right = self.answers[type(request)]
        try:
            check_right(client, right, request.__struct_config__.tag)
            if forwarder is not None and forwarder.may_leave(request):
                reply = await forwarder.forward(client, request)
                if reply is not None:
                    await self._forwarded(client, request, reply)
                    return
            reply = await answer(client, request)
        except Refused as error:
            client.outbox.put(Error(id=request.id, code=error.code, message=str(error)))
        except StoreFailed as error:
            client.outbox.put(Error(id=request.id, code=Code.BUSY, message=str(error)))
        except SpoolFailed as error:
            refused = refused_by_disk(error)
            client.outbox.put(Error(id=request.id, code=refused.code, message=str(refused)))
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

    async def _forwarded(self, client: Client, request: Forwarded, reply: Message) -> None:
        """Pass on what another convod has answered, behind the events that it speaks of."""
        if isinstance(reply, Error):
            client.outbox.put(reply)
            return
        journal = await self._manager.journal(client.reach, request.session)
        if isinstance(request, Summarize | Refine):
            follow(client, journal)
        client.outbox.put(reply, after=client.outbox.attachment(journal.id), seq=journal.feed.seq)
