from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing
import trio_websocket
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, Event, Ping, Pong, Request, TextMessage

from convo.messages import WEBSOCKET_SUBPROTOCOL, Code
from convod.listen.limits import STRANGER_BYTES
from convod.listen.pace import READ_BYTES
from convod.listen.websocket import CLOSE_S, EXTRA_WEIGHT, STOPPING_S
from tests.daemon.support.websockets import PATIENCE_S, SETTINGS, EchoServer, LinkInMemory, opened, port_of
from tests.support.wire import shaken_hands


async def test_the_port_that_was_free_is_told_and_any_path_serves(nursery):
    url = await EchoServer().start(nursery)
    assert port_of(url) > 0
    with trio.fail_after(PATIENCE_S):
        async with opened(url, "other", WEBSOCKET_SUBPROTOCOL) as client:
            assert client.subprotocol == WEBSOCKET_SUBPROTOCOL
            await client.send_message(b"hello")
            assert [await client.get_message(), await client.get_message()] == [b"hello", b"!"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("subprotocols", [(), ("convo.v2",), ("CONVO.V1",)])
async def test_a_client_without_the_subprotocol_gets_http_400_and_what_to_do(nursery, subprotocols):
    server = EchoServer()
    url = await server.start(nursery)
    offered = f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}\r\n" if subprotocols else ""
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port_of(url)) as stream:
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
    url = await EchoServer().start(nursery)
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
    server = EchoServer()
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
    url = await EchoServer().start(nursery, limit=1000)
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


def client_frame(event: Event, *, continues: bool = False) -> bytes:
    """A frame of a client whose handshake is done."""
    client, _, _ = shaken_hands()
    if continues:
        client.send(BytesMessage(b"", message_finished=False))
    return client.send(event)


@pytest.mark.parametrize("first", [0, 1, 150, 1000])
async def test_a_message_in_fragments_between_pings_is_one_message(nursery, first):
    """`first` bytes arrive before the others: the handshake may come in pieces, or with the frames behind it."""
    url = await EchoServer().start(nursery)
    async with await trio.open_tcp_stream("127.0.0.1", port_of(url)) as stream:
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


@pytest.fixture
def memory() -> LinkInMemory:
    return LinkInMemory()


@pytest.mark.parametrize("event", [BytesMessage(bytes(1000), message_finished=False), Ping(bytes(100))])
async def test_of_a_stranger_so_many_bytes_are_read_and_no_more(memory, nursery, autojump_clock, event):
    """In fragments without an end, or in control frames: 1009."""
    link = await memory.shake_hands(nursery)
    nursery.start_soon(link.attend, SETTINGS.ping_s)
    before = memory.read
    for _ in range(2 * STRANGER_BYTES // 100):
        size = await memory.send(event)
        if memory.close_codes:
            break
    assert STRANGER_BYTES < memory.read - before <= STRANGER_BYTES + size
    assert await link.receive() is None
    assert memory.close_codes == [1009]
    nursery.cancel_scope.cancel()


async def test_of_a_stranger_one_message_is_read_until_it_is_trusted(memory, nursery, autojump_clock):
    link = await memory.shake_hands(nursery)
    await memory.send(BytesMessage(b"hello"))
    assert await link.receive() == b"hello"
    await memory.send(BytesMessage(bytes(1000)))
    await memory.send(*[BytesMessage(bytes(1000), message_finished=False)] * 100)
    received = []

    async def receive() -> None:
        received.append(await link.receive())

    nursery.start_soon(receive)
    await trio.sleep(5)
    assert received == []
    link.trust()
    await trio.sleep(1)
    assert received == [bytes(1000)]
    nursery.cancel_scope.cancel()


async def test_a_stranger_that_is_refused_sends_no_more_than_before(memory, nursery, autojump_clock):
    fragment = client_frame(BytesMessage(bytes(1000), message_finished=False))
    link = await memory.shake_hands(nursery)
    await memory.send(BytesMessage(b"hello"))
    assert await link.receive() == b"hello"
    ended = trio.Event()

    async def close() -> None:
        await link.close(Code.UNAUTHORIZED)
        ended.set()

    nursery.start_soon(close)
    before, began = memory.read, trio.current_time()
    while not ended.is_set():
        await memory.stream.send_all(fragment)
        await trio.testing.wait_all_tasks_blocked()
    assert memory.read - before <= STRANGER_BYTES + len(fragment)
    assert trio.current_time() == began
    assert memory.close_codes == [1008]
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
async def test_frames_that_are_no_message_are_counted(memory, nursery, autojump_clock, event, counts):
    counted = []
    link = await memory.shake_hands(nursery, lambda size, messages: counted.append(messages) or 7.0)
    link.trust()
    began = trio.current_time()
    await memory.send(event, event)
    await trio.testing.wait_all_tasks_blocked()
    await memory.send(event)
    await trio.sleep(6)
    assert counted == ([2 * EXTRA_WEIGHT] if counts else [])
    await trio.sleep(2)
    assert counted == ([2 * EXTRA_WEIGHT, EXTRA_WEIGHT] if counts else [])
    assert trio.current_time() - began == pytest.approx(8)
    nursery.cancel_scope.cancel()


async def test_messages_that_came_together_are_told_from_those_that_come_later(memory, nursery, autojump_clock):
    link = await memory.shake_hands(nursery)
    link.trust()
    await memory.send(*(BytesMessage(bytes([number])) for number in range(3)))
    await trio.testing.wait_all_tasks_blocked()
    assert await link.receive() == b"\0"
    await memory.send(BytesMessage(b"later"))
    assert [await link.receive_ready() for _ in range(4)] == [b"\1", b"\2", None, None]
    assert await link.receive() == b"later"
    nursery.cancel_scope.cancel()


async def test_a_client_whose_answers_wait_is_not_read_either(memory, nursery, autojump_clock):
    link = await memory.shake_hands(nursery)
    link.trust()
    before = memory.read
    for number in range(10):
        await memory.send(BytesMessage(bytes([number]) * 20_000))
    # One message waits to be received; of the next there is no more than what came in the same read.
    assert memory.read - before <= 20_000 + 2 * READ_BYTES
    assert await link.receive() == b"\0" * 20_000
    nursery.cancel_scope.cancel()


async def test_a_client_that_asks_for_pongs_and_takes_none_is_cut(memory, nursery, autojump_clock):
    link = await memory.shake_hands(nursery)
    began = trio.current_time()
    memory.here.send_stream.send_all_hook = trio.sleep_forever
    await memory.send(Ping(b"x"))
    assert await link.receive() is None
    assert memory.aborted == [began + SETTINGS.stall_s]
    before = trio.current_time()
    await link.close(None)
    assert trio.current_time() - before <= CLOSE_S
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("stopping", "seconds"), [(True, STOPPING_S), (False, CLOSE_S)])
async def test_a_goodbye_that_nobody_answers_takes_no_longer_than_it_may(
    memory, nursery, autojump_clock, stopping, seconds
):
    link = await memory.shake_hands(nursery)
    began = trio.current_time()
    await link.close(None, stopping=stopping)
    assert trio.current_time() - began == pytest.approx(seconds)
    nursery.cancel_scope.cancel()


async def test_a_goodbye_gets_out_when_everything_is_cancelled(memory, nursery, autojump_clock):
    with trio.CancelScope() as reading:
        async with trio.open_nursery() as readers:
            link = await memory.shake_hands(readers)
            reading.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()  # the reader has ended
                await link.close(None, stopping=True)
    assert b"\x03\xe9" in await memory.stream.receive_some()


async def test_a_silent_connection_has_a_sign_of_life_now_and_then(memory, nursery, autojump_clock):
    """A pong that nobody asked for: proxies see traffic, and the peer has nothing to answer."""
    link = await memory.shake_hands(nursery)
    nursery.start_soon(link.attend, 20.0)
    began = trio.current_time()
    await trio.sleep(70)
    assert [(at - began, type(event)) for at, event in memory.had] == [(20.0, Pong), (40.0, Pong), (60.0, Pong)]
    nursery.cancel_scope.cancel()


GOODBYE = b"\x88\x02\x03\xe8"
"""A close frame with code 1000."""


async def test_a_ping_that_crosses_our_goodbye_ends_its_own_connection_only(nursery, caplog):
    url = await EchoServer().start(nursery)
    with trio.fail_after(PATIENCE_S):
        async with await trio.open_tcp_stream("127.0.0.1", port_of(url)) as stream:
            client = WSConnection(ConnectionType.CLIENT)
            asked = Request(host="localhost", target="/", subprotocols=[WEBSOCKET_SUBPROTOCOL])
            await stream.send_all(client.send(asked))
            client.receive_data(bytes(await stream.receive_some()))
            ping = client.send(Ping(b"?"))
            await stream.send_all(client.send(BytesMessage(b"close")))
            assert (await stream.receive_some()).startswith(GOODBYE)
            await stream.send_all(ping)
            began = trio.current_time()
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
            assert trio.current_time() - began < CLOSE_S
        async with opened(url, WEBSOCKET_SUBPROTOCOL) as other:
            await other.send_message(b"still")
            assert await other.get_message() == b"still"
    nursery.cancel_scope.cancel()
    assert "fault of convod" not in caplog.text
