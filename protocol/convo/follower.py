"""Events of one session over any number of connections, each stored one exactly once.

In: a `Link` and a session's id. Out: its events. After a broken connection they continue after the last one that was
taken, as `convo.resume` decides. This module sends no audio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Self

from anyio.lowlevel import checkpoint

from .client import Client, ClientSession, EventStream
from .errors import ConnectionLost, EventsLost
from .link import Link
from .messages import AttachReply, Event
from .resume import ResumableSession


class ResumedEvents(ABC):
    """Events of one session over any number of connections, for `async for`; each stored event comes once.

    Ends after the final state, unless `forever`.
    """

    def __init__(self, link: Link, state: ResumableSession, *, forever: bool = False) -> None:
        self._link = link
        self._state = state
        self._forever = forever
        self._reading: ClientSession | None = None
        self._stream: EventStream | None = None
        self._over = False

    @property
    def session(self) -> str:
        """The session's id; empty until it is known."""
        return self._state.session

    @property
    def over(self) -> bool:
        """Whether its last event was taken."""
        return self._over

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._over:
            stream = await self._open()  # not in the `try`: what it raises is final
            try:
                event = await self._next(stream)
                if event is not None and self._state.take(event):
                    return event
            except StopAsyncIteration:
                self._stream = None
                self._over = self._reading is not None and self._reading.attached
            except (ConnectionLost, EventsLost):
                self._stream = None
                self._lose(self._reading)
                await checkpoint()  # let the link notice
        self._finished()
        raise StopAsyncIteration

    async def _open(self) -> EventStream:
        if self._stream is None:
            self._reading = await self._reopened(self._reading)
            self._stream = self._reading.events((lambda event: False) if self._forever else None)
        return self._stream

    async def _next(self, stream: EventStream) -> Event | None:
        return await anext(stream)

    @abstractmethod
    async def _reopened(self, older: ClientSession | None) -> ClientSession:
        """Wait for the session on another connection than `older`, or attached to anew."""

    def _lose(self, session: ClientSession | None) -> None:  # noqa: B027 - some need not know
        """Take note that nothing more comes of this attachment."""

    def _finished(self) -> None:  # noqa: B027
        """Take note that the last event was taken."""


class Follower(ResumedEvents):
    """Follows a session whose audio another client sends.

    Args:
        link: the connection.
        session: its id.
        after_seq: number of the last stored event that is known.
        forever: continue after the final state: for a new summary, a title, a mark.
        attached: called at each attachment.

    Iterating raises:
        RequestError: the daemon does not show this session.
        CannotConnect, ConnectionLost: the link has given up.
    """

    def __init__(
        self,
        link: Link,
        session: str,
        *,
        after_seq: int = 0,
        forever: bool = False,
        attached: Callable[[Client], Awaitable[None]] | None = None,
    ) -> None:
        state = ResumableSession()
        state.session, state.seq = session, after_seq
        super().__init__(link, state, forever=forever)
        self._attached = attached

    async def opened(self) -> AttachReply:
        """Attach, if that is not done yet; return the daemon's answer. Raises like iterating."""
        await self._open()
        assert self._reading is not None
        assert isinstance(self._reading.reply, AttachReply)
        return self._reading.reply

    async def _reopened(self, older: ClientSession | None) -> ClientSession:
        return await self._link.ask(self._attach)

    async def _attach(self, client: Client) -> ClientSession:
        session = await client.attach(self._state.session, after_seq=self._state.seq)
        if self._attached is not None:
            await self._attached(client)
        return session
