"""Speak one talk in real time to a daemon, and note all that is shown and when.

In: a client, a talk. Out: a `Showing`.
"""

from __future__ import annotations

from typing import Any

import trio

from convo import messages

from .showing import Showing
from .talk import SECOND, Talk

PIECE_S = 0.02
"""Audio comes in pieces of this length, as from a microphone."""


async def speak(client: Any, talk: Talk, *, delay_s: float = 0.0, interim: bool = True, **fields: Any) -> Showing:
    """Speak a talk in real time as a live session (with more `fields` if given); returns when it is transcribed."""
    showing = Showing(talk)
    await trio.sleep(delay_s)
    session = await client.create_session(
        kind="live", language=talk.language, interim=interim, summary=messages.SummaryOptions(mode="off"), **fields
    )
    begin = trio.current_time()

    async def feed() -> None:
        size = int(PIECE_S * SECOND)
        for offset in range(0, len(talk.pcm), size):
            await trio.sleep_until(begin + (offset + size) / SECOND)
            await session.send_audio(talk.pcm[offset : offset + size])
        await session.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        async for event in session.events():
            now = trio.current_time() - begin
            if isinstance(event, messages.TranscriptSegment):
                showing.segments.append((now, event))
            elif isinstance(event, messages.TranscriptPartial):
                showing.partials.append((now, event))
    return showing
