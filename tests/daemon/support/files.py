"""File sessions for tests: recordings, uploads, and what is stored of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio

from convo.messages import (
    Code,
    CreateSession,
    State,
    SummaryOptions,
)
from convod.engine.supervisor import Refusal
from convod.sessions import Refused, Session
from tests.daemon.support.house import House, Reader
from tests.support.speech import DATA

SINGLE = (DATA / "single.flac").read_bytes()
TALK = (DATA / "talk.flac").read_bytes()
GONE = Refusal(Code.MODEL_UNAVAILABLE, "the model is gone; use builtin")


async def upload(home: House, data: bytes = SINGLE, **fields: Any) -> tuple[Session, Reader]:
    wanted: dict[str, Any] = {"language": "en", "summary": SummaryOptions(mode="off")} | fields
    session = await home.create(CreateSession(kind="file", **wanted))
    reader = Reader(session.feed)
    home.send(session, data, 100_000)
    await session.end()
    return session, reader


async def completed(home: House, **fields: Any) -> str:
    session, reader = await upload(home, **fields)
    await reader.until_state(State.COMPLETED)
    await session.wait_finished()
    return session.id


async def at_once(requests: Sequence[Callable[[], Awaitable[object]]]) -> list[Refused]:
    """What was refused of requests that come at the same time."""
    refused: list[Refused] = []

    async def ask(request: Callable[[], Awaitable[object]]) -> None:
        try:
            await request()
        except Refused as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for request in requests:
            nursery.start_soon(ask, request)
    return refused


async def kept_in_store(home: House, session: str) -> bool | None:
    record = await home.store.get(session)
    assert record is not None
    return record.config.keep_audio


async def forget_whether_kept(home: House, session: str) -> None:
    """Store a session as versions did that looked at the setting when it was over."""
    record = await home.store.get(session)
    assert record is not None
    record.config = msgspec.structs.replace(record.config, keep_audio=None)
    await home.store.save(record)
