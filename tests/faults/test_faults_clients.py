"""Clients that mean ill or are unlucky: they cost the others nothing, and leave nothing behind."""

from __future__ import annotations

import socket
import struct
from contextlib import AsyncExitStack, suppress

import msgpack
import pytest
import trio
from wsproto.events import BytesMessage

import convo
from convo import messages
from tests.support.daemon import Daemon
from tests.support.faults import Row, unharmed, warm
from tests.support.sessions import OFF
from tests.support.wire import shaken_hands, wired

WAYS = {"url": "Unix socket", "web": "WebSocket port"}


async def connect(url: str) -> trio.SocketStream:
    if url.startswith("unix:"):
        return await trio.open_unix_socket(url.removeprefix("unix:"))
    return await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))


@pytest.mark.parametrize("transport", [pytest.param("url", marks=pytest.mark.slow), "web"])
async def test_a_thousand_connections_that_say_nothing(daemon: Daemon, row: Row, transport: str) -> None:
    row.promise(
        f"1,000 connections that say nothing ({WAYS[transport]})",
        "a newcomer is served at once; the silent are cut after `handshake_s`, the oldest before if there are too many",
    )
    await warm(daemon)
    url = getattr(daemon, transport)
    longest = 0.0

    async def fault() -> None:
        nonlocal longest
        async with AsyncExitStack() as stack:
            for _ in range(1000):
                await stack.enter_async_context(await connect(url))
            for _ in range(5):
                begun = trio.current_time()
                async with convo.connect(daemon.url) as client, convo.connect(daemon.web):
                    await client.request(messages.Ping())
                longest = max(longest, trio.current_time() - begun)

    async with unharmed(daemon) as witness:
        await witness.during(fault)
    assert longest < 5  # on a busy machine
    row.saw(f"newcomers greeted within {longest * 1000:.0f} ms; {witness.seen}")


@pytest.mark.parametrize("transport", ["url", pytest.param("web", marks=pytest.mark.slow)])
async def test_slow_loris(daemon: Daemon, row: Row, transport: str) -> None:
    row.promise(
        f"50 slow-loris clients: a byte of their hello at a time ({WAYS[transport]})",
        "each is cut when its handshake has taken `handshake_s`",
    )
    await warm(daemon)
    hello = msgpack.packb({"type": "hello", "protocol": 1, "client": "slow" * 30})
    opening = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n" + b"X: y\r\n" * 50
    data = struct.pack(">I", len(hello)) + hello if transport == "url" else opening
    cut: list[float] = []

    async def drip() -> None:
        begun = trio.current_time()
        async with await connect(getattr(daemon, transport)) as stream:
            with suppress(trio.BrokenResourceError):
                for byte in data:
                    await stream.send_all(bytes([byte]))
                    with trio.move_on_after(0.1):
                        while await stream.receive_some():
                            pass
                        break
        cut.append(trio.current_time() - begun)

    async def fault() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(drip)

    async with unharmed(daemon) as witness:
        await witness.during(fault)
    assert len(cut) == 50
    assert max(cut) < 6
    row.saw(f"all cut within {max(cut):.1f} s; {witness.seen}")


@pytest.mark.parametrize("transport", [pytest.param("url", marks=pytest.mark.slow), "web"])
async def test_a_client_that_sends_without_reading(daemon: Daemon, row: Row, transport: str) -> None:
    row.promise(
        f"a client that asks without reading the answers ({WAYS[transport]})",
        "it is read no further than its answers fit, and cut after `stall_s`",
    )
    await warm(daemon)

    async def fault() -> None:
        async with wired(getattr(daemon, transport)) as wire:
            with suppress(trio.BrokenResourceError, trio.TooSlowError), trio.fail_after(20):
                number = 0
                while True:
                    await wire.send_payload(
                        *(msgpack.packb({"type": "list_models", "id": number + at}) for at in range(100))
                    )
                    # `send_payload` hides a broken stream: the socket itself knows.
                    await wire.stream.send_all(b"")
                    number += 100
                    if any("takes nothing" in line for line in daemon.log):
                        return

    async with unharmed(daemon) as witness:
        await witness.during(fault)
        await daemon.wait_log("its client takes nothing")
    row.saw(f"cut; {witness.seen}")


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_socket_cut_at_every_byte_of_a_conversation(daemon: Daemon, row: Row, transport: str) -> None:
    row.promise(
        f"a link cut at every byte of a conversation (handshake, hello, attach, audio, finalize, detach), half by a "
        f"reset ({WAYS[transport]})",
        "the session goes on from the last acknowledged byte, with neither gap nor repetition",
    )
    await warm(daemon)
    url = getattr(daemon, transport)
    audio = bytes(range(0, 240, 2)) * 2
    cuts = 0

    async with convo.connect(url) as client:
        live = await client.create_session("live", summary=OFF)
        session = live.id
    frames = [
        {"type": "hello", "protocol": 1, "client": "cut"},
        {"type": "attach", "id": 1, "session": session, "after_seq": 0, "produce": True},
        {"type": "audio", "session": session, "offset": 0, "data": audio},
        {"type": "ping", "id": 2},
        {"type": "finalize", "id": 3, "session": session},
        {"type": "detach", "id": 4, "session": session},
    ]
    # An answer comes after each part but the last, before which nothing more may be sent.
    parts = _spoken([msgpack.packb(frame) for frame in frames], web=transport == "web")

    async def fault() -> None:
        nonlocal cuts
        for end in range(sum(map(len, parts))):
            stream = await connect(url)
            if end % 2:  # a reset instead of a goodbye
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for part in parts:
                await stream.send_all(part[:end])
                end -= len(part)
                if end <= 0:
                    break
                assert await stream.receive_some(4096)
            await trio.aclose_forcefully(stream)
            cuts += 1

    async with unharmed(daemon) as witness:
        await witness.during(fault)
        async with wired(url) as wire:
            attached = await wire.ask("attach", session=session, produce=True)
            # The one who cut it sent all of the audio many times, each time from its beginning.
            assert attached["audio_offset"] == len(audio)
            await wire.send({"type": "audio", "session": session, "offset": len(audio), "data": b"\x01\x00"})
            await wire.wait(lambda message: message.get("offset") == len(audio) + 2)
            assert (await wire.ask("end_session", session=session))["type"] == "ok"
            await wire.wait(lambda message: message.get("state") == "completed")
        stored = [message["seq"] for message in wire.passed if "seq" in message and message.get("session") == session]
        assert stored == sorted(set(stored))
    row.saw(f"{cuts} cuts, {len(audio)} bytes stored once; {witness.seen}")


def _spoken(bodies: list[bytes], *, web: bool) -> list[bytes]:
    """What a client writes: (the WebSocket's request,) the hello, all the rest."""
    if not web:
        hello, *rest = (struct.pack(">I", len(body)) + body for body in bodies)
        return [hello, b"".join(rest)]
    side, _, request = shaken_hands()
    hello, *rest = (side.send(BytesMessage(data=body)) for body in bodies)
    return [request, hello, b"".join(rest)]
