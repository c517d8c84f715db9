"""Moves bytes between a stream and an `Exchange`: what trio and asyncio clients have in common.

In: a stream that either loop made. Out: an exchange whose handshake is on its way, and coroutines for the
reader, the writer and the end. This module imports no loop and never looks into a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .address import Address
from .client_core import RECEIVE_BYTES, ClientCore
from .errors import ConnectionLost
from .exchange import Exchange, NewEvent
from .framing import Framing, LengthPrefixed

if TYPE_CHECKING:
    from .websocket import WebSocketFraming

READ_BYTES = 1 << 16

CLOSE_SECONDS = 2.0
"""For what was handed over to be written, and for the daemon's own goodbye."""

GONE = "The daemon closed the connection."


class Stream(Protocol):
    """A byte stream; its errors are ConnectionLost."""

    async def send(self, data: bytes) -> None:
        """Write all of it."""

    async def receive(self) -> bytes:
        """What came, empty at the end."""


async def open_exchange(
    stream: Stream, address: Address, *, client: str, token: str | None, new_event: NewEvent
) -> Exchange:
    """Shake hands as a WebSocket where that is wanted; the contract's own handshake is in the outbox.

    Raises:
        ConnectionLost: the other side does not want this WebSocket, or went away.
    """
    framing: Framing = LengthPrefixed(RECEIVE_BYTES)
    websocket: WebSocketFraming | None = None
    if address.scheme != "unix":
        from .websocket import WebSocketFraming  # not needed for the usual Unix socket, and slow to import

        framing = websocket = WebSocketFraming(address, RECEIVE_BYTES)
        await stream.send(websocket.data_to_send())
        while not websocket.opened:
            data = await stream.receive()
            if not data:
                raise ConnectionLost("It closed the connection during the handshake.")
            websocket.receive_data(data)
            if websocket.ended is not None:
                raise ConnectionLost(websocket.ended)
    return Exchange(ClientCore(framing, client=client, token=token), new_event, websocket)


async def read(stream: Stream, exchange: Exchange) -> None:
    """Give the exchange what comes, until nothing more does."""
    try:
        while not exchange.core.lost:
            data = await stream.receive()
            if data:
                exchange.received(data)
            else:
                exchange.lost(GONE)
    except ConnectionLost as error:
        exchange.lost(str(error))


async def write(stream: Stream, exchange: Exchange) -> None:
    """Write what the exchange has, one message whole after the other."""
    try:
        while True:
            await stream.send(await exchange.next_outgoing())
            exchange.written()
    except ConnectionLost:
        pass  # the reader sees the end too, after what the daemon may have said about it


async def finish(exchange: Exchange) -> None:
    """Return once everything is written and, for a WebSocket, both sides said goodbye."""
    await exchange.drained()
    if exchange.say_goodbye():
        await exchange.drained()
        await exchange.wait_lost()
