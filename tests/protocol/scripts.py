"""What the scripts share that a daemon follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convo.client import ClientSession
from convo.messages import (
    CreateSession,
    CreateSessionReply,
    Event,
    SessionState,
    State,
)

if TYPE_CHECKING:
    from tests.protocol.conftest import Peer


async def expect(peer: Peer, kind: type[Any]) -> Any:
    message = await peer.receive()
    assert isinstance(message, kind), message
    return message


async def open_session(peer: Peer, credit: int = 16) -> None:
    await peer.greet()
    create = await expect(peer, CreateSession)
    await peer.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit))


async def collect(session: ClientSession, told: list[Event]) -> None:
    async for event in session.events():
        told.append(event)


def state(seq: int, state: State = State.PROCESSING) -> SessionState:
    return SessionState(session="s", seq=seq, state=state)
