"""Two connections joined back to back; then each on its own, with a peer that errs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convo import messages
from convo.connection import NEED_DATA, Connection, Malformed, Phase, Role
from convo.errors import LocalProtocolError, RemoteProtocolError
from convo.framing import Framing, LengthPrefixed, WholeMessages
from convo.messages import (
    Audio,
    AudioAck,
    Code,
    CreateSession,
    Error,
    Export,
    ExportReply,
    Hello,
    Limits,
    Message,
    Ping,
    PingReply,
    Reply,
    Request,
    SessionState,
    State,
    Welcome,
)

VECTORS = json.loads((Path(__file__).parents[2] / "protocol" / "vectors" / "vectors.json").read_text(encoding="utf-8"))
HELLO = Hello(protocol=1, client="test")
WELCOME = Welcome(
    protocol=1,
    server="test",
    limits=Limits(message_bytes=4096, audio_credit=100, resume_s=1.5),
    features=["live"],
)

Deliver = Callable[[Connection, bytes], list[Any]]


def drain(connection: Connection) -> list[Any]:
    events = []
    while (event := connection.next_event()) is not NEED_DATA:
        events.append(event)
    return events


def in_one_piece(connection: Connection, data: bytes) -> list[Any]:
    connection.receive_data(data)
    return drain(connection)


def byte_by_byte(connection: Connection, data: bytes) -> list[Any]:
    events = []
    for byte in data:
        connection.receive_data(bytes([byte]))
        events += drain(connection)
    return events


@pytest.fixture(params=["stream", "stream byte by byte", "messages"])
def transport(request: pytest.FixtureRequest) -> tuple[type[Framing], Deliver]:
    return {
        "stream": (LengthPrefixed, in_one_piece),
        "stream byte by byte": (LengthPrefixed, byte_by_byte),
        "messages": (WholeMessages, in_one_piece),
    }[request.param]


def greet(client: Connection, server: Connection, deliver: Deliver = in_one_piece) -> None:
    server.receive_data(client.send(HELLO))
    assert server.next_event() == HELLO
    assert deliver(client, server.send(WELCOME)) == [WELCOME]


def open_server(limit: int = 1 << 20) -> Connection:
    server = Connection(Role.SERVER, WholeMessages(limit))
    greet(Connection(Role.CLIENT, WholeMessages()), server)
    return server


def open_client() -> Connection:
    client = Connection(Role.CLIENT, WholeMessages())
    greet(client, Connection(Role.SERVER, WholeMessages()))
    return client


def message_of(vector: dict[str, Any]) -> Message:
    fields = msgpack.unpackb(bytes.fromhex(vector["hex"]))
    name = fields["type"]
    if name == "ok":
        return messages.from_map(fields, messages.REQUESTS[vector["reply_to"]].Reply)
    table = messages.FROM_CLIENT if vector["from"] == "client" else messages.FROM_SERVER
    return messages.from_map(fields, table[name])


# --- back to back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_message_arrives_as_it_was_sent(vector: dict[str, Any], transport: tuple[type[Framing], Deliver]) -> None:
    framing, deliver = transport
    client, server = Connection(Role.CLIENT, framing()), Connection(Role.SERVER, framing())
    message = message_of(vector)
    if isinstance(message, Hello):
        server.receive_data(client.send(message))
        assert server.next_event() == message
        return
    if isinstance(message, Welcome):
        server.receive_data(client.send(HELLO))
        assert server.next_event() == HELLO
        assert deliver(client, server.send(message)) == [message]
        return
    greet(client, server, deliver)
    if vector["from"] == "client":
        assert deliver(server, client.send(message)) == [message]
        return
    if isinstance(message, Reply) or (isinstance(message, Error) and message.id is not None):
        assert message.id is not None
        request = next(
            message_of(other)
            for other in VECTORS
            if other["message"]["type"] == vector.get("reply_to", "ping") and other["from"] == "client"
        )
        assert isinstance(request, Request)
        request = msgspec.structs.replace(request, id=message.id)
        assert deliver(server, client.send(request)) == [request]
    assert deliver(client, server.send(message)) == [message]


def test_hello_and_welcome_open_both_ends(transport: tuple[type[Framing], Deliver]) -> None:
    framing, deliver = transport
    client, server = Connection(Role.CLIENT, framing()), Connection(Role.SERVER, framing())
    assert (client.phase, server.phase) == (Phase.HANDSHAKE, Phase.HANDSHAKE)
    greet(client, server, deliver)
    assert (client.phase, server.phase) == (Phase.OPEN, Phase.OPEN)


def test_many_messages_in_one_piece() -> None:
    client, server = Connection(Role.CLIENT, LengthPrefixed()), Connection(Role.SERVER, LengthPrefixed())
    greet(client, server)
    requests = [Ping(id=number) for number in range(1, 50)]
    assert in_one_piece(server, b"".join(map(client.send, requests))) == requests
    replies = [PingReply(id=number, time=1.5) for number in range(49, 0, -1)]
    assert in_one_piece(client, b"".join(map(server.send, replies))) == replies


def test_reply_is_read_by_its_request() -> None:
    client = open_client()
    client.send(Export(id=1, session="s", format="txt"))
    client.send(Ping(id=2))
    data = msgpack.packb({"id": 1, "content": "x", "type": "ok", "later": [None]})
    assert in_one_piece(client, data) == [ExportReply(id=1, content="x")]
    assert in_one_piece(client, messages.encode(PingReply(id=2, time=3.0))) == [PingReply(id=2, time=3.0)]


# --- a client that errs -----------------------------------------------------------------------------------

BAD_BYTES = [
    b"",
    b"\xc1",
    b"\x80\x80",
    b"\x93\x01\x02\x03",
    b"\xc0",
    msgpack.packb("hello"),
    msgpack.packb({}),
    msgpack.packb({"type": 3}),
    msgpack.packb({"type": None}),
    msgpack.packb({"type": b"ping"}),
    msgpack.packb({b"type": "ping"}),
    msgpack.packb({"type": "ping", 1: 2}),
    msgpack.packb({"type": "ping", b"x": 2}),
    b"\x81\xa4type\xa4\xff\xfe\xfd\xfc",
    b"\x82\xa4type\xa4ping\x91\x01\x02",  # a list for a key
    b"\x81" * 5000,
    b"\x91" * 5000,
    b"\xdd\xff\xff\xff\xff" * 1000,  # lists in lists that announce gigabytes
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    msgpack.packb({"type": "ping", "id": 1})[:-1],
    msgpack.packb({"type": "ping", "id": 1}) + b"\0",
    msgpack.packb({"type": "ping", "x": [0] * 100_000}),
]


@pytest.mark.parametrize("payload", BAD_BYTES, ids=lambda payload: payload[:12].hex())
@pytest.mark.parametrize("greeted", [False, True])
def test_bytes_that_are_no_message_close(payload: bytes, greeted: bool) -> None:
    server = open_server() if greeted else Connection(Role.SERVER, WholeMessages())
    server.receive_data(payload)
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.code is Code.BAD_MESSAGE
    assert caught.value.reply == Error(code=Code.BAD_MESSAGE, message=str(caught.value))
    assert server.phase is Phase.CLOSED
    assert msgpack.unpackb(server.send(caught.value.reply))["code"] == "bad_message"
    with pytest.raises(LocalProtocolError):
        server.send(caught.value.reply)
    server.receive_data(msgpack.packb({"type": "ping", "id": 1}))
    assert server.next_event() is NEED_DATA


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("framing", [LengthPrefixed, WholeMessages])
def test_message_above_the_limit_closes(framing: type[Framing], greeted: bool) -> None:
    limited = framing()
    server = Connection(Role.SERVER, limited)
    if greeted:
        greet(Connection(Role.CLIENT, framing()), server)
    limited.limit = 64
    server.receive_data(limited.wrap(b"x" * 65))
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.code is Code.TOO_LARGE
    assert b"too_large" in server.send(caught.value.reply)
    assert server.phase is Phase.CLOSED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "ping", "id": 1}, Code.HELLO_EXPECTED),
        ({"type": "audio", "session": "s", "offset": 0, "data": b""}, Code.HELLO_EXPECTED),
        ({"type": "welcome"}, Code.HELLO_EXPECTED),
        ({"type": "unknown"}, Code.HELLO_EXPECTED),
        ({"type": "hello", "protocol": 2, "client": "x"}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "protocol": 0, "client": "x"}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "protocol": "1", "client": "x"}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "protocol": True, "client": "x"}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "client": "x"}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "protocol": 2}, Code.UNSUPPORTED_PROTOCOL),
        ({"type": "hello", "protocol": 1}, Code.BAD_MESSAGE),
        ({"type": "hello", "protocol": 1, "client": 1}, Code.BAD_MESSAGE),
        ({"type": "hello", "protocol": 1, "client": "x", "token": 3}, Code.BAD_MESSAGE),
    ],
)
def test_handshake_that_fails(fields: dict[str, Any], code: Code) -> None:
    server = Connection(Role.SERVER, WholeMessages())
    server.receive_data(msgpack.packb(fields))
    with pytest.raises(RemoteProtocolError) as caught:
        server.next_event()
    assert caught.value.code is code
    assert server.phase is Phase.CLOSED
    client = Connection(Role.CLIENT, WholeMessages())
    client.send(HELLO)
    assert in_one_piece(client, server.send(caught.value.reply)) == [caught.value.reply]
    assert client.phase is Phase.CLOSED


BIG = 1 << 64

MALFORMED: list[tuple[dict[str, Any], Error]] = [
    ({"type": "hello", "protocol": 1, "client": "x"}, Error(code="bad_message", message="hello")),
    ({"type": "dance"}, Error(code="bad_message", message="'dance'")),
    ({"type": "dance", "id": 7}, Error(code="bad_message", message="'dance'", id=7)),
    ({"type": "dance", "id": -7}, Error(code="bad_message", message="'dance'")),
    ({"type": "welcome", "id": 0}, Error(code="bad_message", message="'welcome'", id=0)),
    ({"type": "ok", "id": 7}, Error(code="bad_message", message="'ok'", id=7)),
    ({"type": "session_state"}, Error(code="bad_message", message="'session_state'")),
    ({"type": "ping"}, Error(code="bad_request", message="ping: id must")),
    ({"type": "ping", "id": -1}, Error(code="bad_request", message="ping: id must")),
    ({"type": "ping", "id": True}, Error(code="bad_request", message="ping: id must")),
    ({"type": "ping", "id": 1.0}, Error(code="bad_request", message="ping: id must")),
    ({"type": "ping", "id": "1"}, Error(code="bad_request", message="ping: id must")),
    ({"type": "create_session", "id": 5}, Error(code="bad_request", message="kind is missing", id=5)),
    (
        {"type": "create_session", "id": 5, "kind": 1},
        Error(code="bad_request", message="create_session: kind must be str, not int.", id=5),
    ),
    (
        {"type": "audio", "session": "s", "offset": 0},
        Error(code="bad_request", message="audio: data is missing", session="s"),
    ),
    (
        {"type": "audio", "session": "s", "offset": 0, "data": "text", "id": 4},
        Error(code="bad_request", message="audio: data must be bin, not str.", session="s"),
    ),
    (
        {"type": "audio", "session": 9, "offset": 0, "data": b""},
        Error(code="bad_request", message="audio: session must be str, not int."),
    ),
]


@pytest.mark.parametrize(("fields", "expected"), MALFORMED)
def test_malformed_message_is_answered_and_the_connection_stays(fields: dict[str, Any], expected: Error) -> None:
    server = open_server()
    server.receive_data(msgpack.packb(fields))
    event = server.next_event()
    assert isinstance(event, Malformed)
    error = event.error
    assert (error.code, error.id, error.session) == (expected.code, expected.id, expected.session)
    assert expected.message in error.message
    assert server.send(error)
    assert server.phase is Phase.OPEN
    assert in_one_piece(server, msgpack.packb({"type": "ping", "id": 0})) == [Ping(id=0)]


def test_largest_id_is_an_id() -> None:
    server = open_server()
    assert in_one_piece(server, msgpack.packb({"type": "ping", "id": BIG - 1})) == [Ping(id=BIG - 1)]


def test_server_reads_nothing_before_it_answered_hello() -> None:
    server = Connection(Role.SERVER, WholeMessages())
    server.receive_data(messages.encode(HELLO))
    server.receive_data(messages.encode(Ping(id=1)))
    assert server.next_event() == HELLO
    with pytest.raises(LocalProtocolError, match="Answer the hello"):
        server.next_event()
    server.send(WELCOME)
    assert server.next_event() == Ping(id=1)


@given(payload=st.binary(max_size=200), greeted=st.booleans())
@example(payload=b"\x81\xa4type\xa4ping", greeted=True)
def test_any_bytes_raise_nothing_but_the_peers_error(payload: bytes, greeted: bool) -> None:
    server = open_server() if greeted else Connection(Role.SERVER, WholeMessages())
    server.receive_data(payload)
    broken = False
    try:
        drain(server)
    except RemoteProtocolError:
        broken = True
    assert (server.phase is Phase.CLOSED) == broken


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner),
    max_leaves=6,
)
_FIELDS = sorted(
    {field.encode_name for struct in messages.FROM_CLIENT.values() for field in msgspec.structs.fields(struct)}
)


@given(
    name=st.sampled_from(sorted(messages.FROM_CLIENT)) | st.text(max_size=5),
    fields=st.dictionaries(st.sampled_from(_FIELDS), _PLAIN, max_size=6),
)
def test_any_map_gives_a_message_or_a_sentence(name: str, fields: dict[str, Any]) -> None:
    server = open_server()
    server.receive_data(msgpack.packb({**fields, "type": name}))
    try:
        (event,) = drain(server)
    except RemoteProtocolError:  # a key that is no string, deep inside
        assert server.phase is Phase.CLOSED
        return
    if isinstance(event, Malformed):
        assert event.error.message.isprintable()
        assert event.error.message.endswith(".")
        assert server.send(event.error)
    else:
        assert isinstance(event, Message)


# --- a daemon that errs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "ok", "id": 99},
        {"type": "ok"},
        {"type": "ok", "id": -1},
        {"type": "error", "id": 99, "code": "busy", "message": "x"},
        {"type": "error", "code": 3, "message": "x"},
        {"type": "ok", "id": 1},  # a ping's ok has a time
        {"type": "audio_ack", "session": "s"},
        {"type": "session_state", "session": "s", "seq": 1, "state": "dancing"},
        {"type": "welcome", "protocol": 1, "server": "x", "limits": {}, "features": []},
    ],
)
def test_client_refuses_what_the_contract_does_not_say(fields: dict[str, Any]) -> None:
    client = open_client()
    client.send(Ping(id=1))
    client.receive_data(msgpack.packb(fields))
    with pytest.raises(RemoteProtocolError):
        client.next_event()
    assert client.phase is Phase.CLOSED
    with pytest.raises(LocalProtocolError):
        client.send(Ping(id=2))


@pytest.mark.parametrize("message", [PingReply(id=1, time=1.0), SessionState(session="s", seq=1, state=State.PENDING)])
def test_client_expects_welcome_first(message: Message) -> None:
    client = Connection(Role.CLIENT, WholeMessages())
    client.send(HELLO)
    client.receive_data(messages.encode(message))
    with pytest.raises(RemoteProtocolError, match="HANDSHAKE"):
        client.next_event()


def test_client_refuses_another_protocol() -> None:
    client = Connection(Role.CLIENT, WholeMessages())
    client.send(HELLO)
    client.receive_data(messages.encode(msgspec.structs.replace(WELCOME, protocol=2)))
    with pytest.raises(RemoteProtocolError) as caught:
        client.next_event()
    assert caught.value.code is Code.UNSUPPORTED_PROTOCOL


def test_client_ignores_events_of_later_versions() -> None:
    client = open_client()
    client.receive_data(msgpack.packb({"type": "speaker_changed", "session": "s"}))
    ack = AudioAck(session="s", offset=1, credit=2)
    client.receive_data(messages.encode(ack))
    assert drain(client) == [ack]


@pytest.mark.parametrize("code", ["internal", "busy", "unauthorized", "too_large"])
def test_error_about_nothing_closes(code: str) -> None:
    client, server = Connection(Role.CLIENT, WholeMessages()), Connection(Role.SERVER, WholeMessages())
    greet(client, server)
    error = Error(code=code, message="x")
    assert in_one_piece(client, server.send(error)) == [error]
    assert (client.phase, server.phase) == (Phase.CLOSED, Phase.CLOSED)


@pytest.mark.parametrize(
    ("error", "phase"),
    [
        (Error(code="out_of_credit", message="x", session="s"), Phase.CLOSED),
        (Error(code="bad_audio", message="x", session="s"), Phase.OPEN),
        (Error(code="too_large", message="x", id=1), Phase.OPEN),
        (Error(code="bad_message", message="x"), Phase.OPEN),
        (Error(code="bad_request", message="x"), Phase.OPEN),
    ],
)
def test_which_errors_close(error: Error, phase: Phase) -> None:
    client, server = Connection(Role.CLIENT, WholeMessages()), Connection(Role.SERVER, WholeMessages())
    greet(client, server)
    client.send(Ping(id=1))
    assert in_one_piece(client, server.send(error)) == [error]
    assert (client.phase, server.phase) == (phase, phase)


# --- this side errs ---------------------------------------------------------------------------------------

EVENT = SessionState(session="s", seq=1, state=State.PENDING)
AUDIO = Audio(session="s", offset=0, data=b"")


@pytest.mark.parametrize("message", [Ping(id=1), AUDIO, WELCOME, PingReply(id=1, time=1.0), EVENT])
def test_client_says_hello_first(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(Role.CLIENT, WholeMessages()).send(message)


@pytest.mark.parametrize("message", [HELLO, WELCOME, PingReply(id=1, time=1.0), EVENT, Error(code="busy", message="x")])
def test_client_sends_only_what_clients_send(message: Message) -> None:
    client = open_client()
    with pytest.raises(LocalProtocolError):
        client.send(message)
    assert client.phase is Phase.OPEN


@pytest.mark.parametrize("message", [HELLO, WELCOME, Ping(id=1), AUDIO])
def test_server_sends_only_what_servers_send(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        open_server().send(message)


def test_hello_is_said_once() -> None:
    client = Connection(Role.CLIENT, WholeMessages())
    client.send(HELLO)
    with pytest.raises(LocalProtocolError):
        client.send(HELLO)


@pytest.mark.parametrize("message", [WELCOME, PingReply(id=1, time=1.0), EVENT])
def test_server_waits_for_hello(message: Message) -> None:
    server = Connection(Role.SERVER, WholeMessages())
    with pytest.raises(LocalProtocolError):
        server.send(message)


@pytest.mark.parametrize("number", [0, -1, BIG])
def test_request_needs_an_id(number: int) -> None:
    client = open_client()
    with pytest.raises(LocalProtocolError):
        client.send(Ping(id=number))


def test_id_is_unique_among_those_in_flight() -> None:
    client = open_client()
    client.send(Ping(id=1))
    with pytest.raises(LocalProtocolError):
        client.send(Ping(id=1))
    assert in_one_piece(client, messages.encode(PingReply(id=1, time=0.0)))
    client.send(Ping(id=1))


def test_client_keeps_to_the_daemons_limit() -> None:
    client = open_client()
    with pytest.raises(LocalProtocolError, match="limit of 4096"):
        client.send(Audio(session="s", offset=0, data=b"x" * 4096))
    client.send(Audio(session="s", offset=0, data=b"x" * 3000))


def test_text_that_cannot_be_written() -> None:
    client = open_client()
    with pytest.raises(LocalProtocolError):
        client.send(CreateSession(id=1, kind="live", title="\ud800"))
    client.send(Ping(id=1))


def test_closed_is_closed() -> None:
    client, server = open_client(), open_server()
    for connection, message in ((client, Ping(id=1)), (server, EVENT)):
        connection.close()
        assert connection.phase is Phase.CLOSED
        with pytest.raises(LocalProtocolError):
            connection.send(message)
        connection.receive_data(b"\xc1")
        assert connection.next_event() is NEED_DATA
