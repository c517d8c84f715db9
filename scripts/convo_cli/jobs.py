"""Files in the queue: list them, pause and resume, change their order, retry, transcribe again.

In: a session's ID or its beginning, and the daemon's replies. Out: a table or JSON lines on standard output.
"""

from __future__ import annotations

import sys
from typing import Any

from convo.messages import (
    ListQueue,
    PauseQueue,
    QueuedFile,
    ResumeQueue,
    Retranscribe,
    RetrySession,
    UpdateSession,
)

from .arguments import Options
from .link import connected, find
from .output import json_line, note, on_screen, put
from .text import clock, table


async def queue(options: Options) -> None:
    """`convo queue [pause|resume]`."""
    async with connected(options) as client:
        if options.action is not None:
            await client.request(PauseQueue() if options.action == "pause" else ResumeQueue())
            return
        reply = await client.request(ListQueue())
    if options.json:
        put("".join(json_line(job) for job in reply.jobs))
        return
    if reply.paused:
        note("The queue is paused; `convo queue resume` goes on.")
    rows = [(job.session, str(job.state), job.priority, _done(job), job.title) for job in reply.jobs]
    put(table(("ID", "STATE", "PRIORITY", "DONE", "TITLE"), rows, screen=on_screen(sys.stdout)))


async def priority(options: Options) -> None:
    """`convo priority ID low|normal|high`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        await client.request(UpdateSession(session=info.session, priority=options.priority))


async def retry(options: Options) -> None:
    """`convo retry ID`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        await client.request(RetrySession(session=info.session))
    note(f"{info.session} waits for its turn again; `convo watch {info.session}` follows it.")


async def retranscribe(options: Options) -> None:
    """`convo retranscribe ID`: prints the new session's ID."""
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in ("model", "language", "languages", "task", "words", "priority")
    }
    async with connected(options) as client:
        info = await find(client, options.session)
        reply = await client.request(Retranscribe(session=info.session, **changes))
    put(json_line({"session": reply.session}) if options.json else f"{reply.session}\n")


def _done(job: QueuedFile) -> str:
    if job.total_s is None:
        return clock(job.done_s) if job.done_s else ""
    return f"{clock(job.done_s)} of {clock(job.total_s)}"
