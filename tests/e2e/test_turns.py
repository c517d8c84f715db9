"""Owners take turns: what one asks for, however much, is not waited for by another. Over real processes."""

from __future__ import annotations

from pathlib import Path

import trio

import convo
from convo import messages
from tests.support.daemon import running
from tests.support.sessions import OFF, of
from tests.support.speech import pcm

MANY = 40
SECONDS = 3
PIECE = 3200


async def test_captions_of_one_talk_go_on_beside_many_of_another_owner(tmp_path: Path) -> None:
    talk = pcm("talk.flac")
    with running(tmp_path, environment={"CONVOD_ENGINE_WORKERS": "1"}) as daemon:
        async with (
            convo.connect(daemon.web) as other,
            convo.connect(daemon.url) as mine,
            trio.open_nursery() as nursery,
        ):
            for number in range(MANY):  # at once as much as a client may send, and more to decode than can be
                session = await other.create_session("live", summary=OFF)
                await session.send_audio(talk[number * PIECE :][: 20 * 32000])
            session = await mine.create_session("live", summary=OFF)
            events: list[messages.Event] = []

            async def follow() -> None:
                async for event in session.events():
                    events.append(event)

            nursery.start_soon(follow)
            for at in range(0, SECONDS * 32000, PIECE):
                await session.send_audio(talk[at : at + PIECE])
                await trio.sleep(0.1)  # as one speaks: captions are of what comes
            status = await mine.request(messages.Status())
            assert status.queue.final + status.queue.interim > MANY // 4, "the others have more to decode than can be"
            await session.finalize()
            await session.cancel()
            shown = of(messages.TranscriptPartial, events)
            assert len(shown) >= 2, shown
            nursery.cancel_scope.cancel()
        daemon.kill()  # or it would say first what it has of the others
