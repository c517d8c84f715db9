"""A house with connections: the real handler at one end of a stream in memory, a client at the other."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
import trio.testing

from convo.connection import NEED_DATA, Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    CreateSession,
    CreateSessionReply,
    Error,
    Hello,
    Message,
    SummaryOptions,
    Welcome,
)
from convod.listen.auth import Grant, Unauthorized
from convod.listen.limits import ConnectionLimiter
from convod.listen.link import LinkLost
from convod.listen.requests import Service
from convod.listen.serve import ConnectionHandler
from convod.listen.settings import ListenSettings
from tests.daemon.support.house import LONG_S, House, house


class MemoryLink:
    """The daemon's end of a stream in memory."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.closed: list[tuple] = []
        self.rests = False
        self.aborted = False
        self.trusted = False

    def trust(self):
        self.trusted = True

    async def receive_ready(self):
        return None

    async def receive(self, *, rest=False):
        self.rests = rest
        try:
            return bytes(await self.stream.receive_some(1 << 16)) or None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None

    async def send(self, data):
        try:
            await self.stream.send_all(b"".join(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost from error

    async def close(self, code, *, stopping=False):
        self.closed.append((code, stopping))
        await self.stream.aclose()

    def abort(self):
        self.aborted = True


class Peer:
    """A client: the real connection at the other end."""

    def __init__(self, stream, link: MemoryLink) -> None:
        self.stream, self.link = stream, link
        self.connection = Connection(Role.CLIENT, LengthPrefixed())
        self.had: list[Message] = []
        self._id = 0

    async def hello(self, token: str | None = None) -> Message | None:
        await self.send(Hello(protocol=1, client="test", token=token))
        return await self.receive()

    async def send(self, *messages: Message) -> None:
        await self.raw(b"".join(self.connection.send(message) for message in messages))

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    def numbered(self, kind, /, **fields):
        self._id += 1
        return kind(id=self._id, **fields)

    async def ask(self, kind, /, **fields) -> Message:
        request = self.numbered(kind, **fields)
        await self.send(request)
        return await self.until(lambda one: getattr(one, "id", None) == request.id)

    async def receive(self) -> Message | None:
        """The next message; None when the daemon closed."""
        with trio.fail_after(LONG_S):
            while (event := self.connection.next_event()) is NEED_DATA:
                data = await self.stream.receive_some(1 << 16)
                if not data:
                    return None
                self.connection.receive_data(bytes(data))
        assert isinstance(event, Message)
        self.had.append(event)
        return event

    async def until(self, wanted):
        while True:
            event = await self.receive()
            assert event is not None, "the daemon closed the connection"
            if wanted(event):
                return event

    async def rest(self) -> list[Message]:
        """All that comes before the daemon closes."""
        messages = []
        while (event := await self.receive()) is not None:
            messages.append(event)
        return messages


class Hall:
    """A house with a door: connections to its sessions."""

    def __init__(self, home: House, nursery: trio.Nursery) -> None:
        self.home, self.nursery = home, nursery
        self.service = Service(home.manager, home.summarizers, ConnectionLimiter(), lambda: home.settings)  # type: ignore[arg-type]
        if self.service.forwarder is not None:
            nursery.start_soon(self.service.forwarder.run)
        self.connections = 0
        self.left = trio.Event()

    def connect(
        self,
        *,
        pair=trio.testing.memory_stream_pair,
        token: str = "",
        owner: str = "me",
        host: str = "10.0.0.1",
        grant: Grant | None = None,
        **settings,
    ) -> Peer:
        ours, theirs = pair()
        link = MemoryLink(ours)

        granted = grant or Grant(owner)

        async def authenticate(given: str | None) -> Grant:
            if (given or "") != token:
                raise Unauthorized("The token is wrong or missing; send the right one.")
            return granted

        async def run() -> None:
            self.connections += 1
            with self.service.limiter.slot(ListenSettings(**settings), "peer", host) as slot:
                connection = Connection(Role.SERVER, LengthPrefixed())
                await ConnectionHandler(link, connection, authenticate, self.service, slot).run()
            self.connections -= 1
            self.left.set()

        self.nursery.start_soon(run)
        return Peer(theirs, link)

    async def client(self, **options) -> Peer:
        peer = self.connect(**options)
        assert isinstance(await peer.hello(options.get("token")), Welcome)
        return peer

    async def live(self, peer: Peer, **fields) -> CreateSessionReply:
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"), **fields)
        assert isinstance(created, CreateSessionReply), created
        return created


@asynccontextmanager
async def hall(tmp_path, **settings):
    async with house(tmp_path, **settings) as home, trio.open_nursery() as nursery:
        yield Hall(home, nursery)
        nursery.cancel_scope.cancel()


def of(code: str):
    return lambda message: isinstance(message, Error) and message.code == code
