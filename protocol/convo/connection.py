"""One end of a connection: bytes in, messages out, and the other way round; the order of messages kept.

In: bytes from a transport, messages to be sent. Out: typed messages, bytes for the transport, and a `phase`.
This module never reads a socket, a clock or a file; `convo.transport` and the daemon's listeners do that around it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final, NamedTuple

import msgspec

from . import messages
from .codec import Codec, MessagePack, Unreadable
from .errors import FrameTooLarge, LocalProtocolError, RemoteProtocolError
from .explain import shown, validation_message
from .framing import Framing
from .messages import (
    FROM_CLIENT,
    FROM_SERVER,
    MESSAGE_BYTES,
    PROTOCOL,
    AnswerProgress,
    Audio,
    Code,
    Error,
    Event,
    Hello,
    Message,
    ModelProgress,
    Reply,
    Request,
    Welcome,
)


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = auto()
    SERVER = auto()


class Phase(Enum):
    """How far a connection has come."""

    HANDSHAKE = auto()
    OPEN = auto()
    CLOSED = auto()


class Need(Enum):
    """What `next_event` says when there is no event."""

    DATA = auto()


NEED_DATA: Final = Need.DATA
"""No whole message is here; call `receive_data`."""


class Malformed(NamedTuple):
    """A client's message that cannot be done; the connection goes on once `error` was sent."""

    error: Error


class _Kind(Enum):
    HELLO = auto()
    WELCOME = auto()
    REQUEST = auto()
    AUDIO = auto()
    REPLY = auto()
    EVENT = auto()
    REFUSAL = auto()  # an error about one request, one session's audio or one message
    GOODBYE = auto()  # an error about the connection


# The theory. A connection has one phase, the same at both ends but for the time that bytes travel. The table says who
# may send what in which phase. Only two kinds of message change it: a welcome opens it, an error about the
# connection itself closes it. During the handshake all errors are of that kind. A server waits for hello before
# it sends welcome: that is the one fact beside the phase, `_greeted`. Nothing leaves CLOSED, but a server that
# closed because the client broke the contract may still say so, once: `_last_word`.
_NEXT: dict[tuple[Phase, Role], dict[_Kind, Phase]] = {
    (Phase.HANDSHAKE, Role.CLIENT): {_Kind.HELLO: Phase.HANDSHAKE},
    (Phase.HANDSHAKE, Role.SERVER): {
        _Kind.WELCOME: Phase.OPEN,
        _Kind.REFUSAL: Phase.CLOSED,
        _Kind.GOODBYE: Phase.CLOSED,
    },
    (Phase.OPEN, Role.CLIENT): {_Kind.REQUEST: Phase.OPEN, _Kind.AUDIO: Phase.OPEN},
    (Phase.OPEN, Role.SERVER): {
        _Kind.REPLY: Phase.OPEN,
        _Kind.EVENT: Phase.OPEN,
        _Kind.REFUSAL: Phase.OPEN,
        _Kind.GOODBYE: Phase.CLOSED,
    },
    (Phase.CLOSED, Role.CLIENT): {},
    (Phase.CLOSED, Role.SERVER): {},
}

_LARGEST_ID = (1 << 64) - 1

# No client's message has a list this long.
_CLIENT_ITEMS = 1 << 12
_SERVER_ITEMS = 1 << 20


class Connection:
    """A state machine for one end of a connection.

    A server calls `receive_data` with what came, `next_event` until it says NEED_DATA, and sends the bytes that
    `send` makes of its answers. A hello is to be answered, by Welcome or Error, before the next `next_event`.
    A client does the same, and numbers its requests (`id` from 1, unique among those in flight).
    `codec` is MessagePack unless another is given.
    """

    def __init__(self, role: Role, framing: Framing, codec: Codec | None = None) -> None:
        self._role = role
        self._codec = codec or MessagePack(_CLIENT_ITEMS if role is Role.SERVER else _SERVER_ITEMS)
        self._framing = framing
        self._phase = Phase.HANDSHAKE
        self._greeted = False
        self._last_word = False
        self._in_flight: dict[int, type[Reply]] = {}
        self._send_limit: int | None = MESSAGE_BYTES if role is Role.CLIENT else None

    @property
    def role(self) -> Role:
        """Which end this is."""
        return self._role

    @property
    def phase(self) -> Phase:
        """HANDSHAKE, OPEN or CLOSED."""
        return self._phase

    def receive_data(self, data: bytes) -> None:
        """Take what the transport gave: bytes of a stream, or one whole WebSocket message."""
        if self._phase is not Phase.CLOSED:
            self._framing.receive_data(data)

    def limit_messages(self, size: int) -> None:
        """Take messages of at most this many bytes from now on."""
        self._framing.limit = size

    def next_event(self) -> Message | Malformed | Need:
        """The next message from the other side, NEED_DATA if none is here (or the connection is closed).

        Raises:
            RemoteProtocolError: the other side broke the contract; the phase is CLOSED, and a server may still
                send the error's `reply`.
            LocalProtocolError: a hello waits for its answer.
        """
        if self._role is Role.SERVER and self._greeted and self._phase is Phase.HANDSHAKE:
            raise LocalProtocolError("Answer the hello with Welcome or Error before the next event.")
        while self._phase is not Phase.CLOSED:
            try:
                payload = self._framing.next_frame()
                if payload is None:
                    break
                event = self._read(payload)
            except FrameTooLarge as error:
                raise self._broken(Code.TOO_LARGE, str(error)) from None
            if event is not None:
                return event
        return NEED_DATA

    def send(self, message: Message) -> bytes:
        """The bytes that carry a message; the phase moves as if they had been sent.

        Raises:
            LocalProtocolError: the contract does not let this side send this message now.
        """
        kind = _kind(message)
        if self._last_word and kind in (_Kind.REFUSAL, _Kind.GOODBYE):
            self._last_word = False
            return self._framing.wrap(self._codec.encode(message))
        phase = _NEXT[self._phase, self._role].get(kind)
        if phase is None:
            raise LocalProtocolError(
                f"A {self._role.name.lower()} does not send {type(message).__name__} "
                f"while the connection is in {self._phase.name}."
            )
        if kind is _Kind.HELLO and self._greeted:
            raise LocalProtocolError("A client says hello once.")
        if kind is _Kind.WELCOME and not self._greeted:
            raise LocalProtocolError("A server says welcome once hello has come.")
        if isinstance(message, Request):
            self._check_request_id(message.id)
        data = self._encode(message)
        if isinstance(message, Request):
            self._in_flight[message.id] = message.Reply
        self._greeted = self._greeted or kind is _Kind.HELLO
        self._phase = phase
        return data

    def close(self) -> None:
        """The transport is gone, or is about to be: nothing is read or sent any more."""
        self._phase = Phase.CLOSED
        self._last_word = False

    # --- reading ------------------------------------------------------------------------------------------

    def _read(self, payload: bytes) -> Message | Malformed | None:
        if self._role is Role.CLIENT:
            return self._from_server(self._unpack(payload))
        if self._phase is Phase.OPEN and (audio := self._codec.audio(payload)) is not None:
            return audio
        return self._from_client(self._unpack(payload))

    def _unpack(self, payload: bytes) -> dict[str, Any]:
        what = self._codec.what
        try:
            fields = self._codec.decode(payload)
        except Unreadable as error:
            raise self._broken(Code.BAD_MESSAGE, f"This is not a {what} with string keys; send one.") from error
        if not isinstance(fields, dict) or not {str}.issuperset(map(type, fields)):
            raise self._broken(Code.BAD_MESSAGE, f"A message is a {what} with string keys; send one.")
        if not isinstance(fields.get("type"), str):
            raise self._broken(Code.BAD_MESSAGE, "A message names its kind in a string `type`; add it.")
        return fields

    def _from_client(self, fields: dict[str, Any]) -> Message | Malformed:
        name = fields["type"]
        if not self._greeted:
            return self._hello(fields)
        if name == "hello":
            return Malformed(
                Error(code=Code.BAD_MESSAGE, message="The handshake is done; send hello once.", id=_id(fields))
            )
        struct = FROM_CLIENT.get(name)
        if struct is None:
            return Malformed(
                Error(
                    code=Code.BAD_MESSAGE,
                    message=f"{shown(name)} is not a message of a client; use a type that SPEC.md names.",
                    id=_id(fields),
                )
            )
        number, session = _id(fields), None
        if struct is Audio:
            number, session = None, fields.get("session")
        elif number is None:
            text = f"{name}: id must be an unsigned integer below 2**64; give each request its own."
            return Malformed(Error(code=Code.BAD_REQUEST, message=text))
        try:
            return messages.from_map(fields, struct)
        except (msgspec.ValidationError, RecursionError) as error:
            about = session if isinstance(session, str) else None
            text = validation_message(name, struct, error)
            return Malformed(Error(code=Code.BAD_REQUEST, message=text, id=number, session=about))

    def _hello(self, fields: dict[str, Any]) -> Message:
        if fields["type"] != "hello":
            raise self._broken(Code.HELLO_EXPECTED, "Say hello before anything else.")
        protocol = fields.get("protocol")
        if protocol != PROTOCOL or isinstance(protocol, bool):
            raise self._broken(
                Code.UNSUPPORTED_PROTOCOL,
                f"This side speaks protocol {PROTOCOL}; say hello with protocol={PROTOCOL}.",
            )
        try:
            hello = messages.from_map(fields, Hello)
        except (msgspec.ValidationError, RecursionError) as error:
            raise self._broken(Code.BAD_MESSAGE, validation_message("hello", Hello, error)) from None
        self._greeted = True
        return hello

    def _from_server(self, fields: dict[str, Any]) -> Message | None:
        name = fields["type"]
        if name == "ok":
            return self._reply(fields)
        struct = FROM_SERVER.get(name)
        if struct is None:
            return None  # a newer daemon's event
        message = self._typed(fields, struct)
        if isinstance(message, Error) and message.id is not None and self._phase is Phase.OPEN:
            self._answered(message.id)
        phase = _NEXT[self._phase, Role.SERVER].get(_kind(message))
        if phase is None:
            raise self._broken(Code.BAD_MESSAGE, f"The daemon sent {name} in {self._phase.name}.")
        if isinstance(message, Welcome):
            if message.protocol != PROTOCOL:
                raise self._broken(
                    Code.UNSUPPORTED_PROTOCOL,
                    f"The daemon speaks protocol {message.protocol}, this client {PROTOCOL}; update the older.",
                )
            self._send_limit = message.limits.message_bytes
        self._phase = phase
        return message

    def _reply(self, fields: dict[str, Any]) -> Message:
        if self._phase is not Phase.OPEN:
            raise self._broken(Code.BAD_MESSAGE, f"The daemon sent ok in {self._phase.name}.")
        number = _id(fields)
        if number is None:
            raise self._broken(Code.BAD_MESSAGE, "The daemon sent an ok without the id of a request.")
        return self._typed(fields, self._answered(number))

    def _answered(self, number: int) -> type[Reply]:
        try:
            return self._in_flight.pop(number)
        except KeyError:
            raise self._broken(
                Code.BAD_MESSAGE, f"The daemon answered request {number}, which is not in flight."
            ) from None

    def _typed(self, fields: dict[str, Any], struct: type[Message]) -> Message:
        try:
            return messages.from_map(fields, struct)
        except (msgspec.ValidationError, RecursionError) as error:
            raise self._broken(Code.BAD_MESSAGE, validation_message(fields["type"], struct, error)) from None

    def _broken(self, code: Code, message: str) -> RemoteProtocolError:
        self._phase = Phase.CLOSED
        self._last_word = self._role is Role.SERVER
        return RemoteProtocolError(code, message)

    # --- sending ------------------------------------------------------------------------------------------

    def _check_request_id(self, number: int) -> None:
        if not 1 <= number <= _LARGEST_ID:
            raise LocalProtocolError("A request needs an id from 1 to 2**64 - 1.")
        if number in self._in_flight:
            raise LocalProtocolError(f"Request {number} is still in flight; use another id.")

    def _encode(self, message: Message) -> bytes:
        try:
            payload = self._codec.encode(message)
        except (TypeError, ValueError, OverflowError) as error:
            # A lone surrogate in a text, or a number that MessagePack cannot hold.
            raise LocalProtocolError(f"{type(message).__name__} cannot be written: {error}") from error
        if self._send_limit is not None and len(payload) > self._send_limit:
            raise LocalProtocolError(
                f"This message of {len(payload)} bytes is above the daemon's limit of {self._send_limit}."
            )
        return self._framing.wrap(payload)


def _kind(message: Message) -> _Kind:
    """What a message is to the transition table."""
    match message:
        case Error():
            return _Kind.GOODBYE if _is_goodbye(message) else _Kind.REFUSAL
        case Reply():
            return _Kind.REPLY
        case Event() | ModelProgress() | AnswerProgress():
            return _Kind.EVENT
        case Audio():
            return _Kind.AUDIO
        case Request():
            return _Kind.REQUEST
        case Hello():
            return _Kind.HELLO
        case Welcome():
            return _Kind.WELCOME
    raise LocalProtocolError(f"{type(message).__name__} is not a message of the contract.")


def _is_goodbye(error: Error) -> bool:
    """Whether the connection closes after this error.

    An error with neither id nor session is about the connection, unless it answers a map that was a message
    but for its type or its fields: that one had no id to be named by.
    """
    if error.code == Code.OUT_OF_CREDIT:
        return True
    about_something = error.id is not None or error.session is not None
    return not about_something and error.code not in (Code.BAD_MESSAGE, Code.BAD_REQUEST)


def _id(fields: dict[str, Any]) -> int | None:
    """Return the id of a map, None if it is not an unsigned integer."""
    number = fields.get("id")
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _LARGEST_ID:
        return number
    return None
