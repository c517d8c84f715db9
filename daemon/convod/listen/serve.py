"""One connection: a reader that hands requests on, a writer that sends what there is to send.

In: a link (bytes of a Unix socket or WebSocket messages). Out: answers and events on it. The reader never writes, the
writer never waits for the reader; a client that takes nothing is cut off, its sessions stay. It knows no request by
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
from convod.listen.limits import NO_ROOM, STRANGER_BYTES, Visit
from convod.listen.link import Link, LinkLost
from convod.listen.outbox import Outbox
from convod.listen.requests import Client, Service
from convod.listen.settings import ListenSettings
from convod.sessions import Refused

log = logging.getLogger("convod.listen")

FEATURES = [
    "live", "file", "interim", "words", "resume", "summary", "rolling", "summaries", "search", "export", "pull_model",
    "queue", "update", "retry", "retranscribe", "rename", "marks",
]  # fmt: skip

GOODBYE_S = 5.0
"""How long a connection that is being closed may take its last messages."""


Authenticate = Callable[[str | None], Awaitable[Grant]]
"""A token -> what it grants; raises Unauthorized."""


async def serve(
    link: Link,
    connection: Connection,
    authenticate: Authenticate,
    service: Service,
    settings: ListenSettings,
    visit: Visit,
    peer: str,
) -> None:
    """Serve a connection to its end. A fault of convod in one is logged, and is the end of that one only."""
    try:
        await _serve(link, connection, authenticate, service, settings, visit, Client(Outbox(), peer, visit.number))
    except* Exception:
        log.exception("a connection was ended by a fault of convod", extra={"connection": visit.number, "peer": peer})


async def _serve(
    link: Link,
    connection: Connection,
    authenticate: Authenticate,
    service: Service,
    settings: ListenSettings,
    visit: Visit,
    client: Client,
) -> None:
    writing = trio.CancelScope(shield=True)  # the last words of a daemon that stops are still sent
    async with trio.open_nursery() as nursery:
        written = trio.Event()
        nursery.start_soon(_write, link, connection, client, settings.stall_s, nursery.cancel_scope, writing, written)
        reason: Code | None = None
        stopping = True
        try:
            reason = await _converse(link, connection, authenticate, service, client, settings, visit, nursery)
            stopping = False
        finally:
            client.gone()
            client.outbox.finish()
            with trio.move_on_after(GOODBYE_S, shield=True):
                await written.wait()
                await link.close(reason, stopping=stopping)
            client.outbox.close()
            writing.cancel()
            nursery.cancel_scope.cancel()
            log.debug(
                "connection closed", extra={"connection": visit.number, "owner": client.owner, "code": reason or ""}
            )


async def _converse(
    link: Link,
    connection: Connection,
    authenticate: Authenticate,
    service: Service,
    client: Client,
    settings: ListenSettings,
    visit: Visit,
    nursery: trio.Nursery,
) -> Code | None:
    """Handshake, then requests. Returns the code of the error that ended it, None if the client left."""
    connection.limit_messages(min(STRANGER_BYTES, settings.message_bytes))
    if service.door.full(settings):
        client.outbox.put(Error(code=Code.BUSY, message=NO_ROOM))
        return Code.BUSY
    try:
        hello: Message | Malformed | None = None
        refusal: Code | None = Code.HELLO_EXPECTED
        with trio.CancelScope(deadline=visit.deadline) as handshake:
            hello = await _Incoming(link, connection).next()
            refusal = await _greet(hello, link, connection, authenticate, service, client, settings, visit)
        if handshake.cancelled_caught and hello is None:
            client.outbox.put(Error(code=Code.HELLO_EXPECTED, message="No hello came in time; send it first."))
        elif handshake.cancelled_caught:
            refusal = Code.UNAUTHORIZED
            client.outbox.put(Error(code=refusal, message="The token is wrong or missing; send the right one."))
        if refusal is not None:
            return refusal
        lease = client.grant.lease
        if lease is None:
            return await _read(link, connection, service, client, settings, visit, nursery)
        with trio.CancelScope() as scope, lease.bound(scope):
            return await _read(link, connection, service, client, settings, visit, nursery)
        client.outbox.put(Error(code=Code.UNAUTHORIZED, message=lease.ended or NO_LONGER_VALID))
        return Code.UNAUTHORIZED
    except RemoteProtocolError as error:
        log.info(
            "connection refused: %s",
            error,
            extra={"connection": visit.number, "peer": client.peer, "code": error.code},
        )
        client.outbox.put(error.reply)
        return error.code
    except LinkLost:
        return None


async def _greet(
    hello: Message | Malformed,
    link: Link,
    connection: Connection,
    authenticate: Authenticate,
    service: Service,
    client: Client,
    settings: ListenSettings,
    visit: Visit,
) -> Code | None:
    assert isinstance(hello, Hello), "the connection lets nothing else through"
    try:
        grant = await authenticate(hello.token)
    except Unauthorized as error:
        log.warning("connection refused: not authorized", extra={"connection": visit.number, "peer": client.peer})
        client.outbox.put(Error(code=Code.UNAUTHORIZED, message=str(error)))
        return Code.UNAUTHORIZED
    no_room = service.door.greet(visit, grant.owner, settings, may_use_reserve=grant.may_use_reserve)
    if no_room is not None:
        client.outbox.put(Error(code=Code.BUSY, message=no_room))
        return Code.BUSY
    client.grant = grant
    log.debug(
        "connection open",
        extra={"connection": visit.number, "peer": client.peer, "owner": grant.owner, "client": hello.client[:80]},
    )
    welcome = Welcome(
        protocol=PROTOCOL,
        server=f"convod/{__version__}",
        limits=Limits(
            message_bytes=settings.message_bytes,
            audio_credit=service.audio_credit,
            resume_s=service.resume_s,
        ),
        features=FEATURES,
    )
    connection.limit_messages(settings.message_bytes)
    link.trust()
    await link.send([connection.send(welcome)])
    return None


class _Incoming:
    """What comes on a connection, message by message; of audio what came together is there together."""

    def __init__(self, link: Link, connection: Connection) -> None:
        self._link = link
        self._connection = connection
        self._ahead: Message | Malformed | RemoteProtocolError | None = None

    async def next(self) -> Message | Malformed:
        """The next message.

        Raises:
            RemoteProtocolError: the client broke the contract.
            LinkLost: nothing comes any more.
        """
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, RemoteProtocolError):
            raise ahead
        if ahead is not None:
            return ahead
        while (event := await self._here()) is NEED_DATA:
            data = await self._link.receive()
            if data is None:
                raise LinkLost
            self._connection.receive_data(data)
        return event

    async def pieces(self, audio: Audio) -> list[bytes]:
        """The data of `audio`, and of the messages that follow it in its stream and have come already."""
        pieces = [audio.data]
        end = audio.offset + len(audio.data)
        while True:
            try:
                event = await self._here()
            except RemoteProtocolError as error:
                self._ahead = error  # what came before it is heard
                return pieces
            if event is NEED_DATA:
                return pieces
            if not (isinstance(event, Audio) and event.session == audio.session and event.offset == end):
                self._ahead = event
                return pieces
            pieces.append(event.data)
            end += len(event.data)

    async def _here(self) -> Message | Malformed | Need:
        while (event := self._connection.next_event()) is NEED_DATA:
            data = await self._link.receive_ready()
            if data is None:
                break
            self._connection.receive_data(data)
        return event


async def _read(
    link: Link,
    connection: Connection,
    service: Service,
    client: Client,
    settings: ListenSettings,
    visit: Visit,
    nursery: trio.Nursery,
) -> Code | None:
    outbox = client.outbox
    incoming = _Incoming(link, connection)
    link.rest_while(lambda: client.quiet)
    while True:
        event = await _next_unless_idle(incoming, outbox, settings.idle_s)
        if event is None:
            log.info("connection closed: it was idle", extra={"connection": visit.number, "owner": client.owner})
            return None
        pieces = await incoming.pieces(event) if isinstance(event, Audio) else [b""]
        if pause := visit.pause(sum(map(len, pieces)), len(pieces)):
            service.door.refused["rate"] += 1
            await trio.sleep(pause)
        client.streams = isinstance(event, Audio)
        await outbox.wait_room()
        if isinstance(event, Malformed):
            outbox.put(event.error)
        elif isinstance(event, Audio):
            try:
                await service.audio(client, event.session, event.offset, pieces)
            except Refused as error:
                outbox.put(Error(code=error.code, message=str(error), session=event.session))
                if error.code is Code.OUT_OF_CREDIT:
                    return error.code
        elif isinstance(event, Request):
            if service.is_slow(event):
                # Its answer may take long, and what it waits for may be audio on this very connection.
                await client.slow.acquire_on_behalf_of(event)
                nursery.start_soon(_answer_slowly, service, client, event)
            else:
                await service.answer(client, event)


async def _next_unless_idle(incoming: _Incoming, outbox: Outbox, idle_s: float) -> Message | Malformed | None:
    """The next message; None if none came for so long while no session is followed."""
    while idle_s:
        with trio.move_on_after(idle_s):
            return await incoming.next()
        if not outbox.attached:
            return None
    return await incoming.next()


async def _answer_slowly(service: Service, client: Client, request: Request[Any]) -> None:
    try:
        await service.answer(client, request)
    finally:
        client.slow.release_on_behalf_of(request)


async def _write(
    link: Link,
    connection: Connection,
    client: Client,
    stall_s: float,
    scope: trio.CancelScope,
    writing: trio.CancelScope,
    written: trio.Event,
) -> None:
    try:
        # One scope for all messages: to enter one for each would cost more than to send it.
        with writing, trio.CancelScope() as sending:
            while (messages := await client.outbox.next()) is not None:
                frames = list(_frames(connection, messages))
                sending.deadline = trio.current_time() + stall_s
                await link.send(frames)
                sending.deadline = math.inf
        if sending.cancelled_caught:
            log.warning("connection cut: its client takes nothing", extra={"connection": client.number})
            link.abort()
            scope.cancel()
    except LinkLost:
        scope.cancel()
    finally:
        written.set()


def _frames(connection: Connection, messages: list[Message]) -> Iterator[bytes]:
    for message in messages:
        try:
            yield connection.send(message)
        except LocalProtocolError:
            # The client broke the contract: of what was to be said only the error that says so still may.
            log.debug("left unsaid: %s", type(message).__name__)
