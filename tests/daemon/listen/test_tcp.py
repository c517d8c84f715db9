from __future__ import annotations

import pytest
import trio
import trio_websocket

from convo.messages import WEBSOCKET_SUBPROTOCOL
from convod.listen import tcp
from convod.listen.tcp import BadAddress, check
from tests.daemon.support.websockets import PATIENCE_S, EchoServer, opened, port_of

OPEN = {"has_tokens": False, "certified": False, "insecure": False}
ALL = {"has_tokens": True, "certified": True, "insecure": True}


@pytest.mark.parametrize("url", ["ws://127.0.0.1:0", "ws://127.1.2.3:0", "ws://[::1]:8765", "ws://localhost:8765"])
def test_a_loopback_address_needs_no_token(url):
    assert check(url, **OPEN).scheme == "ws"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.2", "example.org"])
def test_an_address_open_to_the_network_needs_tokens_and_tls_or_a_word(host):
    plain, secure = f"ws://{host}:8765", f"wss://{host}:8765"
    with pytest.raises(BadAddress, match="convod token add") as bad:
        check(plain, **OPEN)
    assert plain in str(bad.value)
    with pytest.raises(BadAddress, match="convod token add"):
        check(secure, **OPEN | {"certified": True})
    with pytest.raises(BadAddress, match="in the clear"):
        check(plain, **OPEN | {"has_tokens": True, "certified": True})
    assert check(secure, **OPEN | {"has_tokens": True, "certified": True}).secure
    with pytest.raises(BadAddress, match="convod token add"):
        check(plain, **OPEN | {"insecure": True})
    assert check(plain, **OPEN | {"has_tokens": True, "insecure": True}).scheme == "ws"


def test_tls_needs_a_certificate():
    with pytest.raises(BadAddress, match="--tls-cert"):
        check("wss://127.0.0.1:1", **ALL | {"certified": False})


@pytest.mark.parametrize("url", ["unix:/tmp/x", "http://127.0.0.1:1", "127.0.0.1:1", "", "ws://"])
def test_what_is_no_address_to_listen_on_is_refused_with_a_sentence(url):
    with pytest.raises(BadAddress) as bad:
        check(url, **ALL)
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("10.0.0.1:5", "10.0.0.1"),
        ("[2001:db8:1:2:3:4:5:6]:5", "2001:db8:1:2::1"),
        ("[::ffff:10.0.0.1]:5", "10.0.0.1"),
        ("[fe80::1%eth0]:5", "fe80::2"),
    ],
)
def test_an_ipv6_host_is_all_addresses_that_it_may_take(peer, network):
    assert tcp.network_of(peer) == tcp.network_of(f"[{network}]:7" if ":" in network else f"{network}:7")
    assert tcp.network_of(peer) != tcp.network_of("10.0.0.2:5")


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_a_peer_that_is_no_websocket_harms_nobody(nursery, data):
    url = await EchoServer().start(nursery)
    port = port_of(url)
    with trio.fail_after(PATIENCE_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(data)
        await stream.aclose()
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message(b"still")
            assert await client.get_message() == b"still"
    nursery.cancel_scope.cancel()


async def test_a_fault_in_one_connection_leaves_the_listener(nursery, caplog):
    server = EchoServer()
    server.broken = True
    url = await server.start(nursery)
    with trio.fail_after(PATIENCE_S):
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            with pytest.raises(trio_websocket.ConnectionClosed):
                await client.get_message()
        server.broken = False
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message(b"still")
            assert await client.get_message() == b"still"
    nursery.cancel_scope.cancel()
    assert "fault of convod" in caplog.text


@pytest.mark.parametrize(
    ("token", "origins", "status"),
    [
        ("", [], 403),
        ("", ["https://other.example"], 403),
        ("", ["https://page.example"], 101),
        ("secret", [], 101),
        ("secret", ["https://other.example"], 403),
        ("secret", ["https://page.example"], 101),
    ],
)
async def test_a_web_page_connects_only_if_its_origin_may_or_a_token_guards(nursery, token, origins, status):
    server = EchoServer(token=token, origins=origins)
    url = await server.start(nursery)
    async with await trio.open_tcp_stream("127.0.0.1", port_of(url)) as stream:
        await stream.send_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Protocol: convo.v1\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await stream.receive_some(4096)
    assert answer.split(b" ")[1] == str(status).encode()
    nursery.cancel_scope.cancel()
