"""What the tests of streams share: the visits of a client, and what it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

import convo
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    CreateSession,
    CreateSessionReply,
    EndSession,
    Event,
    Reply,
    SessionState,
    State,
)

if TYPE_CHECKING:
    from tests.protocol.conftest import Peer


def state(seq: int, state: State = State.PROCESSING) -> SessionState:
    return SessionState(session="s", seq=seq, state=state)


class Visits:
    """A daemon of several scripts, one a connection; the last serves those that follow, too."""

    def __init__(self, *scripts: Callable[[Peer], Awaitable[None]]) -> None:
        self._scripts = list(scripts)
        self.heard = bytearray()
        self.created: list[CreateSession] = []

    async def __call__(self, peer: Peer) -> None:
        await peer.greet()
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        await script(peer)

    async def created_by(self, peer: Peer, credit: int = 1 << 20) -> None:
        create = await expect(peer, CreateSession)
        self.created.append(create)
        await peer.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit), state(1))

    async def attached(self, peer: Peer, *, seq: int, offset: int | None = None, ended: bool = False) -> Attach:
        attach: Attach = await expect(peer, Attach)
        if offset is not None:
            del self.heard[offset:]
        reply = AttachReply(
            id=attach.id, state=State.PROCESSING, seq=seq, audio_offset=len(self.heard), credit=1 << 20, ended=ended
        )
        await peer.send(reply, *(state(number) for number in range(attach.after_seq + 1, seq + 1)))
        return attach

    async def hear(self, peer: Peer, until: int) -> None:
        while len(self.heard) < until:
            audio = await expect(peer, Audio)
            assert audio.offset == len(self.heard)
            self.heard += audio.data
            await peer.send(AudioAck(session="s", offset=len(self.heard), credit=1 << 20))


async def expect(peer: Peer, kind: type[Any]) -> Any:
    message = await peer.receive()
    assert isinstance(message, kind), message
    return message


async def finish(peer: Peer, seq: int) -> None:
    end = await expect(peer, EndSession)
    await peer.send(Reply(id=end.id), state(seq, State.TRANSCRIBED), state(seq + 1, State.COMPLETED))


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, SessionState)]


async def collect(stream: convo.LiveStream | convo.FileUpload | convo.Follower) -> list[Event]:
    return [event async for event in stream]


async def spoken(link: convo.Link, *pieces: bytes, **options: Any) -> tuple[list[Event], convo.LiveStream]:
    """Speak to the end; its events."""
    async with convo.LiveStream(link, **options) as stream, anyio.create_task_group() as tasks:

        async def speak() -> None:
            for piece in pieces:
                await stream.send(piece)
            await stream.end()

        tasks.start_soon(speak)
        return await collect(stream), stream
