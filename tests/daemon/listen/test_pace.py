from __future__ import annotations

import pytest
import trio
import trio.testing

from convod.listen.pace import READ_BYTES, REST_S, PacedStream


@pytest.fixture
def pair():
    here, there = trio.testing.memory_stream_pair()
    return PacedStream(here), there


async def test_a_stream_that_does_not_rest_is_read_at_once(pair, autojump_clock):
    stream, client = pair
    for _ in range(3):
        await client.send_all(b"x")
        assert await stream.receive_some() == b"x"
    assert trio.current_time() == 0.0


async def test_in_silence_what_comes_within_a_rest_is_read_at_once(pair, autojump_clock):
    stream, client = pair
    stream.rests = True
    reads = []

    async def send() -> None:
        for i in range(20):
            await trio.sleep_until(i * REST_S / 5)
            await client.send_all(bytes([i]))
        await client.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while data := await stream.receive_some():
            reads.append((trio.current_time(), bytes(data)))
    assert b"".join(data for _, data in reads) == bytes(range(20))
    assert len(reads) <= 6


async def test_streams_rest_until_the_same_moments(autojump_clock):
    woken = []

    async def read(stream: PacedStream, client: trio.abc.Stream, begin: float) -> None:
        await trio.sleep_until(begin)
        await client.send_all(b"a")
        stream.rests = True
        await stream.receive_some()
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for i in range(7):
            here, there = trio.testing.memory_stream_pair()
            nursery.start_soon(read, PacedStream(here), there, 3.0 + REST_S * (i + 1) / 10)
    assert woken == [pytest.approx(3.0 + REST_S)] * 7


async def test_it_wakes_to_speech_at_its_next_read(pair, autojump_clock):
    stream, client = pair
    stream.rests = True
    await client.send_all(b"a")
    await stream.receive_some()
    stream.rests = False
    await client.send_all(b"b")
    before = trio.current_time()
    assert await stream.receive_some() == b"b"
    assert trio.current_time() == before


async def test_a_backlog_is_read_without_a_rest(pair, autojump_clock):
    stream, client = pair
    stream.rests = True
    backlog = bytes(5 * READ_BYTES)
    await client.send_all(backlog)
    had = b""
    while len(had) < len(backlog):
        had += await stream.receive_some()
    assert trio.current_time() <= REST_S


async def test_it_sends_and_closes_as_the_stream_does(pair, autojump_clock):
    stream, client = pair
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"words")
    assert await client.receive_some() == b"words"
    await stream.send_eof()
    assert await client.receive_some() == b""
    await stream.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"more")
