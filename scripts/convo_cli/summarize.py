"""Summaries of a stored session: write a new one, list those that were written before.

In: a session's ID or its beginning, and the daemon's replies. Out: text for people, JSON lines for programs. While a
summary is written, a terminal shows its end; what is printed is the whole.
"""

from __future__ import annotations

import sys

import convo
from convo.messages import (
    AttachReply,
    Event,
    FinalSummary,
    ListSummaries,
    SessionState,
    SessionWarning,
    State,
    StoredSummary,
    Summarize,
    Summary,
    SummaryDelta,
)

from .arguments import Options
from .captions import Interim
from .errors import Exit, Problem, failed
from .link import connected, find
from .output import json_line, note, on_screen, put
from .summaries import Preview, starts_of, summary_for_output
from .text import moment, table


async def summarize(options: Options) -> None:
    """`convo summarize ID`."""
    preview = Preview(Interim(sys.stderr) if on_screen(sys.stderr) and not options.json else None)
    async with connected(options) as client:
        info = await find(client, options.session)
        # Summaries from before are among the past events: begin after those.
        past = (await client.attach(info.session)).reply
        session = await client.attach(info.session, after_seq=past.seq if isinstance(past, AttachReply) else 0)
        await client.request(
            Summarize(
                session=info.session,
                provider=options.provider,
                model=options.model,
                style=options.style,
                language=options.language,
            )
        )
        try:
            async for event in session.events(until=_is_over):
                match event:
                    case SummaryDelta():
                        preview.show(event)
                    case FinalSummary() | SessionWarning():
                        preview.erase()
                if options.json and isinstance(event, SummaryDelta | FinalSummary | SessionWarning):
                    put(json_line(event))
                elif isinstance(event, FinalSummary):
                    record = await client.get_session(info.session)
                    put(summary_for_output(event, starts_of(record.segments)))
                elif isinstance(event, SessionWarning):
                    note(event.message)
                if isinstance(event, SessionState) and event.state is State.FAILED:
                    raise failed(event.code, event.message)
                if isinstance(event, SessionWarning) and event.code == convo.Code.SUMMARIZER_UNAVAILABLE:
                    raise Problem(Exit.OTHER, "No summary was written; the earlier ones are kept.")
        finally:
            preview.erase()


async def summaries(options: Options) -> None:
    """`convo summaries ID [NUMBER]`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        found = await _all(client, info.session)
        if options.number is None:
            put(
                "".join(json_line(one) for one in found)
                if options.json
                else table(
                    ("NUMBER", "WRITTEN", "BY", "STYLE", "LANGUAGE", "TITLE"),
                    [_row(one) for one in found],
                    screen=on_screen(sys.stdout),
                )
            )
            return
        one = next((one.summary for one in found if one.seq == options.number), None)
        if one is None:
            raise Problem(
                Exit.OTHER, f"There is no summary {options.number}; `convo summaries {info.session}` lists them."
            )
        record = await client.get_session(info.session)
    put(json_line(one) if options.json else summary_for_output(one, starts_of(record.segments)))


async def _all(client: convo.Client, session: str) -> list[StoredSummary]:
    found: list[StoredSummary] = []
    while True:
        before = found[-1].seq if found else None
        reply = await client.request(ListSummaries(session=session, before=before))
        found += reply.summaries
        if not reply.more or not reply.summaries:
            return found


def _row(one: StoredSummary) -> tuple[str, ...]:
    summary: Summary = one.summary
    origin = summary.origin
    by = f"{summary.provider} ({summary.model})" if summary.model else summary.provider
    written, style = (moment(origin.created), origin.style) if origin else ("?", "?")
    return str(one.seq), written, by, style, summary.language, summary.title


def _is_over(event: Event) -> bool:
    return (
        isinstance(event, FinalSummary)
        or (isinstance(event, SessionState) and event.state.final)
        or (isinstance(event, SessionWarning) and event.code == convo.Code.SUMMARIZER_UNAVAILABLE)
    )
