"""`convo refine ID`: doubtful segments are heard again by a larger model, from kept audio.

In: a session's ID or its beginning, and what the daemon says of its progress. Out: how much was heard and corrected. An
interrupted command leaves the daemon at it, as `convo transcribe` does, and says how to stop it.
"""

from __future__ import annotations

import trio

from convo.messages import Refine, RefineProgress, SessionRefined

from .arguments import Options
from .errors import failed
from .link import connected, find
from .output import json_line, note, put
from .progress import LISTENING, bars
from .text import clock


async def refine(options: Options) -> None:
    """`convo refine ID`."""
    async with connected(options) as client:
        info = await find(client, options.session)
        if options.cancel:
            await client.request(Refine(session=info.session, cancel=True))
            note(f"{info.session} is not heard again any more; what was corrected stays.")
            return
        with bars() as shown:
            bar = shown.add(info.title or info.session)

            def progress(message: RefineProgress) -> None:
                bar.show(LISTENING, message.done_s, message.total_s)
                if options.json:
                    put(json_line(message))

            try:
                end = await client.refine(info.session, options.model, below=options.below, progress=progress)
            except trio.Cancelled:
                note(f"The daemon goes on by itself; `convo refine {info.session} --cancel` stops it.")
                raise
    _tell(end, json=options.json)


def _tell(end: SessionRefined, *, json: bool) -> None:
    if json:
        put(json_line(end))
    if end.code is not None:
        raise failed(end.code, end.message)
    if not json:
        segments = f"{end.corrected} segment" + ("s read" if end.corrected != 1 else " reads")
        note(f"{end.model} heard {clock(end.heard_s)} of speech again; {segments} otherwise.")
