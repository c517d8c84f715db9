"""`convo stream`: captions of a pipe, a file, the microphone or what the machine plays, while it plays.

In: the options. Out: a source and what session is wanted, which `live.py` brings together.
"""

from __future__ import annotations

import sys
from functools import partial

from convo import SessionOptions, SummaryOptions
from convo.vocabulary import Vocabulary

from .arguments import Options
from .captions import Captions
from .live import Live
from .output import Lines, on_screen
from .sources import Source, open_source
from .speaking import name_of, speaking
from .vocabulary import rules


async def stream(options: Options) -> None:
    """`convo stream [FILE|-]`."""
    source = _source(options)
    try:
        lines = Lines()
        who = speaking(options, source.format.channels if options.system else None)
        naming = partial(name_of, who) if who else None
        vocabulary = rules()
        captions = Captions(
            lines, times=options.times, json=options.json, name_of=naming, vocabulary=Vocabulary(vocabulary)
        )
        wanted = _wanted(options, source, who, interim=captions.wants_interims)
        wanted["vocabulary"] = vocabulary
        announce = on_screen(sys.stderr) and not options.json
        await Live(options, wanted, source, captions, lines, announce=announce).run()
    finally:
        source.close()


def _source(options: Options) -> Source:
    if options.system:
        from .system_audio import SystemAudio

        return SystemAudio(mic=options.mic, device=options.device)
    if not options.mic:
        return open_source(options)
    from .microphone import Microphone

    return Microphone(options.device)


def _wanted(options: Options, source: Source, who: SessionOptions, *, interim: bool) -> SessionOptions:
    wanted = SessionOptions(
        audio=source.format,
        title=options.title,
        language=options.language,
        languages=options.languages,
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
    wanted.update(who)
    return wanted
