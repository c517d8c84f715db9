"""How a message is written: MessagePack maps for programs, JSON objects for people and browsers.

In: the bytes of one message, or a typed message. Out: a plain map, or bytes. A JSON connection sends the audio of its
one session as plain binary messages, so its codec remembers which session that is and how far its audio has come.
This module never touches a socket.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import Any, Final, Protocol

import msgpack  # type: ignore[import-untyped]
import msgspec

from . import messages
from .messages import AttachReply, Audio, CreateSessionReply, Error, Message, Reply

RAW: Final = b"\0"
"""Stands before the bytes of a binary message on a JSON connection: no JSON text begins so."""

_LARGEST_ID: Final = (1 << 64) - 1

_AUDIO: Final = b"\xa4type\xa5audio"
"""How an audio message begins behind the map's header, if its kind is its first field."""


class Unreadable(ValueError):
    """These bytes are not a message in this encoding."""


class Codec(Protocol):
    """An encoding of messages; `what` is what a message is called in it."""

    what: str

    def decode(self, payload: bytes) -> Any:
        """Return plain values.

        Raises:
            Unreadable: the bytes are not a message.
        """

    def audio(self, payload: bytes) -> Audio | None:
        """Return an audio message, decoded in one step; None for anything else, and for what `decode` must explain."""

    def encode(self, message: Message) -> bytes:
        """The bytes of a message."""


class MessagePack:
    """One map a message. `items`: most that a list or map may hold.

    A list announces its length, and the decoder makes room for it before it reads on: lists in lists that
    announce much and hold nothing would take gigabytes.
    """

    what = "MessagePack map"

    def __init__(self, items: int) -> None:
        self._items = items

    def decode(self, payload: bytes) -> Any:
        """Plain values; audio is bytes."""
        try:
            return msgpack.unpackb(
                payload, raw=False, strict_map_key=True, max_array_len=self._items, max_map_len=self._items
            )
        except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
            # Everything that msgpack raises for bytes that are none, or nested too deep, or cut, or too many.
            raise Unreadable(str(error)) from error

    def audio(self, payload: bytes) -> Audio | None:
        """The audio message that the bytes are: fifty a second come from every microphone."""
        if payload[1 : 1 + len(_AUDIO)] != _AUDIO:
            return None
        try:
            return _audio_decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def encode(self, message: Message) -> bytes:
        """The bytes of a message."""
        return messages.encode(message)


class Json:
    """One object a text message; binary messages are audio. For the daemon's end of a connection."""

    what = "JSON object"

    def __init__(self) -> None:
        self._asked: set[int] = set()  # requests that may make a session the connection's own
        self._attaching: dict[int, str] = {}
        self._session = ""
        self._offset = 0

    @property
    def remembered(self) -> int:
        """How many requests are remembered until they are answered."""
        return len(self._asked) + len(self._attaching)

    def decode(self, payload: bytes) -> Any:
        """Plain values. Audio, raw or as base64 in `data`, is bytes."""
        if payload.startswith(RAW):
            return self._audio(payload[1:])
        try:
            fields = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unreadable(str(error)) from error
        if isinstance(fields, dict):
            self._note(fields)
            data = fields.get("data")
            if fields.get("type") == "audio" and isinstance(data, str):
                with contextlib.suppress(binascii.Error, ValueError):  # it stays a text, which is refused by its field
                    fields["data"] = base64.b64decode(data, validate=True)
        return fields

    def encode(self, message: Message) -> bytes:
        """The bytes of a message."""
        if isinstance(message, Reply | Error) and message.id is not None:
            self._answered(message.id, message)
        return msgspec.json.encode(message)

    def audio(self, payload: bytes) -> Audio | None:
        """None: the next message's offset hangs on this one's."""
        return None

    def _audio(self, data: bytes) -> dict[str, Any]:
        fields: dict[str, Any] = {"type": "audio", "offset": self._offset, "data": data}
        if self._session:  # without one it is refused, as a field is missing
            fields["session"] = self._session
            self._offset += len(data)
        return fields

    def _note(self, fields: dict[str, Any]) -> None:
        number, kind, session = fields.get("id"), fields.get("type"), fields.get("session")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _LARGEST_ID:
            return
        if kind == "create_session":
            self._asked.add(number)
        elif kind == "attach" and fields.get("produce") is True and isinstance(session, str):
            self._attaching[number] = session

    def _answered(self, number: int, answer: Message) -> None:
        created, attached = number in self._asked, self._attaching.pop(number, None)
        self._asked.discard(number)
        if created and isinstance(answer, CreateSessionReply):
            self._session, self._offset = answer.session, 0
        elif attached is not None and isinstance(answer, AttachReply):
            self._session, self._offset = attached, answer.audio_offset


_audio_decoder = msgspec.msgpack.Decoder(Audio)
