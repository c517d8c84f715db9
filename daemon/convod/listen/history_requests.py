"""Requests for what was said: transcripts, lists of sessions and summaries, search, export.

In: a request and its client. Out: the reply, a page at a time: none is larger than a message may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from convo.messages import (
    Code,
    Export,
    ExportReply,
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
from convod.listen.auth import Right
from convod.listen.client import MOST, Answers, Client
from convod.sessions import Manager, Refused, speakers

PAGE_SEGMENTS: Final = 500
"""Segments in one get_session reply; the rest is asked for by `after_segment`."""

PAGE_BYTES: Final = 400_000
"""Bytes of segments or content in one reply: well below the smallest message limit in use."""


class HistoryRequests:
    """Answers them; `answers` says which."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self.answers: Answers = {
            GetSession: (self._get_session, Right.READ),
            ListSessions: (self._list_sessions, Right.READ),
            ListSummaries: (self._list_summaries, Right.READ),
            Search: (self._search, Right.READ),
            Export: (self._export, Right.READ),
        }

    async def _get_session(self, client: Client, request: GetSession) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        store = self._manager.store
        after = -1 if request.after_segment is None else request.after_segment
        segments = await store.segments(journal.id, after, PAGE_SEGMENTS + 1)
        fits = _fitting(segments[:PAGE_SEGMENTS])
        marks = await store.marks(journal.id) if request.after_segment is None else []
        config = journal.record.config
        said = await store.speakers(journal.id) if request.after_segment is None else None
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
            speakers=[] if said is None else speakers.named(config, said),
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

    async def _list_summaries(self, client: Client, request: ListSummaries) -> Reply:
        journal = await self._manager.journal(client.reach, request.session)
        limit = _limit(request.limit)
        found = await self._manager.store.summaries(journal.id, before=request.before, limit=limit + 1)
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
