"""Answer questions about what was said: find passages, let a language model answer from them, show what it writes.

In: a question and who asks it. Out: an answer that cites passages, or without a language model the passages alone.
Retrieval is full-text search with several variants of the question's words; named sessions are read whole. An owner's
questions are answered one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio
from msgspec.structs import replace

from convo.messages import AnswerProgress, AnswerSentence, Ask, AskReply, Code, Passage, Segment
from convod.owner_limiter import OwnerLimiter
from convod.sessions.journal import Journal
from convod.sessions.lengths import check_query
from convod.sessions.limits import LimitSettings
from convod.sessions.session import Refused
from convod.sessions.speaker_names import are_told, named
from convod.store import Store, TookTooLong
from convod.summary import Summarizers, SummarizerUnavailable
from convod.summary.base import EXTRACTIVE

if TYPE_CHECKING:
    from convod.summary.questions import Found

AT_ONCE: Final = 2
"""Questions that are answered at once, each of another owner."""

WAITING: Final = 4
"""Most questions of an owner that wait. Fewer than a connection's slow requests, so that it goes on reading."""

PASSAGES: Final = 40
"""Most passages with words of the question; each has up to two neighbours."""

SESSIONS: Final = 20
"""Most sessions that a question names."""

SEGMENTS: Final = 20_000
"""Segments of named sessions that are looked at."""

PAGE: Final = 250
"""Segments that are read from the store at once."""

HITS: Final = 40
"""Hits of each search."""

CHARACTERS: Final = 1000
"""Longest text of a passage; a longer segment is cut, so that all fit into a message."""

NOTHING_FOUND: Final = "None of these talks has the words of this question: use words that were said."
NO_ANSWER: Final = "The passages do not answer this question."
NOT_HELD: Final = "What the language model wrote is not in the passages that it cited."

Place = tuple[str, int]
"""A session and the number of a segment in it."""


class Questions:
    """Answers questions of any owner."""

    def __init__(
        self,
        store: Store,
        journal: Callable[[str | None, str], Awaitable[Journal]],
        summarizers: Summarizers,
        limits: LimitSettings,
    ) -> None:
        self._store = store
        self._journal = journal
        self._summarizers = summarizers
        self._limits = limits
        self._limiter = OwnerLimiter(AT_ONCE)

    async def answer(
        self, reach: str | None, owner: str, request: Ask, limit: int, tell: Callable[[AnswerProgress], None]
    ) -> AskReply:
        """Answer a question; `tell` gets the passages, then each sentence as it is written.

        Raises:
            Refused: the question is not valid, a session is unknown, or too many questions of this owner wait.
        """
        check_query(request.query)
        if len(request.sessions) > SESSIONS:
            raise Refused(Code.BAD_REQUEST, f"sessions names {len(request.sessions)}; name at most {SESSIONS}")
        if len(self._limiter.waiting.get(owner, ())) >= WAITING:
            raise Refused(Code.BUSY, "several of your questions wait; ask again when one of them is answered")
        async with self._limiter.turn(owner):
            found = await self._find(reach, owner, request, min(limit, PASSAGES))
            tell(AnswerProgress(ask=request.id, passages=found.passages))
            return await self._answer(request, owner, found, tell)

    async def _answer(self, request: Ask, owner: str, found: Found, tell: Callable[[AnswerProgress], None]) -> AskReply:
        reply = AskReply(id=request.id, answer=[], passages=found.passages, provider=EXTRACTIVE, model="")
        if not found.passages:
            return replace(reply, reason=NOTHING_FOUND)
        told = False

        def show(sentence: AnswerSentence | None) -> None:
            nonlocal told
            if sentence is not None or told:
                tell(AnswerProgress(ask=request.id, sentence=sentence, restart=sentence is None))
            told = sentence is not None

        try:
            answered, status = await self._summarizers.answer(request.query, found, owner, show)
        except SummarizerUnavailable as error:
            show(None)
            return replace(reply, reason=str(error))
        reason = None if answered.sentences else NOT_HELD if answered.dropped else NO_ANSWER
        return replace(
            reply,
            answer=answered.sentences,
            dropped=answered.dropped,
            provider=status.provider,
            model=status.model,
            reason=reason,
        )

    # --- retrieval ----------------------------------------------------------------------------------------

    async def _find(self, reach: str | None, owner: str, request: Ask, limit: int) -> Found:
        from convod.summary.passages import rank, terms_of  # their patterns are compiled with the first question
        from convod.summary.questions import Found

        terms = await trio.to_thread.run_sync(terms_of, request.query)
        if request.sessions:
            places, masks = await self._read(reach, list(dict.fromkeys(request.sessions)), terms)
        else:
            places, masks = await self._search(reach, owner, terms)
        best = [places[place] for place in rank(masks, len(terms))[:limit]]
        passages = await self._passages(reach, best)
        talks = {session: number for number, (session, _) in enumerate(reversed(best))}
        order = sorted(passages, key=lambda place: (-talks[place[0]], place[1]))
        at = {place: number for number, place in enumerate(order)}
        return Found([passages[place] for place in order], [at[place] for place in passages])

    async def _read(self, reach: str | None, sessions: list[str], terms: list[str]) -> tuple[list[Place], list[int]]:
        """All segments of some sessions, and which terms they have."""
        from convod.summary.passages import matches

        places: list[Place] = []
        masks: list[int] = []
        for session in sessions:
            await self._journal(reach, session)  # refuses what is not the owner's
        for session in sessions:
            after = -1
            while len(places) < SEGMENTS and (page := await self._store.segments(session, after, PAGE)):
                masks += await trio.to_thread.run_sync(matches, terms, [segment.text for segment in page])
                places += [(session, segment.segment) for segment in page]
                after = page[-1].segment
        return places, masks

    async def _search(self, reach: str | None, owner: str, terms: list[str]) -> tuple[list[Place], list[int]]:
        """Segments of any session with some of the terms, and which they have. Stops when a search would take long."""
        from convod.summary.passages import matches, queries

        until = trio.current_time() + (self._limits.search_s or float("inf"))
        texts: dict[Place, str] = {}
        for query in queries(terms):
            try:
                within_s = max(until - trio.current_time(), 0.0)
                hits = await self._store.search(reach, query, HITS, within_s=within_s, who=owner)
            except TookTooLong:
                break  # what was found is of the narrowest queries
            texts |= {(hit.session, hit.segment): hit.text for hit in hits}
        return list(texts), await trio.to_thread.run_sync(matches, terms, list(texts.values()))

    async def _passages(self, reach: str | None, best: list[Place]) -> dict[Place, Passage]:
        """The best segments, then what stands beside them."""
        found: dict[Place, Passage] = {}
        beside: dict[Place, Passage] = {}
        talks: dict[str, _Talk | None] = {}
        for session, number in best:
            if session not in talks:
                talks[session] = await self._talk(reach, session)
            if (talk := talks[session]) is None:
                continue
            for segment in await self._store.segments(session, max(number - 2, -1), 3):
                if segment.segment == number:
                    found[session, number] = talk.passage(segment, match=True)
                elif abs(segment.segment - number) == 1:
                    beside[session, segment.segment] = talk.passage(segment, match=False)
        return found | {place: passage for place, passage in beside.items() if place not in found}

    async def _talk(self, reach: str | None, session: str) -> _Talk | None:
        try:
            journal = await self._journal(reach, session)
        except Refused:
            return None  # deleted meanwhile
        config = journal.record.config
        named_now = named(config, await self._store.speakers(session)) if are_told(config) else []
        return _Talk(journal, {each.speaker: each.name for each in named_now})


class _Talk:
    """What is said of a session in each of its passages."""

    def __init__(self, journal: Journal, names: Mapping[int, str]) -> None:
        self._journal = journal
        self._names = names

    def passage(self, segment: Segment, *, match: bool) -> Passage:
        record = self._journal.record
        return Passage(
            session=record.id,
            title=record.title,
            created=record.created,
            segment=segment.segment,
            start=segment.start,
            end=segment.end,
            text=segment.text[:CHARACTERS],
            speaker=None if segment.speaker is None else self._names.get(segment.speaker),
            match=match,
        )
