from __future__ import annotations

import base64
import json
from pathlib import Path

import msgpack
import pytest

from convo.codec import RAW, Json, MessagePack, Unreadable
from convo.connection import Connection, Malformed, Role
from convo.errors import RemoteProtocolError
from convo.framing import WholeMessages
from convo.messages import (
    EVENTS,
    PROTOCOL,
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    Code,
    CreateSession,
    CreateSessionReply,
    Error,
    Limits,
    PingReply,
    State,
    Welcome,
    from_map,
)

WELCOME = Welcome(protocol=PROTOCOL, server="d", limits=Limits(), features=[])


def text(**fields) -> bytes:
    return json.dumps(fields).encode()


def greeted() -> Connection:
    connection = Connection(Role.SERVER, WholeMessages(), Json())
    connection.receive_data(text(type="hello", protocol=1, client="by hand"))
    connection.next_event()
    assert json.loads(connection.send(WELCOME))["type"] == "welcome"
    return connection


def give(connection: Connection, payload: bytes):
    connection.receive_data(payload)
    return connection.next_event()


def test_messages_have_the_same_fields_as_json():
    connection = greeted()
    assert give(connection, text(type="create_session", id=7, kind="live", title="ä")) == CreateSession(
        id=7, kind="live", title="ä"
    )
    reply = CreateSessionReply(id=7, session="s", config={"kind": "live"}, credit=5)
    assert json.loads(connection.send(reply)) == {
        "type": "ok", "id": 7, "session": "s", "config": {"kind": "live"}, "credit": 5,
    }  # fmt: skip
    ack = json.loads(connection.send(AudioAck(session="s", offset=3, credit=2)))
    assert ack == {"type": "audio_ack", "session": "s", "offset": 3, "credit": 2}


def test_binary_messages_are_the_next_audio_of_the_session_that_was_made_last():
    connection = greeted()
    for number, session in ((1, "one"), (2, "two")):
        give(connection, text(type="create_session", id=number, kind="live"))
        connection.send(CreateSessionReply(id=number, session=session, config={}, credit=9))
        assert give(connection, RAW + b"abcd") == Audio(session=session, offset=0, data=b"abcd")
        assert give(connection, RAW + b"ef") == Audio(session=session, offset=4, data=b"ef")


def test_attaching_to_go_on_sets_the_session_and_its_place():
    connection = greeted()
    give(connection, text(type="attach", id=1, session="watched"))
    connection.send(AttachReply(id=1, state=State.PROCESSING, seq=0, audio_offset=5, credit=9))
    assert isinstance(give(connection, RAW + b"ab"), Malformed)
    assert give(connection, text(type="attach", id=2, session="mine", produce=True)) == Attach(
        id=2, session="mine", produce=True
    )
    connection.send(AttachReply(id=2, state=State.PROCESSING, seq=0, audio_offset=100, credit=9))
    assert give(connection, RAW + b"ab") == Audio(session="mine", offset=100, data=b"ab")
    assert give(connection, RAW + b"cd") == Audio(session="mine", offset=102, data=b"cd")


def test_a_refused_request_changes_nothing():
    connection = greeted()
    give(connection, text(type="create_session", id=1, kind="live"))
    connection.send(Error(id=1, code=Code.BUSY, message="later"))
    connection.send(PingReply(id=1, time=0.0))
    refused = give(connection, RAW + b"ab")
    assert isinstance(refused, Malformed)
    assert "session" in refused.error.message


def test_audio_may_be_a_text_message_with_base64():
    connection = greeted()
    data = base64.b64encode(b"\x00\xff").decode()
    assert give(connection, text(type="audio", session="s", offset=4, data=data)) == Audio(
        session="s", offset=4, data=b"\x00\xff"
    )
    for wrong in ("?", "ä", "YQ=", 7, None):
        refused = give(connection, text(type="audio", session="s", offset=4, data=wrong))
        assert isinstance(refused, Malformed)
        assert refused.error.session == "s"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"hello",
        b"[]",
        b"7",
        b'{"type": 7}',
        b'{"a": NaN, "type": "ping"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}{}",
    ],
)
def test_what_is_no_message_closes_and_says_what_one_is(payload):
    connection = greeted()
    with pytest.raises(RemoteProtocolError, match=r"JSON object|string `type`") as broken:
        give(connection, payload)
    assert json.loads(connection.send(broken.value.reply))["code"] == "bad_message"


def test_requests_that_are_never_well_formed_are_not_remembered():
    codec = Json()
    for number in (None, -1, 1 << 64, True, "1", 2.0):
        codec.decode(text(type="create_session", id=number))
        codec.decode(text(type="attach", id=number, session="s", produce=True))
    assert codec.remembered == 0


def test_messagepack_is_what_it_was():
    codec = MessagePack(8)
    assert codec.decode(codec.encode(PingReply(id=1, time=2.0))) == {"type": "ok", "id": 1, "time": 2.0}
    with pytest.raises(Unreadable):
        codec.decode(b"\xc1")
    with pytest.raises(Unreadable):
        codec.decode(b"\xdd\xff\xff\xff\xff")


def test_every_golden_event_has_the_same_fields_as_json():
    vectors = json.loads((Path(__file__).parents[2] / "protocol" / "vectors" / "vectors.json").read_text())
    events = [one["message"] for one in vectors if one["message"].get("type") in EVENTS]
    assert {event["type"] for event in events} == set(EVENTS)
    for event in events:
        written = json.loads(Json().encode(from_map(event, EVENTS[event["type"]])))
        assert written.items() <= event.items()


# --- MessagePack ------------------------------------------------------------------------------------------


PIECE = {"type": "audio", "session": "s", "offset": 640, "data": b"\1\2"}


@pytest.mark.parametrize(
    "fields",
    [
        PIECE,
        {**PIECE, "data": bytes(70_000)},
        {**PIECE, "offset": (1 << 63) - 1},
        {**PIECE, "session": "ü" * 40, "new": [1, {"deep": None}]},
    ],
    ids=["small", "large", "far", "newer"],
)
def test_audio_is_read_in_one_step_as_it_is_in_two(fields):
    codec = MessagePack(16)
    payload = msgpack.packb(fields)
    assert codec.audio(payload) == from_map(codec.decode(payload), Audio)


@pytest.mark.parametrize(
    "payload",
    [
        msgpack.packb({**PIECE, "offset": -1}),
        msgpack.packb({**PIECE, "offset": 1 << 63}),
        msgpack.packb({"type": "audio", "session": "s", "offset": 0, "data": "text"}),
        msgpack.packb({"type": "audio", "session": "s", "offset": 0}),
        msgpack.packb({"type": "audio_ack", "session": "s", "offset": 0, "credit": 0}),
        msgpack.packb({"session": "s", "type": "audio", "offset": 0, "data": b""}),
        msgpack.packb({**PIECE, 7: 7}),
        msgpack.packb(PIECE)[:-1],
        msgpack.packb(PIECE) + b"\0",
        b"\x84\xa4type\xa5audio\xa7session\xa1\xff\xa6offset\x00\xa4data\xc4\x00",
        b"\x85\xa4type\xa5audio\xa3new" + b"\x91" * 5000 + msgpack.packb(PIECE)[12:],
        b"",
    ],
    ids=[
        "negative", "too far", "text", "short", "another", "later", "key", "cut", "more", "no text", "deep", "nothing",
    ],
)  # fmt: skip
def test_what_is_not_audio_beyond_doubt_is_looked_at_more_closely(payload):
    assert MessagePack(16).audio(payload) is None
