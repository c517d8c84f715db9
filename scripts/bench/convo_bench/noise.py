"""Ten minutes of sounds that are no speech, fed faster than real time: what text comes of them?"""

from __future__ import annotations

import trio

import convo
from convo.messages import SummaryOptions, TranscriptSegment

from . import noises
from .daemon import Daemon
from .figures import Figures


async def bench(daemon: Daemon, model: str) -> Figures:
    """The texts that each noise brings forth."""
    texts: Figures = {}
    async with convo.connect(daemon.socket) as client:
        for name, pcm in noises.all_of_them(seconds=100):
            session = await client.create_session(kind="live", summary=SummaryOptions(mode="off"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(noises.send, session, pcm)
                texts[f"texts over 100 s of {name}"] = [
                    event.text async for event in session.events() if isinstance(event, TranscriptSegment)
                ]
    return texts
