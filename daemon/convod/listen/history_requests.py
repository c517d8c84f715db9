"""Requests for what was said: transcripts, lists of sessions and summaries, search, export.

In: a request and its client. Out: the reply, a page at a time: none is larger than a message may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from convo.messages import (
    Ask,
    CancelAsk,
    Code,
    Export,
    ExportReply,
    GetAudio,
    GetAudioReply,
    GetSession,
    GetSessionReply,
    ListSessions,
    ListSessionsReply,
    ListSummaries,
    ListSummariesReply,
    Reply,
    Search,
    SearchReply,
)
from convo.redaction import Redactor
from convod.listen.auth import Right
from convod.listen.client import MOST, Answers, Client
from convod.sessions import Manager, Refused
from convod.sessions.speaker_names import named, with_names

PAGE_SEGMENTS: Final = 500
"""Segments in one get_session reply; the rest is asked for by `after_segment`."""

PAGE_BYTES: Final = 400_000
"""Bytes of segments or content in one reply: well below the smallest message limit in use."""

AUDIO_BYTES: Final = 256 << 10
"""Bytes of audio in one reply."""


class HistoryRequests:
    """Answers requests for what was said; `answers` maps each to its method."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.answers: Answers = {
            GetSession: (self._get_session, Right.READ),
            ListSessions: (self._list_sessions, Right.READ),
            ListSummaries: (self._list_summaries, Right.READ),
            Search: (self._search, Right.READ),
            Export: (self._export, Right.READ),
            Ask: (self._ask, Right.READ),
            GetAudio: (self._get_audio, Right.READ),
            CancelAsk: (self._cancel_ask, Right.READ),
        }

    async def _get_session(self, client: Client, request: GetSession) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        info = journal.info  # before what it counts is read: a session that is over is told with all of it
        store = self._manager.store
        after = -1 if request.after_segment is None else request.after_segment
        segments = await store.segments(journal.id, after, PAGE_SEGMENTS + 1)
        fits = _fitting(segments[:PAGE_SEGMENTS])
        marks = await store.marks(journal.id) if request.after_segment is None else []
        config = journal.record.config
        said = await store.speakers(journal.id) if request.after_segment is None else None
        summary = await store.summary(journal.id)
        code, message = await store.failure(journal.id)
        return GetSessionReply(
            id=request.id,
            session=info.session,
            kind=info.kind,
            title=info.title,
            state=info.state,
            created=info.created,
            duration_s=info.duration_s,
            segments=segments[:fits],
            summary=summary if summary is None or said is None else with_names(summary, config, said),
            more=fits < len(segments),
            marks=marks[: _fitting(marks)],
            speakers=[] if said is None else named(config, said),
            language=info.language,
            code=code,
            message=message,
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
        return ListSessionsReply(id=request.id, sessions=sessions[: _fitting(sessions)])

    async def _search(self, client: Client, request: Search) -> Reply:
        hits = await self._manager.search(client.reach, client.owner, request, _limit(request.limit))
        return SearchReply(id=request.id, hits=hits[: _fitting(hits)])

    async def _export(self, client: Client, request: Export) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        redactor = None
        if request.redact or request.redact_names:
            try:
                redactor = Redactor(request.redact, request.redact_names)
            except ValueError as error:
                raise Refused(Code.BAD_REQUEST, str(error)) from error
        # A character takes at most four bytes.
        content, following = await self._manager.exports.page(
            journal, request.format, request.offset, PAGE_BYTES // 4, client.owner, redactor
        )
        return ExportReply(id=request.id, content=content, next=following)

    async def _ask(self, client: Client, request: Ask) -> Reply:
        limit = _limit(request.limit)
        with trio.CancelScope() as scope:
            client.asks[request.id] = scope
            try:
                return await self._manager.questions.answer(
                    client.reach, client.owner, request, limit, client.outbox.put
                )
            finally:
                client.asks.pop(request.id, None)
        raise Refused(Code.CANCELLED, "the question was cancelled; ask it again")

    async def _get_audio(self, client: Client, request: GetAudio) -> Reply:
        # By owner, not by reach: to run a daemon is no reason to hear what others said.
        record = (await self._manager.journal(client.owner, request.session)).record
        spool = self._manager.spool
        size = spool.size(record.id) if record.state.final and record.ended else None
        if not size:
            leases = self._manager.store.leases
            if leases is not None and (holder := await leases.requests.holder(record.id, client.owner, audio=True)):
                raise Refused(Code.AUDIO_ELSEWHERE, holder.sentence)
            raise Refused(Code.BAD_STATE, "the audio of this session was not kept (keep_audio), or is still needed")
        data = await trio.to_thread.run_sync(spool.read, record.id, request.offset, AUDIO_BYTES)
        end = request.offset + len(data)
        return GetAudioReply(
            id=request.id,
            data=data,
            size=size,
            kind=record.kind,
            audio=record.config.audio,
            next=end if data and end < size else None,
        )

    async def _cancel_ask(self, client: Client, request: CancelAsk) -> Reply:
        if (scope := client.asks.get(request.ask)) is not None:
            scope.cancel()
        return Reply(id=request.id)

    async def _list_summaries(self, client: Client, request: ListSummaries) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        limit = _limit(request.limit)
        store, config = self._manager.store, journal.record.config
        found = await store.summaries(journal.id, before=request.before, limit=limit + 1)
        said = await store.speakers(journal.id) if found else None
        if said is not None:
            found = [msgspec.structs.replace(one, summary=with_names(one.summary, config, said)) for one in found]
        fits = _fitting(found[:limit])
        return ListSummariesReply(id=request.id, summaries=found[:fits], more=fits < len(found))


def _fitting(values: Sequence[msgspec.Struct]) -> int:
    """Count the first values that fit in one reply; at least one."""
    size = 0
    for count, value in enumerate(values):
        size += len(msgspec.msgpack.encode(value))
        if size > PAGE_BYTES and count:
            return count
    return len(values)


def _limit(limit: int) -> int:
    if limit < 1:
        raise Refused(Code.BAD_REQUEST, "limit must be 1 or more")
    return min(limit, MOST)
