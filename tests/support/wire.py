"""The contract spoken by hand, for what a good client would never send: bytes, maps, frames, WebSocket messages.

In: payloads, or plain maps to be made payloads of. Out: the maps that come back. Nothing is checked, nothing is
waited for that was not asked for, and none of the project's own protocol code takes part.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import msgpack
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

Map = dict[str, Any]

HELLO: Map = {"type": "hello", "protocol": 1, "client": "by hand"}


class Wire:
    """One connection. `passed` are messages that came while another was waited for, in order."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._numbers = 0
        self.passed: list[Map] = []
        self.close_code: int | None = None

    # --- a transport says how ---

    async def send_payload(self, *payloads: bytes) -> None:
        """Send whole messages, in one go."""
        raise NotImplementedError

    async def _next_payload(self) -> bytes | None:
        raise NotImplementedError

    # --- bytes ---

    async def send_raw(self, data: bytes) -> None:
        """Bytes as they are. The other side may close meanwhile: what it said before can still be read."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def receive_raw(self) -> bytes:
        """Some bytes, none at the end."""
        try:
            return bytes(await self.stream.receive_some(1 << 16))
        except trio.BrokenResourceError:
            return b""

    async def cut(self) -> None:
        """Be gone, without a word."""
        await trio.aclose_forcefully(self.stream)

    # --- maps ---

    async def send(self, *messages: Map) -> None:
        """Send maps, in one go."""
        await self.send_payload(*(msgpack.packb(message) for message in messages))

    async def receive(self) -> Map | None:
        """The next message, None when the connection has ended."""
        payload = await self._next_payload()
        return None if payload is None else msgpack.unpackb(payload)

    async def hello(self, **fields: Any) -> Map:
        """Shake hands; the answer."""
        await self.send(HELLO | fields)
        answer = await self.receive()
        assert answer is not None, "closed without an answer to hello"
        return answer

    async def wait(self, wanted: Callable[[Map], bool]) -> Map:
        """The next message for which `wanted` is true; the others go to `passed`."""
        while (message := await self.receive()) is not None:
            if wanted(message):
                return message
            self.passed.append(message)
        raise AssertionError(f"the connection ended; before that came {self.passed[-5:]}")

    async def ask(self, kind: str, /, **fields: Any) -> Map:
        """A request, and its answer."""
        self._numbers += 1
        number = self._numbers
        await self.send({"type": kind, "id": number, **fields})
        return await self.wait(lambda message: message.get("id") == number)

    async def wait_error(self) -> Map:
        """The next error."""
        return await self.wait(lambda message: message["type"] == "error")

    async def wait_end(self) -> list[Map]:
        """What still comes until the other side closes."""
        rest = []
        while (message := await self.receive()) is not None:
            rest.append(message)
        return rest


class UnixWire(Wire):
    """Frames that carry their length."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self._buffer = bytearray()

    async def send_payload(self, *payloads: bytes) -> None:
        await self.send_raw(b"".join(struct.pack(">I", len(payload)) + payload for payload in payloads))

    async def _next_payload(self) -> bytes | None:
        while True:
            if len(self._buffer) >= 4:
                end = 4 + struct.unpack_from(">I", self._buffer)[0]
                if len(self._buffer) >= end:
                    payload = bytes(self._buffer[4:end])
                    del self._buffer[:end]
                    return payload
            data = await self.receive_raw()
            if not data:
                assert not self._buffer, "the last message was cut"
                return None
            self._buffer += data


class WebWire(Wire):
    """Binary messages of a WebSocket."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self._socket = WSConnection(ConnectionType.CLIENT)
        self._payloads: list[bytes] = []
        self._partial = b""
        self._ended = False
        self.status = 0
        self.rejection = b""

    async def open(self, authority: str, subprotocols: list[str]) -> None:
        """The opening handshake; `status` is what HTTP answered."""
        await self.send_raw(self._socket.send(Request(host=authority, target="/", subprotocols=subprotocols)))
        while not self._ended and self.status != 101:
            await self._read()

    async def send_payload(self, *payloads: bytes) -> None:
        await self.send_raw(b"".join(self._socket.send(BytesMessage(data=payload)) for payload in payloads))

    async def send_text(self, text: str) -> None:
        """A text message: there is none in the contract."""
        await self.send_raw(self._socket.send(TextMessage(data=text)))

    async def _next_payload(self) -> bytes | None:
        while not self._payloads and not self._ended:
            await self._read()
        return self._payloads.pop(0) if self._payloads else None

    async def _read(self) -> None:
        data = await self.receive_raw()
        self._ended = self._ended or not data
        self._socket.receive_data(data or None)
        for event in self._socket.events():
            match event:
                case AcceptConnection():
                    self.status = 101
                case RejectConnection():
                    self.status = event.status_code
                case RejectData():
                    self.rejection += bytes(event.data)
                case BytesMessage():
                    self._partial += event.data
                    if event.message_finished:
                        self._payloads.append(self._partial)
                        self._partial = b""
                case Ping():
                    await self.send_raw(self._socket.send(event.response()))
                case CloseConnection():
                    if self.close_code is None:
                        self.close_code = event.code
                        await self.send_raw(self._socket.send(event.response()))


@asynccontextmanager
async def wired(url: str, *, subprotocols: tuple[str, ...] = ("convo.v1",), hello: bool = True) -> AsyncIterator[Any]:
    """A connection to `unix:PATH` or `ws://HOST:PORT`, greeted unless `hello` is False."""
    scheme, _, rest = url.partition(":")
    wire: Wire
    if scheme == "unix":
        wire = UnixWire(await trio.open_unix_socket(rest))
    else:
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        wire = web = WebWire(await trio.open_tcp_stream(place.hostname, place.port))
        await web.open(place.netloc, list(subprotocols))
    try:
        if hello:
            answer = await wire.hello()
            assert answer["type"] == "welcome", answer
        yield wire
    finally:
        await wire.cut()


def shaken_hands() -> tuple[WSConnection, WSConnection, bytes]:
    """Both sides of a WebSocket whose handshake is done, client and server; and the request it began with."""
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    request = client.send(Request(host="localhost", target="/", subprotocols=["convo.v1"]))
    server.receive_data(request)
    assert len(list(server.events())) == 1
    client.receive_data(server.send(AcceptConnection(subprotocol="convo.v1")))
    assert len(list(client.events())) == 1
    return client, server, request
