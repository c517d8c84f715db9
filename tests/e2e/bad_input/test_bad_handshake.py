"""Handshakes that no client should try, over real sockets."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from tests.support.daemon import Daemon
from tests.support.wire import HELLO, Map, WebWire, wired

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


@BOTH
@pytest.mark.parametrize(
    "first", [{"type": "ping", "id": 1}, {"type": "create_session", "id": 1}, {"type": "nonsense"}]
)
async def test_hello_comes_first(daemon: Daemon, transport: str, first: Map) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send(first)
        (error,) = await wire.wait_end()
    assert error["code"] == "hello_expected"
    assert "id" not in error
    assert wire.close_code in (None, 1008)


@BOTH
@pytest.mark.parametrize("protocol", [2, 0, -1, "1", None, True, 1.5])
async def test_another_version_of_the_protocol_is_refused(daemon: Daemon, transport: str, protocol: object) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send(HELLO | {"protocol": protocol})
        (error,) = await wire.wait_end()
    assert error["code"] == "unsupported_protocol"
    assert "1" in error["message"]


@pytest.mark.parametrize("wrong", [{"client": 5}, {"client": None}, {"token": ["x"]}])
async def test_a_hello_with_wrong_fields_is_refused(daemon: Daemon, wrong: Map) -> None:
    async with wired(daemon.url, hello=False) as wire:
        await wire.send(HELLO | wrong)
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"
    assert next(iter(wrong)) in error["message"]


async def test_a_second_hello_is_refused_and_the_connection_goes_on(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        assert (await wire.hello())["code"] == "bad_message"
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize("subprotocols", [(), ("convo.v2",), ("chat", "superchat")])
async def test_a_websocket_without_the_subprotocol_is_answered_with_http_400(
    daemon: Daemon, subprotocols: tuple[str, ...]
) -> None:
    async with wired(daemon.web, subprotocols=subprotocols, hello=False) as wire:
        assert isinstance(wire, WebWire)
        assert wire.status == 400
        await wire.wait_end()
        assert b"convo.v1" in wire.rejection


async def test_the_subprotocol_is_found_among_others(daemon: Daemon) -> None:
    async with wired(daemon.web, subprotocols=("chat", "convo.v1")) as wire:
        assert (await wire.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)],
    ids=["a browser", "TLS"],
)
async def test_what_is_no_websocket_is_turned_away(daemon: Daemon, sent: bytes) -> None:
    host, port = daemon.web.removeprefix("ws://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(sent)
        answer = b""
        while data := await stream.receive_some():
            answer += data
    assert not answer or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("subprotocol", [b"", b"Sec-WebSocket-Protocol: convo.v1\r\n"], ids=["refused", "welcome"])
async def test_peers_that_reset_their_handshake_end_nothing_but_themselves(daemon: Daemon, subprotocol: bytes) -> None:
    host, port = daemon.web.removeprefix("ws://").split(":")
    handshake = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + subprotocol + b"\r\n"
    )
    for _ in range(300):  # one in many arrives in the wrong moment
        stream = await trio.open_tcp_stream(host, int(port))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.send_all(handshake)
        await stream.aclose()
    async with wired(daemon.web) as wire:
        assert (await wire.ask("ping"))["type"] == "ok"
