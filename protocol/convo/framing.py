"""Where one message ends and the next begins: bytes of a stream, or whole WebSocket messages.

In: bytes as a socket gave them. Out: the payload of one message at a time, and payloads made ready to be sent.
This module never reads a payload, and holds at most one message and one read of bytes: a caller takes frames
until `next_frame` says None before it gives more.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Protocol

from .errors import FrameTooLarge
from .messages import MESSAGE_BYTES

_HEADER = struct.Struct(">I")


class Framing(Protocol):
    """What a connection needs to know about its transport. `limit` is the largest payload in bytes."""

    limit: int

    def receive_data(self, data: bytes) -> None:
        """Take what the transport gave.

        Raises:
            BufferError: whole frames were left untaken and would pile up.
        """

    def next_frame(self) -> bytes | None:
        """The payload of the next whole message, None if more bytes are needed.

        Raises:
            FrameTooLarge: the next message is above the limit; it stays there, so nothing follows it.
        """

    def wrap(self, payload: bytes) -> bytes:
        """The bytes that carry one message of this payload."""


class LengthPrefixed:
    """Frames of a byte stream: a big-endian unsigned 32-bit length N, then N bytes."""

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes that are held."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream, in pieces of any size."""
        if len(self._buffer) >= _HEADER.size and self._announced() > self.limit:
            return  # refused already: what it goes on sending is not kept
        if len(self._buffer) > _HEADER.size + self.limit:
            raise BufferError("Take the frames that are here before giving more bytes.")
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next payload, None if its bytes are not all here; FrameTooLarge as soon as its length is."""
        if len(self._buffer) < _HEADER.size:
            return None
        size = self._announced()
        if size > self.limit:
            raise FrameTooLarge(size, self.limit)
        end = _HEADER.size + size
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
        del self._buffer[:end]
        return payload

    def wrap(self, payload: bytes) -> bytes:
        """The payload behind its length."""
        return _HEADER.pack(len(payload)) + payload

    def _announced(self) -> int:
        size: int = _HEADER.unpack_from(self._buffer)[0]
        return size


class WholeMessages:
    """Messages of a transport that keeps their borders: one binary WebSocket message is one payload."""

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self.limit = limit
        self._messages: deque[bytes] = deque()
        self._size = 0

    @property
    def buffered(self) -> int:
        """Bytes that are held."""
        return sum(map(len, self._messages))

    def receive_data(self, data: bytes) -> None:
        """Take one whole message."""
        if self._size > self.limit:
            if len(self._messages[0]) > self.limit:
                return  # refused already: what it goes on sending is not kept
            raise BufferError("Take the messages that are here before giving more.")
        self._messages.append(data)
        self._size += max(len(data), 1)

    def next_frame(self) -> bytes | None:
        """The next message, None if there is none."""
        if not self._messages:
            return None
        size = len(self._messages[0])
        if size > self.limit:
            raise FrameTooLarge(size, self.limit)
        self._size -= max(size, 1)
        return self._messages.popleft()

    def wrap(self, payload: bytes) -> bytes:
        """The payload as it is."""
        return payload
