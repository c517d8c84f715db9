"""WebSockets for tests: a server that echoes on a free port, a link in memory, clients of both.

The client that speaks to the server is trio-websocket's; the one in memory writes its frames with wsproto, so that it
can send what no library would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import trio
import trio.testing
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Request

from convo.address import parse
from convo.messages import WEBSOCKET_SUBPROTOCOL, Code
from convod.listen import tcp
from convod.listen.limits import ConnectionLimiter, Slot
from convod.listen.pace import READ_BYTES, PacedStream
from convod.listen.settings import ListenSettings
from convod.listen.websocket import MeteredStream, WebSocketLink

PATIENCE_S = 60

SETTINGS = ListenSettings()


class EchoServer:
    """Listens on a free port and echoes, until cancelled."""

    def __init__(self, token: str = "", origins: Sequence[str] = ()) -> None:
        self.token = token
        self.origins = list(origins)
        self.links: list[WebSocketLink] = []
        self.close_with: Code | None = None
        self.stopping = False
        self.broken = False

    async def serve(self, link: WebSocketLink, slot: Slot) -> None:
        self.links.append(link)
        if self.broken:
            raise RuntimeError("oh")
        link.trust()
        while (data := await link.receive()) is not None:
            if data == b"close":
                break
            await link.send([data, b"!"])
        await link.close(self.close_with, stopping=self.stopping)

    async def start(self, nursery: trio.Nursery, limit: int = 1000) -> str:
        """Listen; returns the url."""
        settings = ListenSettings(message_bytes=limit, token=self.token, origins=self.origins)
        bound = await tcp.bind(parse("ws://127.0.0.1:0"))
        endpoint = tcp.WebSocketEndpoint(lambda: settings, lambda: bool(self.token), ConnectionLimiter(), self.serve)
        nursery.start_soon(tcp.listen, bound, endpoint)
        return bound.url


def port_of(url: str) -> int:
    """The port of a url."""
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def opened(url: str, *subprotocols: str) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A client whose socket is closed at the end, whoever closed first (`open_websocket_url` may leave it open)."""
    port = port_of(url)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        client = await trio_websocket.wrap_client_stream(
            nursery, stream, f"127.0.0.1:{port}", "/any/path", subprotocols=list(subprotocols)
        )
        yield client
        await client.aclose()
        nursery.cancel_scope.cancel()


class _CountedStream(PacedStream):
    read = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await super().receive_some(max_bytes)
        self.read += len(data)
        return data


class LinkInMemory:
    """A link, and the client at its other end. What the client is sent is in `had`, with trio's time."""

    def __init__(self) -> None:
        self.here, self.stream = trio.testing.memory_stream_pair()
        self.client = WSConnection(ConnectionType.CLIENT)
        self.aborted: list[float] = []
        self.had: list[tuple[float, Event]] = []
        self._paced = _CountedStream(self.here, abort=self._abort)

    @property
    def read(self) -> int:
        """Bytes that the daemon has read."""
        return self._paced.read

    @property
    def close_codes(self) -> list[int]:
        """Those that the client was sent."""
        return [event.code for _, event in self.had if isinstance(event, CloseConnection)]

    async def shake_hands(
        self, nursery: trio.Nursery, pause: Callable[[int, int], float] = lambda size, messages: 0.0
    ) -> WebSocketLink:
        """Do the handshake; the library's reader and the client's run in `nursery`."""
        metered = MeteredStream(self._paced, stall_s=SETTINGS.stall_s, pause=pause, abort=self._paced.abort)
        asked = Request(host="localhost", target="/", subprotocols=[WEBSOCKET_SUBPROTOCOL])
        await self.stream.send_all(self.client.send(asked))
        request = await trio_websocket.wrap_server_stream(
            nursery, metered, message_queue_size=0, max_message_size=1 << 20, receive_buffer_size=READ_BYTES
        )
        websocket = await request.accept(subprotocol=WEBSOCKET_SUBPROTOCOL)
        metered.answered()
        nursery.start_soon(self._receive)
        await trio.testing.wait_all_tasks_blocked()
        assert [type(event) for _, event in self.had] == [AcceptConnection]
        self.had.clear()
        return WebSocketLink(websocket, metered, self._paced)

    async def _receive(self) -> None:
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while data := await self.stream.receive_some():
                self.client.receive_data(bytes(data))
                self.had += [(trio.current_time(), event) for event in self.client.events()]

    def _abort(self) -> None:
        self.aborted.append(trio.current_time())
        self.here.send_stream.close()
        self.here.receive_stream.close()

    async def send(self, *events: Event) -> int:
        """Send these; returns the number of bytes."""
        data = b"".join(map(self.client.send, events))
        await self.stream.send_all(data)
        await trio.testing.wait_all_tasks_blocked()
        return len(data)
