"""`convo stream`: captions of a pipe, a file or the microphone while it plays.

In: the options. Out: a source and what session is wanted, which `live.py` brings together.
"""

from __future__ import annotations

import sys

from convo import SessionOptions, SummaryOptions

from .arguments import Options
from .captions import Captions
from .live import Live
from .output import Lines, on_screen
from .sources import Source, open_source


async def stream(options: Options) -> None:
    """`convo stream [FILE|-]`."""
    source = _source(options)
    try:
        lines = Lines()
        captions = Captions(lines, times=options.times, json=options.json)
        wanted = _wanted(options, source, interim=captions.wants_interims)
        announce = on_screen(sys.stderr) and not options.json
        await Live(options, wanted, source, captions, lines, announce=announce).run()
    finally:
        source.close()


def _source(options: Options) -> Source:
    if not options.mic:
        return open_source(options)
    from .microphone import Microphone

    return Microphone(options.device)


def _wanted(options: Options, source: Source, *, interim: bool) -> SessionOptions:
    return SessionOptions(
        audio=source.format,
        title=options.title,
        language=options.language,
        task=options.task,
        model=options.model,
        prompt=options.prompt,
        hotwords=options.hotwords,
        interim=interim,
        words=options.words,
        summary=SummaryOptions(
            mode="rolling" if options.rolling else "final" if options.summary else "off", style=options.style
        ),
    )
