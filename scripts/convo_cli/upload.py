"""One recording at the daemon: sent, followed until it is over, on as many connections as that takes.

In: a descriptor, what to create, a link. Out: the session's events in order, each durable one once. A file session goes
on by itself while nobody is connected; who left it before its end cancels it. This module prints nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

import convo
from convo.media import PIECE
from convo.messages import AttachReply, CancelSession, Code, DurableEvent, Event, SessionState
from convo.resume import UnackedBuffer

from .link import Link
from .sources import read_some

_GOODBYE_S = 3.0  # for cancelling what is at work when we are told to stop


class Upload:
    """A file session made with `fields` (those of `CreateSession`), of the bytes that can be read from `descriptor`.

    `sent` is called with the bytes that went out so far, None once that was all; `show` with each event.
    """

    def __init__(
        self,
        link: Link,
        descriptor: int,
        fields: dict[str, Any],
        sent: Callable[[int | None], None],
        show: Callable[[Event], None],
    ) -> None:
        self._link = link
        self._descriptor = descriptor
        self._fields = {**fields, "key": secrets.token_hex(16)}  # asked for again, it is the same session
        self._sent = sent
        self._show = show
        self._tape = UnackedBuffer()
        self._drained = False  # all of it was read
        self._ended = False  # and the daemon knows
        self._seq = 0
        self._failure: Exception | None = None
        self.session: str | None = None
        self.over = False

    async def run(self) -> None:
        """Until the session is in a final state.

        Raises:
            RequestError: the daemon refused it.
            ConvoError: there is no daemon any more.
            OSError: the recording cannot be read.
        """
        try:
            while not self.over and self._failure is None:
                client = await self._link.client()
                with suppress(convo.ConnectionLost, convo.EventsLost):
                    await self._once(client)
        finally:
            if not self.over and self.session is not None:
                await self._cancel(self.session)
        if self._failure is not None and not self.over:
            raise self._failure

    async def _once(self, client: convo.Client) -> None:
        """On one connection, until the session is over, or that is.

        Raises:
            ConnectionLost, EventsLost: go on with the next one.
        """
        if self.session is None:
            session = await client.create_session("file", **self._fields)
            self.session = session.id
        else:
            session = await client.attach(self.session, after_seq=self._seq, produce=not self._ended)
        lost: convo.ConvoError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, session, nursery.cancel_scope)
            try:
                async for event in session.events():
                    self._take(event)
            except convo.RequestError as error:  # its audio was refused
                self._failure = error
            except (convo.ConnectionLost, convo.EventsLost) as error:
                lost = error
            nursery.cancel_scope.cancel()
        if lost is not None:
            raise lost

    def _take(self, event: Event) -> None:
        if isinstance(event, DurableEvent):
            self._seq = max(self._seq, event.seq)
        if isinstance(event, SessionState):
            self.over = event.state.final
        self._show(event)

    async def _send(self, session: convo.ClientSession, everything: trio.CancelScope) -> None:
        """Send what the daemon has not, then say that it was all. A broken connection is the listener's to tell."""
        try:
            if not self._ended:
                await self._send_rest(session)
        except convo.ConnectionLost:
            return
        except convo.RequestError as error:
            if error.code != Code.BAD_STATE:  # else it ended meanwhile: its last event says why
                self._failure = error
                everything.cancel()
        except (convo.ConvoError, OSError) as error:
            self._failure = error
            everything.cancel()

    async def _send_rest(self, session: convo.ClientSession) -> None:
        if isinstance(session.reply, AttachReply):
            if session.reply.ended:
                self._ended = True
                return
            await session.send_audio(self._tape.after(session.reply.audio_offset))
        else:
            await session.send_audio(self._tape.after(0))
        while not self._drained:
            if data := await read_some(self._descriptor, PIECE):
                self._tape.add(data)
                await session.send_audio(data)
                self._tape.acknowledge(session.acknowledged)
                self._sent(self._tape.end)
            else:
                self._drained = True
        await session.end()
        self._ended = True
        self._sent(None)

    async def _cancel(self, session: str) -> None:
        """Tell the daemon that nobody wants this any more, though we ourselves may be being cancelled."""
        with trio.move_on_after(_GOODBYE_S, shield=True), suppress(convo.ConvoError):
            client = await self._link.client()
            await client.request(CancelSession(session=session))
