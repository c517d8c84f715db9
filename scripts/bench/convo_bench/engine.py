"""What the daemon adds to the engine: bare time for a talk's windows against time for the talk through the daemon.

Made for a model that takes long: `scripts/nano/random-model` writes one of whisper-tiny's dimensions. Both use one
worker with the same threads; the windows are those that the daemon would cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import convo
from convo.messages import SummaryOptions
from convod.engine import models
from convod.engine.whisper import Whisper
from convod.engine.wire import Load
from convod.speech.decoding import Options as EngineOptions
from convod.speech.decoding import Window

from .daemon import Daemon
from .figures import Figures
from .options import Options
from .policies import utterances_of
from .talk import RATE, Talk, load

PASSES = 3


def finals_of(talk: Talk, model: str) -> Callable[[], None]:
    """What decodes a talk's windows one by one with the engine alone, which is loaded and warm."""
    found = models.find(model)
    whisper = Whisper(
        Load(directory=str(found.directory), context=found.context, device="cpu", threads=found.threads or 2)
    )
    whisper.warm_up()
    windows = [Window(audio=talk.pcm[2 * closed.start : 2 * closed.end]) for _, _, closed in utterances_of(talk)]

    def decode() -> None:
        for window in windows:
            whisper.decode([window], RATE, EngineOptions(language=talk.language))

    return decode


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Bare and daemon in turn, three times; the medians and their ratio."""
    talk = load("talk")
    decode = finals_of(talk, options.model)
    bare, through = [], []
    async with convo.connect(daemon.socket) as client:
        for _ in range(PASSES):
            begin = time.perf_counter()
            decode()
            bare.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            session = await client.create_session(
                kind="live", language="en", interim=False, summary=SummaryOptions(mode="off")
            )
            await session.send_audio(talk.pcm)
            await session.end()
            async for _event in session.events():
                pass
            through.append(time.perf_counter() - begin)
    middle = PASSES // 2
    return {
        "bare engine, s": round(sorted(bare)[middle], 3),
        "through the daemon, s": round(sorted(through)[middle], 3),
        "ratio": round(sorted(t / b for t, b in zip(through, bare, strict=True))[middle], 3),
    }
