"""What tests do with sessions again and again: run a talk, look at what came of it, wait without sleeping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import convo
from convo import messages

E = TypeVar("E", bound=messages.Event)

LIMIT_S = 60.0
"""For anything that is waited for: generous, as the machine may have other things to do."""

OFF = messages.SummaryOptions(mode="off")


def of(kind: type[E], events: Iterable[Any]) -> list[E]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def segments(events: Iterable[Any]) -> list[messages.TranscriptSegment]:
    """The segments."""
    return of(messages.TranscriptSegment, events)


def text(events: Iterable[Any]) -> str:
    """All that was said."""
    return " ".join(segment.text for segment in segments(events))


def states(events: Iterable[Any]) -> list[str]:
    """The states that the session went through."""
    return [str(event.state) for event in of(messages.SessionState, events)]


def seqs(events: Iterable[Any]) -> list[int]:
    """The numbers of the stored events."""
    return [event.seq for event in of(messages.DurableEvent, events)]


def assert_whole(events: Sequence[Any]) -> None:
    """Stored events have no gap and no repetition, nor have segments, and those follow each other in time."""
    assert seqs(events) == list(range(1, len(seqs(events)) + 1))
    heard = segments(events)
    assert [segment.segment for segment in heard] == list(range(len(heard)))
    assert all(segment.start < segment.end for segment in heard)
    assert all(one.end <= other.start for one, other in pairwise(heard))


async def talk_live(client: convo.Client, audio: bytes, /, **fields: Any) -> list[messages.Event]:
    """A live session from its first byte to its last event."""
    session = await client.create_session("live", **fields)
    await session.send_audio(audio)
    await session.end()
    return [event async for event in session.events()]


async def upload(client: convo.Client, data: bytes, /, **fields: Any) -> list[messages.Event]:
    """A file session from its first byte to its last event."""
    session = await client.create_session("file", **fields)
    await session.send_audio(data)
    await session.end()
    return [event async for event in session.events()]
