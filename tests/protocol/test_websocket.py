"""The client's WebSocket without a socket, against wsproto's server."""

from __future__ import annotations

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from convo.address import parse
from convo.errors import ConnectionLost, FrameTooLarge
from convo.websocket import WebSocketFraming


class Pair:
    def __init__(self, limit: int = 100) -> None:
        self.client = WebSocketFraming(parse("ws://localhost:8787/convo?x=1"), limit)
        self.server = WSConnection(ConnectionType.SERVER)
        (request,) = self.heard(self.client.data_to_send())
        assert isinstance(request, Request)
        assert (request.host, request.target) == ("localhost:8787", "/convo?x=1")
        assert request.subprotocols == ["convo.v1"]
        assert not self.client.opened
        self.say(AcceptConnection(subprotocol="convo.v1"))
        assert self.client.opened

    def heard(self, data: bytes) -> list[Event]:
        self.server.receive_data(data)
        return list(self.server.events())

    def say(self, *events: Event, step: int = 1 << 20) -> None:
        data = b"".join(self.server.send(event) for event in events)
        for at in range(0, len(data), step):
            self.client.receive_data(data[at : at + step])


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_messages_arrive_whole(step: int) -> None:
    pair = Pair()
    pair.say(
        BytesMessage(data=b"one"),
        BytesMessage(data=b"t", message_finished=False),
        Ping(payload=b"?"),
        BytesMessage(data=b"wo", message_finished=True),
        BytesMessage(data=b""),
        step=step,
    )
    frames = [pair.client.next_frame() for _ in range(4)]
    assert frames == [b"one", b"two", b"", None]
    assert pair.heard(pair.client.data_to_send()) == [Pong(payload=b"?")]
    assert pair.client.data_to_send() == b""


def test_sent_messages_are_binary() -> None:
    pair = Pair()
    (event,) = pair.heard(pair.client.wrap(b"hello"))
    assert isinstance(event, Message)
    assert isinstance(event, BytesMessage)
    assert bytes(event.data) == b"hello"


def test_message_above_the_limit_is_refused_before_it_is_whole() -> None:
    pair = Pair(limit=100)
    for _ in range(50):
        pair.say(BytesMessage(data=b"x" * 60, message_finished=False))
    for _ in range(2):
        with pytest.raises(FrameTooLarge):
            pair.client.next_frame()
    assert pair.client.buffered == 120


def test_text_is_no_message() -> None:
    pair = Pair()
    pair.say(TextMessage(data="hello"))
    assert pair.client.next_frame() == b""


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (None, "The WebSocket was closed with code 1001."),
        ("Stopping.", "The WebSocket was closed with code 1001: Stopping."),
    ],
)
def test_close_is_answered_and_explained(reason: str | None, sentence: str) -> None:
    pair = Pair()
    pair.say(BytesMessage(data=b"last"), CloseConnection(code=1001, reason=reason))
    assert pair.client.ended == sentence
    assert pair.client.next_frame() == b"last"
    (event,) = pair.heard(pair.client.data_to_send())
    assert isinstance(event, CloseConnection)
    with pytest.raises(ConnectionLost, match="1001"):
        pair.client.wrap(b"more")
    pair.client.close()
    assert pair.client.data_to_send() == b""


def test_goodbye_is_1000_and_said_once() -> None:
    pair = Pair()
    pair.client.close()
    pair.client.close()
    (event,) = pair.heard(pair.client.data_to_send())
    assert isinstance(event, CloseConnection)
    assert event.code == 1000
    pair.say(event.response())
    assert pair.client.ended is not None
    assert pair.client.data_to_send() == b""


def test_frames_that_are_none() -> None:
    pair = Pair()
    pair.client.receive_data(b"\xff\xff\xff\xff")
    assert pair.client.ended is not None
    assert pair.client.ended == "The WebSocket was closed with code 1002: Invalid opcode 0xf."
    pair.client.receive_data(b"more")
    assert pair.client.next_frame() is None
