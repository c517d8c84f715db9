"""A WebSocket's client side without a socket: a framing for `Connection`, with its own handshake and control frames.

In: bytes of the stream below. Out: whole messages, and the bytes that a WebSocket sends by itself (the upgrade, pongs,
closes). This module never reads a message; wsproto parses the frames.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from .address import Address
from .errors import ConnectionLost, FrameTooLarge
from .messages import WEBSOCKET_SUBPROTOCOL


class WebSocketFraming:
    """Messages of a WebSocket whose bytes come from a stream of any kind.

    Send `data_to_send` first, pass what comes to `receive_data`, and send `data_to_send` again, until `opened`.
    """

    def __init__(self, address: Address, limit: int) -> None:
        self.limit = limit
        self.opened = False
        self.ended: str | None = None
        """Why it has ended, as a sentence; None while it is open."""
        self._websocket = WSConnection(ConnectionType.CLIENT)
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._to_send = [
            self._websocket.send(
                Request(host=address.authority, target=address.path, subprotocols=[WEBSOCKET_SUBPROTOCOL])
            )
        ]

    @property
    def buffered(self) -> int:
        """Bytes of received messages that are held."""
        return len(self._partial) + sum(map(len, self._messages))

    def data_to_send(self) -> bytes:
        """Return the bytes that the WebSocket itself sends, perhaps none."""
        data = b"".join(self._to_send)
        self._to_send.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream, in pieces of any size."""
        if self.ended is not None:
            return
        try:
            self._websocket.receive_data(data)
            for event in self._websocket.events():
                if self.ended is not None:
                    break
                match event:
                    case AcceptConnection():
                        self._accepted(event)
                    case RejectConnection():
                        self.ended = f"It refused the WebSocket with HTTP {event.status_code}."
                    case BytesMessage():
                        self._message(event)
                    case TextMessage():
                        # The contract has no text messages here: the connection refuses an empty one.
                        self._messages.append(b"")
                    case Ping():
                        self._to_send.append(self._websocket.send(event.response()))
                    case CloseConnection():
                        self._closed(event)
        except RemoteProtocolError as error:
            self.ended = f"It does not speak WebSocket: {str(error).rstrip('.')}."

    def next_frame(self) -> bytes | None:
        """Return the next whole message, None if there is none yet; raise FrameTooLarge once one is above the limit."""
        if self._messages:
            return self._messages.popleft()
        if len(self._partial) > self.limit:
            raise FrameTooLarge(len(self._partial), self.limit)
        return None

    def wrap(self, payload: bytes) -> bytes:
        """Return the payload as one binary message.

        Raises:
            ConnectionLost: the WebSocket is closed.
        """
        try:
            return self._websocket.send(BytesMessage(data=payload))
        except LocalProtocolError:
            raise ConnectionLost(self.ended or "The WebSocket is closed.") from None

    def close(self) -> None:
        """Put a close frame with code 1000 into the next `data_to_send`, unless one side has closed already."""
        with suppress(LocalProtocolError):  # one side has
            self._to_send.append(self._websocket.send(CloseConnection(code=1000)))

    def _accepted(self, event: AcceptConnection) -> None:
        if event.subprotocol == WEBSOCKET_SUBPROTOCOL:
            self.opened = True
        else:
            self.ended = f"It does not speak the subprotocol {WEBSOCKET_SUBPROTOCOL}."

    def _message(self, event: BytesMessage) -> None:
        if len(self._partial) > self.limit:
            return  # refused already: what it goes on sending is not kept
        self._partial += event.data
        if event.message_finished and len(self._partial) <= self.limit:
            self._messages.append(bytes(self._partial))
            self._partial.clear()

    def _closed(self, event: CloseConnection) -> None:
        reason = f": {event.reason.rstrip('.')}" if event.reason else ""
        self.ended = f"The WebSocket was closed with code {event.code}{reason}."
        with suppress(LocalProtocolError):  # this was the answer to our own close frame
            self._to_send.append(self._websocket.send(event.response()))
