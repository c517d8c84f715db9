"""The wire of the Wyoming protocol, without I/O.

In: bytes of a connection. Out: events; and events as bytes. An event is a line of JSON with a `type`, then
`data_length` bytes of JSON and `payload_length` bytes of anything (https://github.com/OHF-Voice/wyoming, version 1.10).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from convo.messages import Code

from .errors import Refused

VERSION: Final = "1.10.0"
"""The version of the protocol that is spoken here."""

HEADER_BYTES: Final = 1 << 16
DATA_BYTES: Final = 1 << 20
PAYLOAD_BYTES: Final = 1 << 20


class Event(msgspec.Struct, frozen=True):
    """What one side tells the other."""

    type: str
    data: dict[str, Any] = {}
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return it as it goes over the wire."""
        data = msgspec.json.encode(self.data) if self.data else b""
        header: dict[str, Any] = {"type": self.type, "version": VERSION}
        if data:
            header["data_length"] = len(data)
        if self.payload:
            header["payload_length"] = len(self.payload)
        return msgspec.json.encode(header) + b"\n" + data + self.payload


class _Header(msgspec.Struct):
    type: str
    data: dict[str, Any] | None = None
    data_length: int | None = None
    payload_length: int | None = None


class Parser:
    """Takes bytes as they come; keeps no more than one event in memory."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header: _Header | None = None
        self._looked = 0  # bytes that hold no end of a line

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes in and yield the events that are whole.

        Raises:
            Refused: they are not events, or one is too long.
        """
        self._buffer += data
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        if self._header is None:
            end = self._buffer.find(b"\n", self._looked)
            if end < 0:
                self._looked = len(self._buffer)
                if self._looked > HEADER_BYTES:
                    raise Refused(Code.TOO_LARGE, f"The first line of an event has at most {HEADER_BYTES} bytes.")
                return None
            self._header = _header(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
            self._looked = 0
        data_length = self._header.data_length or 0
        length = data_length + (self._header.payload_length or 0)
        if len(self._buffer) < length:
            return None
        rest = bytes(self._buffer[:length])
        del self._buffer[:length]
        header, self._header = self._header, None
        return Event(header.type, {**(header.data or {}), **_object(rest[:data_length])}, rest[data_length:])


def _header(line: bytes) -> _Header:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except msgspec.DecodeError as error:
        raise Refused(Code.BAD_MESSAGE, f"This is not an event of Wyoming: {error}.") from None
    if not 0 <= (header.data_length or 0) <= DATA_BYTES or not 0 <= (header.payload_length or 0) <= PAYLOAD_BYTES:
        raise Refused(Code.TOO_LARGE, f"The data and the payload of an event have at most {DATA_BYTES} bytes each.")
    return header


def _object(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        found: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refused(Code.BAD_MESSAGE, f"The data of an event is no JSON object: {error}.") from None
    return found
