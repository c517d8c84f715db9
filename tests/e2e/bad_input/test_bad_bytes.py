"""Bytes that are no message, over real sockets: each a clear error, and nobody else notices."""

from __future__ import annotations

import struct
from random import Random

import msgpack
import pytest

from tests.support.daemon import Daemon
from tests.support.wire import wired

LIMIT = 1 << 20

BOTH = pytest.mark.parametrize("transport", ["url", "web"])


def nested(depth: int) -> bytes:
    return b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * depth + b"\xc0"


NO_MESSAGE = {
    "nothing": b"",
    "a byte that MessagePack never uses": b"\xc1",
    "noise": Random(1).randbytes(4096),
    "a line of text": b"GET / HTTP/1.1\r\n\r\n",
    "a list": msgpack.packb(["ping"]),
    "a number": msgpack.packb(7),
    "a cut map": msgpack.packb({"type": "ping", "id": 1})[:-1],
    "two maps in one": msgpack.packb({"type": "ping", "id": 1}) * 2,
    "a map without type": msgpack.packb({"id": 1}),
    "a type that is a number": msgpack.packb({"type": 5, "id": 1}),
    "keys that are numbers": msgpack.packb({"type": "ping", 1: 2}),
    "text that is no UTF-8": b"\x81\xa4type\xa2\xff\xff",
    "lists in lists without end": nested(100_000),
    "a list of four billion": b"\x82\xa4type\xa4ping\xa1x\xdd\xff\xff\xff\xff",
    "a string of four gigabytes": b"\x82\xa4type\xa4ping\xa1x\xdb\xff\xff\xff\xff",
}


@BOTH
@pytest.mark.parametrize("payload", NO_MESSAGE.values(), ids=NO_MESSAGE)
async def test_bytes_that_are_no_message_are_told_so_and_the_connection_closes(
    daemon: Daemon, transport: str, payload: bytes
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        await wire.send_payload(payload)
        (error,) = await wire.wait_end()
    assert error["type"] == "error"
    assert error["code"] == "bad_message"
    assert "id" not in error
    assert error["message"].endswith(".")
    assert wire.close_code in (None, 1008)


@BOTH
async def test_bytes_that_are_no_message_are_refused_before_hello_too(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport), hello=False) as wire:
        await wire.send_payload(b"\xc1")
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"


@BOTH
async def test_what_was_asked_before_the_broken_message_does_not_swallow_the_error(
    daemon: Daemon, transport: str
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        # In one piece, so that the daemon reads the broken message before it has written an answer.
        await wire.send_payload(*[msgpack.packb({"type": "ping", "id": number}) for number in range(1, 9)], b"\xc1")
        said = await wire.wait_end()
    assert said[-1]["code"] == "bad_message"


async def test_a_frame_that_claims_four_gibibytes_is_refused_by_its_header(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        await wire.send_raw(b"\xff\xff\xff\xff" + b"\x80" * 100)
        (error,) = await wire.wait_end()
    assert error["code"] == "too_large"
    assert str(LIMIT) in error["message"]


async def test_a_websocket_frame_that_claims_a_tebibyte_is_not_waited_for(daemon: Daemon) -> None:
    async with wired(daemon.web) as wire:
        header = b"\x82" + bytes([0x80 | 127]) + struct.pack(">Q", 1 << 40) + b"\0\0\0\0"
        await wire.send_raw(header + b"\x80" * (5 * LIMIT))
        await wire.wait_end()
    assert wire.close_code in (1009, None)  # None: it was cut while it still sent


@BOTH
@pytest.mark.parametrize("over", [1, LIMIT])
async def test_a_message_over_the_limit_is_refused_and_the_connection_closes(
    daemon: Daemon, transport: str, over: int
) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        message = {"type": "ping", "id": 1, "x": b""}
        room = LIMIT + over - len(msgpack.packb(message)) - 3  # a longer bin has a longer header
        await wire.send(message | {"x": bytes(room)})
        (error,) = await wire.wait_end()
    assert error["code"] == "too_large"
    assert "id" not in error
    assert wire.close_code == (1009 if transport == "web" else None)


@BOTH
async def test_a_message_at_the_limit_is_taken(daemon: Daemon, transport: str) -> None:
    async with wired(getattr(daemon, transport)) as wire:
        message = {"type": "ping", "id": 1, "x": b""}
        payload = msgpack.packb(message | {"x": bytes(LIMIT - len(msgpack.packb(message)) - 3)})
        assert len(payload) == LIMIT
        await wire.send_payload(payload)
        assert (await wire.receive())["type"] == "ok"


async def test_a_text_message_on_a_websocket_is_no_message(daemon: Daemon) -> None:
    async with wired(daemon.web) as wire:
        await wire.send_text('{"type": "ping", "id": 1}')
        (error,) = await wire.wait_end()
    assert error["code"] == "bad_message"
    assert wire.close_code == 1008


async def test_a_connection_that_breaks_inside_a_frame_is_forgotten(daemon: Daemon) -> None:
    async with wired(daemon.url) as wire:
        await wire.send_raw(struct.pack(">I", 1000) + b"\x82\xa4type")
