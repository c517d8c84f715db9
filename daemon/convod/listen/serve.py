"""One connection: a reader that hands requests on, a writer that sends what there is to send.

In: a link (bytes of a Unix socket or WebSocket messages). Out: answers and events on it. The reader never writes, the
writer never waits for the reader; a client that takes nothing is cut off, and its sessions stay. It knows no request by
name: `requests` answers them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from convo.connection import NEED_DATA, Connection, Malformed, Need
from convo.errors import LocalProtocolError, RemoteProtocolError
from convo.messages import PROTOCOL, Audio, Code, Error, Hello, Limits, Message, Request, Welcome
from convod import __version__
from convod.listen.auth import NO_LONGER_VALID, Grant, Unauthorized
from convod.listen.client import Client
from convod.listen.limits import NO_ROOM, STRANGER_BYTES, Slot
from convod.listen.link import Link, LinkLost
from convod.listen.outbox import Outbox
from convod.listen.requests import Service
from convod.sessions import Refused

log = logging.getLogger("convod.listen")

FEATURES = [
    "live", "file", "interim", "words", "resume", "summary", "rolling", "summaries", "search", "export", "pull_model",
    "queue", "update", "retry", "retranscribe", "rename", "marks", "speakers",
    "channels", "corrections", "names", "voices", "vocabulary",
    "ask", "audio", "refine",
]  # fmt: skip

GOODBYE_S = 5.0
"""How long a connection that is being closed may take its last messages."""

Authenticate = Callable[[str | None], Awaitable[Grant]]
"""A token -> what it grants; raises Unauthorized."""


class _Reader:
    """What comes on a connection, message by message; audio that arrived together is handed on together."""

    def __init__(self, link: Link, connection: Connection) -> None:
        self._link = link
        self._connection = connection
        self._ahead: Message | Malformed | RemoteProtocolError | None = None

    async def next(self, *, rest: bool = False) -> Message | Malformed:
        """Return the next message; `rest` as in `Link.receive`.

        Raises:
            RemoteProtocolError: the client broke the contract.
            LinkLost: nothing comes any more.
        """
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, RemoteProtocolError):
            raise ahead
        if ahead is not None:
            return ahead
        while (event := await self._next_ready()) is NEED_DATA:
            data = await self._link.receive(rest=rest)
            if data is None:
                raise LinkLost
            self._connection.receive_data(data)
        return event

    async def pieces(self, audio: Audio) -> list[bytes]:
        """Return the data of `audio`, and of the messages that follow it in its stream and arrived with it."""
        pieces = [audio.data]
        end = audio.offset + len(audio.data)
        while True:
            try:
                event = await self._next_ready()
            except RemoteProtocolError as error:
                self._ahead = error  # what came before it still counts
                return pieces
            if event is NEED_DATA:
                return pieces
            if not (isinstance(event, Audio) and event.session == audio.session and event.offset == end):
                self._ahead = event
                return pieces
            pieces.append(event.data)
            end += len(event.data)

    async def _next_ready(self) -> Message | Malformed | Need:
        while (event := self._connection.next_event()) is NEED_DATA:
            data = await self._link.receive_ready()
            if data is None:
                break
            self._connection.receive_data(data)
        return event


class ConnectionHandler:
    """Serves one connection: handshake, then requests, until the client leaves or breaks the contract."""

    def __init__(
        self,
        link: Link,
        connection: Connection,
        authenticate: Authenticate,
        service: Service,
        slot: Slot,
    ) -> None:
        """Prepare to serve a client that has not said hello.

        Args:
            link: the client's transport.
            connection: the protocol's state, for the transport's framing and encoding.
            authenticate: tells what the token of a hello grants.
            service: answers the requests.
            slot: the connection's place among all others.
        """
        self._link = link
        self._connection = connection
        self._authenticate = authenticate
        self._service = service
        self._settings = slot.settings
        self._slot = slot
        self._outbox = Outbox()
        self._client = Client(self._outbox, slot.peer, slot.number)
        self._reader = _Reader(link, connection)

    async def run(self) -> None:
        """Serve the connection to its end. A fault of convod is logged, and ends this connection only."""
        try:
            await self._run()
        except* Exception:
            log.exception(
                "a connection was ended by a fault of convod",
                extra={"connection": self._slot.number, "peer": self._client.peer},
            )

    async def _run(self) -> None:
        writing = trio.CancelScope(shield=True)  # the last words of a daemon that stops are still sent
        async with trio.open_nursery() as nursery:
            written = trio.Event()
            nursery.start_soon(self._write, nursery.cancel_scope, writing, written)
            reason: Code | None = None
            stopping = True
            try:
                reason = await self._read(nursery)
                stopping = False
            finally:
                self._client.gone()
                self._outbox.finish()
                with trio.move_on_after(GOODBYE_S, shield=True):
                    await written.wait()
                    await self._link.close(reason, stopping=stopping)
                self._outbox.close()
                writing.cancel()
                nursery.cancel_scope.cancel()
                log.debug(
                    "connection closed",
                    extra={"connection": self._slot.number, "owner": self._client.owner, "code": reason or ""},
                )

    # --- reading ------------------------------------------------------------------------------------------

    async def _read(self, nursery: trio.Nursery) -> Code | None:
        """Shake hands, then answer requests.

        Returns:
            The code of the error that ended the connection; None if the client left.
        """
        self._connection.limit_messages(min(STRANGER_BYTES, self._settings.message_bytes))
        if self._service.limiter.full(self._settings):
            return self._refuse(Code.BUSY, NO_ROOM)
        try:
            refusal = await self._shake_hands()
            if refusal is not None:
                return refusal
            lease = self._client.grant.lease
            if lease is None:
                return await self._serve_requests(nursery)
            with trio.CancelScope() as scope, lease.bound(scope):
                return await self._serve_requests(nursery)
            return self._refuse(Code.UNAUTHORIZED, lease.ended or NO_LONGER_VALID)
        except RemoteProtocolError as error:
            log.info(
                "connection refused: %s",
                error,
                extra={"connection": self._slot.number, "peer": self._client.peer, "code": error.code},
            )
            self._outbox.put(error.reply)
            return error.code
        except LinkLost:
            return None

    def _refuse(self, code: Code, message: str) -> Code:
        self._outbox.put(Error(code=code, message=message))
        return code

    async def _shake_hands(self) -> Code | None:
        """Wait for hello and answer it; the code of the error if the client is refused."""
        hello: Message | Malformed | None = None
        with trio.CancelScope(deadline=self._slot.deadline):
            hello = await self._reader.next()
            return await self._welcome(hello)
        if hello is None:
            return self._refuse(Code.HELLO_EXPECTED, "No hello came in time; send it first.")
        return self._refuse(Code.UNAUTHORIZED, "The token is wrong or missing; send the right one.")

    async def _welcome(self, hello: Message | Malformed) -> Code | None:
        assert isinstance(hello, Hello), "the connection lets nothing else through"
        client, settings, number = self._client, self._settings, self._slot.number
        try:
            grant = await self._authenticate(hello.token)
        except Unauthorized as error:
            log.warning("connection refused: not authorized", extra={"connection": number, "peer": client.peer})
            return self._refuse(Code.UNAUTHORIZED, str(error))
        no_room = self._service.limiter.welcome(
            self._slot, grant.owner, settings, may_use_reserve=grant.may_use_reserve
        )
        if no_room is not None:
            return self._refuse(Code.BUSY, no_room)
        client.grant = grant
        log.debug(
            "connection open",
            extra={"connection": number, "peer": client.peer, "owner": grant.owner, "client": hello.client[:80]},
        )
        limits = Limits(
            message_bytes=settings.message_bytes,
            audio_credit=self._service.audio_credit,
            resume_s=self._service.resume_s,
        )
        welcome = Welcome(protocol=PROTOCOL, server=f"convod/{__version__}", limits=limits, features=FEATURES)
        self._connection.limit_messages(settings.message_bytes)
        self._link.trust()
        await self._link.send([self._connection.send(welcome)])
        return None

    async def _serve_requests(self, nursery: trio.Nursery) -> Code | None:
        while True:
            event = await self._next_unless_idle()
            if event is None:
                log.info(
                    "connection closed: it was idle",
                    extra={"connection": self._slot.number, "owner": self._client.owner},
                )
                return None
            pieces = await self._reader.pieces(event) if isinstance(event, Audio) else [b""]
            if pause := self._slot.pause(sum(map(len, pieces)), len(pieces)):
                self._service.limiter.refused["rate"] += 1
                await trio.sleep(pause)
            self._client.streams = isinstance(event, Audio)
            await self._outbox.wait_room()
            if isinstance(event, Malformed):
                self._outbox.put(event.error)
            elif isinstance(event, Audio):
                if not await self._take_audio(event, pieces):
                    return Code.OUT_OF_CREDIT
            elif isinstance(event, Request):
                await self._take_request(event, nursery)

    async def _next_unless_idle(self) -> Message | Malformed | None:
        """Return the next message; None if none came for `idle_s` while no session is followed."""
        idle_s = self._settings.idle_s
        while idle_s:
            with trio.move_on_after(idle_s):
                return await self._reader.next(rest=self._client.quiet)
            if not self._outbox.attached:
                return None
        return await self._reader.next(rest=self._client.quiet)

    async def _take_audio(self, audio: Audio, pieces: list[bytes]) -> bool:
        """Hand audio to its session; False if the client sent more than its credit."""
        try:
            await self._service.audio(self._client, audio.session, audio.offset, pieces)
        except Refused as error:
            self._outbox.put(Error(code=error.code, message=str(error), session=audio.session))
            return error.code is not Code.OUT_OF_CREDIT
        return True

    async def _take_request(self, request: Request[Any], nursery: trio.Nursery) -> None:
        if self._service.is_slow(request):
            # Its answer may take long, and what it waits for may be audio on this very connection.
            place = object()  # requests may be equal, or have lists that cannot be hashed
            await self._client.slow.acquire_on_behalf_of(place)
            nursery.start_soon(self._answer_slowly, request, place)
        else:
            await self._service.answer(self._client, request)

    async def _answer_slowly(self, request: Request[Any], place: object) -> None:
        try:
            await self._service.answer(self._client, request)
        finally:
            self._client.slow.release_on_behalf_of(place)

    # --- writing ------------------------------------------------------------------------------------------

    async def _write(self, scope: trio.CancelScope, writing: trio.CancelScope, written: trio.Event) -> None:
        """Send what is in the outbox until it is finished.

        Args:
            scope: cancelled when the link is lost or its client takes nothing.
            writing: ends this task.
            written: set when nothing more will be sent.
        """
        try:
            # One scope for all messages: entering one for each would cost more than sending it.
            with writing, trio.CancelScope() as sending:
                while (messages := await self._outbox.next()) is not None:
                    frames = list(self._frames(messages))
                    sending.deadline = trio.current_time() + self._settings.stall_s
                    await self._link.send(frames)
                    sending.deadline = math.inf
            if sending.cancelled_caught:
                log.warning("connection cut: its client takes nothing", extra={"connection": self._slot.number})
                self._link.abort()
                scope.cancel()
        except LinkLost:
            scope.cancel()
        finally:
            written.set()

    def _frames(self, messages: list[Message]) -> Iterator[bytes]:
        for message in messages:
            try:
                yield self._connection.send(message)
            except LocalProtocolError:
                # The client broke the contract: nothing but the error that says so may still be sent.
                log.debug("not sent: %s", type(message).__name__)
