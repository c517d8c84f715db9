"""What an assistant may ask about talks: list, search, read, question, summarise.

In: arguments as JSON objects, the way to the daemon. Out: structs that become JSON. Knows nothing of MCP's wire. What
people said is data: it is returned in fields, never as part of a sentence of ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

import convo
from convo.messages import (
    FinalSummary,
    GetSession,
    ListSessions,
    Passage,
    Search,
    Segment,
    SessionInfo,
    SessionState,
    SessionWarning,
    State,
    Summarize,
    Summary,
)

from .errors import Exit, Problem
from .link import find
from .text import clean

LIVE = "live"
"""In place of an id: the talk that is live now."""

_Talk = Annotated[str, Meta(min_length=1, max_length=64, description="id of the talk, its beginning, or `live`")]
_Number = Annotated[int, Meta(ge=0)]
_Name = Annotated[str, Meta(max_length=100)]
_Words = Annotated[
    str, Meta(min_length=1, max_length=1000, description="words that were said; the last may be unfinished")
]


class ListTalks(msgspec.Struct, forbid_unknown_fields=True):
    """List talks, newest first: id, title, state, kind, when it was created, length."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 20
    state: State | None = None
    before: Annotated[
        float | None, Meta(description="only older ones, Unix seconds: `created` of the last one listed")
    ] = None


class SearchTalks(msgspec.Struct, forbid_unknown_fields=True):
    """Find words in the transcripts and summaries of all talks, best first."""

    query: _Words
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class ReadTalk(msgspec.Struct, forbid_unknown_fields=True):
    """Read the transcript of a talk, one page at a time, with the time of each segment in seconds."""

    talk: _Talk
    after_segment: Annotated[_Number | None, Meta(description="the next page: `next` of the page before")] = None
    limit: Annotated[int, Meta(ge=1, le=500, description="segments of a page")] = 200


class SummarizeTalk(msgspec.Struct, forbid_unknown_fields=True):
    """The summary of a talk: the latest, or a new one if there is none or a style or language is named."""

    talk: _Talk
    style: Annotated[_Name | None, Meta(description="brief, minutes, bullets, lecture or consultation")] = None
    language: Annotated[_Name | None, Meta(description="of the summary, such as en")] = None


class AskTalks(msgspec.Struct, forbid_unknown_fields=True):
    """Answer a question from what was said, with the places that say so; without a language model, the places alone."""

    question: Annotated[str, Meta(min_length=1, max_length=1000, description="in the language of the talks")]
    talks: Annotated[
        list[_Talk], Meta(max_length=20, description="only these: ids, their beginnings, or `live`; all unless given")
    ] = []
    limit: Annotated[int, Meta(ge=1, le=40, description="places that it may be answered from")] = 12


class TalkInfo(msgspec.Struct):
    """A talk in a list. `created` in Unix seconds, `duration_s` in seconds; `failure`: why it failed."""

    talk: str
    title: str
    state: str
    kind: str
    created: float
    duration_s: float
    language: str | None = None
    failure: str | None = None


class Talks(msgspec.Struct):
    """A list of talks."""

    talks: list[TalkInfo]


class Found(msgspec.Struct):
    """A place where words were found. `start` in seconds; `source`: segment or summary."""

    talk: str
    title: str
    source: str
    segment: int
    start: float
    text: str


class Hits(msgspec.Struct):
    """What a search found."""

    hits: list[Found]


class Said(msgspec.Struct):
    """A sentence of an answer, the talks and times that it rests on, and names and numbers that these do not have."""

    text: str
    sources: list[Found]
    unverified: list[str] = []


class Answer(msgspec.Struct):
    """An answer. Without sentences, `reason` says why, and `places` are where words of the question were said."""

    sentences: list[Said]
    places: list[Found]
    written_by: str
    reason: str | None = None


class Line(msgspec.Struct):
    """A segment: its number, times in seconds, text, language."""

    segment: int
    start: float
    end: float
    text: str
    language: str


class Page(msgspec.Struct):
    """A page of a transcript. `next`: `after_segment` of the next page, if there is more now."""

    talk: str
    title: str
    state: str
    segments: list[Line]
    next: int | None = None


class Written(msgspec.Struct):
    """A summary. `warning`: names or numbers in it that the transcript does not contain."""

    talk: str
    title: str
    summary: str
    key_points: list[str]
    action_items: list[str]
    written_by: str
    warning: str | None = None


@dataclass(frozen=True)
class Daemon:
    """The way to the daemon: a link for requests, and new connections for what follows a talk's events."""

    link: convo.Link
    connect: Callable[[], AbstractAsyncContextManager[convo.Client]]


class NoTalk(Problem):
    """No talk is live."""

    def __init__(self) -> None:
        super().__init__(Exit.OTHER, "No talk is live now: list_talks names those that there are.")


async def live_talk(client: convo.Client) -> SessionInfo | None:
    """The newest live session that is not over."""
    found = (await client.request(ListSessions(kind="live", limit=20))).sessions
    return next((info for info in found if info.state in (State.PENDING, State.PROCESSING)), None)


async def talk_named(client: convo.Client, name: str) -> SessionInfo:
    """The talk with this id, this beginning of an id, or the live one.

    Raises:
        Problem: there is none, or several.
    """
    if name != LIVE:
        return await find(client, name)
    info = await live_talk(client)
    if info is None:
        raise NoTalk
    return info


async def list_talks(daemon: Daemon, asked: ListTalks) -> Talks:
    """Answer `list_talks`."""
    request = ListSessions(limit=asked.limit, state=asked.state, before=asked.before)
    return Talks([_info(info) for info in (await daemon.link.request(request)).sessions])


async def search_talks(daemon: Daemon, asked: SearchTalks) -> Hits:
    """Answer `search_talks`."""
    hits = (await daemon.link.request(Search(query=asked.query, limit=asked.limit, summaries=True))).hits
    return Hits(
        [
            Found(hit.session, clean(hit.title), hit.source, hit.segment, hit.start, clean(hit.snippet or hit.text))
            for hit in hits
        ]
    )


async def read_talk(daemon: Daemon, asked: ReadTalk) -> Page:
    """Answer `read_talk`."""

    async def read(client: convo.Client) -> Page:
        info = await talk_named(client, asked.talk)
        reply = await client.request(GetSession(session=info.session, after_segment=asked.after_segment))
        segments = reply.segments[: asked.limit]
        more = reply.more or len(segments) < len(reply.segments)
        return Page(
            talk=info.session,
            title=clean(reply.title),
            state=reply.state,
            segments=[_line(segment) for segment in segments],
            next=segments[-1].segment if more and segments else None,
        )

    return await daemon.link.ask(read)


async def summarize_talk(daemon: Daemon, asked: SummarizeTalk) -> Written:
    """Answer `summarize_talk`. Waits until a new summary is written.

    Raises:
        Problem: none could be written.
    """
    async with daemon.connect() as client:
        info = await talk_named(client, asked.talk)
        if asked.style is None and asked.language is None:
            record = await client.request(GetSession(session=info.session))
            if record.summary is not None:
                return _written(info.session, record.summary)
        past = (await client.attach(info.session)).reply  # summaries from before are among the events until then
        session = await client.attach(info.session, after_seq=getattr(past, "seq", 0))
        await client.request(Summarize(session=info.session, style=asked.style, language=asked.language))
        async for event in session.events(until=_is_over):
            if isinstance(event, FinalSummary):
                return _written(info.session, event)
            if isinstance(event, SessionWarning) and event.code == convo.Code.SUMMARIZER_UNAVAILABLE:
                raise Problem(Exit.OTHER, event.message)
    raise Problem(Exit.OTHER, "The talk ended without a summary: ask again.")


async def ask_talks(daemon: Daemon, asked: AskTalks) -> Answer:
    """Answer `ask_talks`."""

    async def ask(client: convo.Client) -> Answer:
        sessions = [(await talk_named(client, name)).session for name in asked.talks]
        reply = await client.ask(asked.question, sessions, limit=asked.limit)
        found = [_place(passage) for passage in reply.passages]
        return Answer(
            sentences=[
                Said(clean(one.text), [found[source] for source in one.sources], list(map(clean, one.unverified)))
                for one in reply.answer
            ],
            places=[] if reply.answer else [_place(passage) for passage in reply.passages if passage.match],
            written_by=clean(f"{reply.provider} {reply.model}".strip()),
            reason=reply.reason and clean(reply.reason),
        )

    return await daemon.link.ask(ask)


def _place(passage: Passage) -> Found:
    text = f"{passage.speaker}: {passage.text}" if passage.speaker else passage.text
    return Found(passage.session, clean(passage.title), "segment", passage.segment, passage.start, clean(text))


def _is_over(event: convo.Event) -> bool:
    return (
        isinstance(event, FinalSummary)
        or (isinstance(event, SessionState) and event.state in (State.FAILED, State.CANCELLED))
        or (isinstance(event, SessionWarning) and event.code == convo.Code.SUMMARIZER_UNAVAILABLE)
    )


def _info(info: SessionInfo) -> TalkInfo:
    return TalkInfo(
        talk=info.session,
        title=clean(info.title),
        state=info.state,
        kind=info.kind,
        created=info.created,
        duration_s=info.duration_s,
        language=clean(info.language or "") or None,
        failure=clean(info.message or info.code or "") or None,
    )


def _line(segment: Segment) -> Line:
    return Line(segment.segment, segment.start, segment.end, clean(segment.text), segment.language)


def _written(talk: str, summary: Summary | FinalSummary) -> Written:
    unsaid = [clean(one) for one in summary.unverified or ()]
    return Written(
        talk=talk,
        title=clean(summary.title),
        summary=clean(summary.summary),
        key_points=[clean(point) for point in summary.key_points],
        action_items=[clean(item.text) for item in summary.action_items],
        written_by=clean(f"{summary.provider} {summary.model}".strip()),
        warning=f"not in the transcript: {', '.join(unsaid)}" if unsaid else None,
    )


@dataclass(frozen=True)
class Tool:
    """A tool: its name, what it takes, what answers it, and whether it only reads."""

    name: str
    takes: type[msgspec.Struct]
    answer: Callable[[Daemon, Any], Awaitable[msgspec.Struct]]
    gives: type[msgspec.Struct]
    reads: bool = True

    @property
    def description(self) -> str:
        """A sentence for the assistant."""
        return (self.takes.__doc__ or "").strip()

    async def call(self, daemon: Daemon, arguments: dict[str, Any] | None) -> dict[str, Any]:
        """Check the arguments and answer.

        Raises:
            Problem: an argument is wrong, or the daemon refused.
        """
        try:
            asked = msgspec.convert(arguments or {}, self.takes)
        except msgspec.ValidationError as error:
            raise Problem(Exit.USAGE, f"{self.name}: {error}. Correct the argument.") from None
        answer: dict[str, Any] = msgspec.to_builtins(await self.answer(daemon, asked))
        return answer


def schema(of: type[msgspec.Struct]) -> dict[str, Any]:
    """A struct's JSON schema, without references to others outside it."""
    whole = msgspec.json.schema(of)
    named: dict[str, Any] = whole.pop("$defs")
    top: dict[str, Any] = named.pop(of.__name__)
    return {**top, "$defs": named} if named else top


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("list_talks", ListTalks, list_talks, Talks),
        Tool("search_talks", SearchTalks, search_talks, Hits),
        Tool("read_talk", ReadTalk, read_talk, Page),
        Tool("ask_talks", AskTalks, ask_talks, Answer),
        Tool("summarize_talk", SummarizeTalk, summarize_talk, Written, reads=False),
    )
}
