from __future__ import annotations

from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio_websocket
from trio.testing import memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, Event, Ping, Pong, Request, TextMessage

from convo.address import parse
from convo.messages import WEBSOCKET_SUBPROTOCOL, Code
from convod.listen import websocket
from convod.listen.limits import STRANGER_BYTES, Door, Visit
from convod.listen.pace import PacedStream
from convod.listen.settings import ListenSettings
from convod.listen.upgrade import CLOSE_S, EXTRA_WEIGHT, STOPPING_S, WebSocketLink
from convod.listen.websocket import BadAddress, check
from tests.support.wire import shaken_hands

PATIENCE_S = 60

SETTINGS = ListenSettings()


OPEN = {"guarded": False, "certified": False, "insecure": False}
ALL = {"guarded": True, "certified": True, "insecure": True}


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
        check(plain, **OPEN | {"guarded": True, "certified": True})
    assert check(secure, **OPEN | {"guarded": True, "certified": True}).secure
    with pytest.raises(BadAddress, match="convod token add"):
        check(plain, **OPEN | {"insecure": True})
    assert check(plain, **OPEN | {"guarded": True, "insecure": True}).scheme == "ws"


def test_tls_needs_a_certificate():
    with pytest.raises(BadAddress, match="--tls-cert"):
        check("wss://127.0.0.1:1", **ALL | {"certified": False})


@pytest.mark.parametrize("url", ["unix:/tmp/x", "http://127.0.0.1:1", "127.0.0.1:1", "", "ws://"])
def test_what_is_no_address_to_listen_on_is_refused_with_a_sentence(url):
    with pytest.raises(BadAddress) as bad:
        check(url, **ALL)
    assert "\n" not in str(bad.value)


class Server:
    """Listens on a free port and echoes, until cancelled."""

    def __init__(self, token: str = "", origins: Sequence[str] = ()) -> None:
        self.token = token
        self.origins = list(origins)
        self.links: list[WebSocketLink] = []
        self.close_with: Code | None = None
        self.stopping = False
        self.broken = False

    async def serve(self, link: WebSocketLink, peer: str, visit: Visit) -> None:
        self.links.append(link)
        if self.broken:
            raise RuntimeError("oh")
        while (data := await link.receive()) is not None:
            if data == b"close":
                break
            await link.send([data, b"!"])
        await link.close(self.close_with, stopping=self.stopping)

    async def start(self, nursery: trio.Nursery, limit: int = 1000) -> str:
        settings = ListenSettings(message_bytes=limit, token=self.token, origins=self.origins)
        bound = await websocket.bind(parse("ws://127.0.0.1:0"))
        front = websocket.Front(lambda: settings, lambda: bool(self.token), Door(), self.serve)
        nursery.start_soon(websocket.listen, bound, front)
        return bound.url


@asynccontextmanager
async def opened(url: str, *subprotocols: str):
    """A client whose socket is closed at the end, whoever closed first (`open_websocket_url` may leave it open)."""
    port = int(url.rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        client = await trio_websocket.wrap_client_stream(
            nursery, stream, f"127.0.0.1:{port}", "/any/path", subprotocols=list(subprotocols)
        )
        yield client
        await client.aclose()
        nursery.cancel_scope.cancel()


async def test_the_port_that_was_free_is_told_and_any_path_serves(nursery):
    url = await Server().start(nursery)
    assert int(url.rpartition(":")[2]) > 0
    with trio.fail_after(PATIENCE_S):
        async with opened(url, "other", WEBSOCKET_SUBPROTOCOL) as client:
            assert client.subprotocol == WEBSOCKET_SUBPROTOCOL
            await client.send_message(b"hello")
            assert [await client.get_message(), await client.get_message()] == [b"hello", b"!"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("subprotocols", [(), ("convo.v2",), ("CONVO.V1",)])
async def test_a_client_without_the_subprotocol_gets_http_400_and_what_to_do(nursery, subprotocols):
    server = Server()
    url = await server.start(nursery)
    offered = f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}\r\n" if subprotocols else ""
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                + offered.encode()
                + b"\r\n"
            )
            answer = b"".join([bytes(data) async for data in stream])
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 400")
    assert WEBSOCKET_SUBPROTOCOL.encode() in body
    assert server.links == []
    nursery.cancel_scope.cancel()


async def test_text_is_handed_on_as_bytes(nursery):
    url = await Server().start(nursery)
    with trio.fail_after(PATIENCE_S):
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message("grüß")
            assert await client.get_message() == "grüß".encode()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("code", "stopping", "number"),
    [
        (None, False, 1000),
        (None, True, 1001),
        (Code.TOO_LARGE, False, 1009),
        (Code.BUSY, False, 1013),
        (Code.UNAUTHORIZED, False, 1008),
        (Code.OUT_OF_CREDIT, False, 1008),
    ],
)
async def test_the_goodbye_says_why(nursery, code, stopping, number):
    server = Server()
    server.close_with, server.stopping = code, stopping
    url = await server.start(nursery)
    with trio.fail_after(PATIENCE_S):
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message(b"close")
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason.code == number
    nursery.cancel_scope.cancel()


async def test_what_is_far_too_large_is_not_read(nursery):
    url = await Server().start(nursery, limit=1000)
    with trio.fail_after(PATIENCE_S):
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message(bytes(2000))  # a little: the connection above refuses it with a sentence
            assert len(await client.get_message()) == 2000
            assert await client.get_message() == b"!"
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await client.send_message(bytes(5000))
                await client.get_message()
            assert closed.value.reason.code == 1009
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_a_peer_that_is_no_websocket_harms_nobody(nursery, data):
    url = await Server().start(nursery)
    port = int(url.rpartition(":")[2])
    with trio.fail_after(PATIENCE_S):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(data)
        await stream.aclose()
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as client:
            await client.send_message(b"still")
            assert await client.get_message() == b"still"
    nursery.cancel_scope.cancel()


async def test_a_fault_in_one_connection_leaves_the_listener(nursery, caplog):
    server = Server()
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
    server = Server(token=token, origins=origins)
    url = await server.start(nursery)
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        await stream.send_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.example\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Protocol: convo.v1\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await stream.receive_some(4096)
    assert answer.split(b" ")[1] == str(status).encode()
    nursery.cancel_scope.cancel()


def client_frame(event: Event, *, continues: bool = False) -> bytes:
    """A frame of a client whose handshake is done."""
    client, _, _ = shaken_hands()
    if continues:
        client.send(BytesMessage(b"", message_finished=False))
    return client.send(event)


@pytest.mark.parametrize("first", [0, 1, 150, 1000])
async def test_a_message_in_fragments_between_pings_is_one_message(nursery, first):
    """`first` bytes arrive before the others: the handshake may come in pieces, or with the frames behind it."""
    url = await Server().start(nursery)
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        client = WSConnection(ConnectionType.CLIENT)
        asked = Request(host="localhost", target="/", subprotocols=[WEBSOCKET_SUBPROTOCOL])
        data = b"".join(
            [
                client.send(asked),
                # With the handshake's answer still on its way.
                client_frame(BytesMessage(b"one ", message_finished=False)),
                client_frame(Ping(b"there?")),
                client_frame(BytesMessage(b"message", message_finished=True), continues=True),
            ]
        )
        await stream.send_all(data[:first])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(data[first:])
        had = []
        with trio.fail_after(PATIENCE_S):
            while b"!" not in had:
                client.receive_data(bytes(await stream.receive_some(4096)))
                had += [
                    event.payload if isinstance(event, Pong) else getattr(event, "data", b"")
                    for event in client.events()
                ]
    assert [bytes(one) for one in had if one] == [b"there?", b"one message", b"!"]
    nursery.cancel_scope.cancel()


async def test_a_stranger_is_kept_so_many_bytes_of_and_no_more(nursery, autojump_clock):
    """In fragments without an end, or in control frames: 1009."""
    for event in (BytesMessage(bytes(1000), message_finished=False), Ping(bytes(100))):
        here, there = memory_stream_pair()
        client, server, _ = shaken_hands()
        link = WebSocketLink(server, here, PacedStream(here), SETTINGS)
        sent = 0

        async def receive(link: WebSocketLink = link, here: trio.abc.Stream = here) -> None:
            assert await link.receive() is None
            await here.aclose()

        nursery.start_soon(receive)
        while sent < 2 * STRANGER_BYTES:
            data = client.send(event)
            sent += len(data)
            try:
                await there.send_all(data)
            except trio.BrokenResourceError:
                break
            await trio.testing.wait_all_tasks_blocked()
        assert STRANGER_BYTES < sent <= STRANGER_BYTES + 2 * len(data)
        assert len(link._partial) <= STRANGER_BYTES
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (BytesMessage(b"", message_finished=False), True),
        (BytesMessage(bytes(100), message_finished=False), True),
        (TextMessage("", message_finished=False), True),
        (Ping(b""), True),
        (Pong(b""), True),
        (BytesMessage(bytes(5000), message_finished=False), False),
    ],
)
async def test_frames_that_are_no_message_are_counted(nursery, autojump_clock, event, counts):
    here, there = memory_stream_pair()
    client, server, _ = shaken_hands()
    counted = []
    link = WebSocketLink(
        server, here, PacedStream(here), SETTINGS, pause=lambda size, messages: counted.append(messages) or 7.0
    )
    link.trust()
    nursery.start_soon(link.receive)
    began = trio.current_time()
    await there.send_all(client.send(event) + client.send(event))
    await trio.testing.wait_all_tasks_blocked()
    await there.send_all(client.send(event))
    await trio.sleep(6)
    assert counted == ([2 * EXTRA_WEIGHT] if counts else [])
    await trio.sleep(2)
    assert counted == ([2 * EXTRA_WEIGHT, EXTRA_WEIGHT] if counts else [])
    assert trio.current_time() - began == pytest.approx(8)
    nursery.cancel_scope.cancel()


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
    assert websocket._network(peer) == websocket._network(f"[{network}]:7" if ":" in network else f"{network}:7")
    assert websocket._network(peer) != websocket._network("10.0.0.2:5")


async def test_a_client_that_asks_for_pongs_and_takes_none_is_cut(nursery, autojump_clock):
    here, there = memory_stream_pair()
    here.send_stream.send_all_hook = trio.sleep_forever
    aborted = []
    client, websocket, _ = shaken_hands()
    link = WebSocketLink(
        websocket, here, PacedStream(here, abort=lambda: aborted.append(trio.current_time())), SETTINGS
    )
    await there.send_all(client.send(Ping(b"x")))
    assert await link.receive() is None
    assert aborted == [SETTINGS.stall_s]
    before = trio.current_time()
    await link.close(None)
    assert trio.current_time() - before <= CLOSE_S


async def test_a_goodbye_that_nobody_answers_takes_no_longer_than_it_may(nursery, autojump_clock):
    here, _there = memory_stream_pair()
    _, websocket, _ = shaken_hands()
    link = WebSocketLink(websocket, here, PacedStream(here), SETTINGS)
    await link.close(None, stopping=True)
    assert trio.current_time() == pytest.approx(STOPPING_S)


async def test_a_silent_connection_has_a_sign_of_life_now_and_then(nursery, autojump_clock):
    """A pong that nobody asked for: proxies see traffic, and the peer has nothing to answer."""
    here, there = memory_stream_pair()
    client, websocket, _ = shaken_hands()
    link = WebSocketLink(websocket, here, PacedStream(here), SETTINGS)
    nursery.start_soon(link.keep_alive, 20.0)
    heard = []
    with trio.move_on_after(70):
        while True:
            client.receive_data(bytes(await there.receive_some()))
            heard += [(trio.current_time(), type(event)) for event in client.events()]
    assert heard == [(20.0, Pong), (40.0, Pong), (60.0, Pong)]
    link.abort()
    nursery.cancel_scope.cancel()
