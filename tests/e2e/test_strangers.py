"""A real daemon whose limits of connections are met: floods, large messages without an end, no descriptors left."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from convod.listen.limits import STRANGER_BYTES
from tests.support.daemon import running
from tests.support.sessions import OFF
from tests.support.wire import wired

PATIENCE_S = 60


@asynccontextmanager
async def flood(port: int, hosts: list[str], each: int) -> AsyncIterator[list[int]]:
    """Connections from these addresses that say nothing and, when they are cut, come again. How many came so far."""
    came = [0]

    async def come(host: str) -> None:
        while True:
            with socket.socket() as one:
                one.setblocking(False)
                one.bind((host, 0))
                theirs = trio.socket.from_stdlib_socket(one)
                with suppress(OSError):
                    await theirs.connect(("127.0.0.1", port))
                    came[0] += 1
                    await theirs.recv(1)
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        for host in hosts:
            for _ in range(each):
                nursery.start_soon(come, host)
        yield came
        nursery.cancel_scope.cancel()


async def comes_in(port: int, host: str, latency_s: float) -> bool:
    """Whether a client at that address gets as far as its welcome."""
    with socket.socket() as one:
        one.setblocking(False)
        one.bind((host, 0))
        ours = trio.socket.from_stdlib_socket(one)
        with trio.move_on_after(10), suppress(OSError, trio.BrokenResourceError):
            await ours.connect(("127.0.0.1", port))
            stream = trio.SocketStream(ours)
            await trio.sleep(latency_s)
            await stream.send_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: convo.v1.json\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Version: 13\r\n\r\n"
            )
            had = b""
            while b"\r\n\r\n" not in had:
                had += bytes(await stream.receive_some(4096)) or b"\r\n\r\n"
            await trio.sleep(latency_s)
            hello = b'{"type":"hello","protocol":1,"client":"honest"}'
            await stream.send_all(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)
            while b"welcome" not in had:
                if not (data := bytes(await stream.receive_some(4096))):
                    break
                had += data
            return b"welcome" in had
    return False


@pytest.mark.parametrize(
    ("honest", "latency_s"),
    [pytest.param("127.0.0.2", 0.4, id="another host, far away"), pytest.param("127.0.0.1", 0.0, id="the same host")],
)
async def test_under_a_flood_that_goes_on_an_honest_client_comes_in_each_time(
    tmp_path: Path, honest: str, latency_s: float
) -> None:
    with running(tmp_path) as daemon:
        port = int(daemon.web.rpartition(":")[2])
        async with flood(port, ["127.0.0.1"], 300) as came:
            while came[0] < 600:  # noqa: ASYNC110
                await trio.sleep(0.01)
            before = came[0]
            assert [await comes_in(port, honest, latency_s) for _ in range(10)] == [True] * 10
            assert came[0] > before, "it goes on"
            async with convo.connect(daemon.url) as client:
                await client.request(messages.Ping())


@pytest.mark.parametrize("frame", [b"\x00\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"], ids=["empty fragments", "pongs"])
async def test_frames_without_a_message_hold_nobody_up(tmp_path: Path, frame: bytes) -> None:
    with running(tmp_path) as daemon:

        async def send(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with wired(daemon.web) as wire:
                if frame[0] == 0:
                    await wire.send_raw(b"\x02\x80\0\0\0\0")  # of a message that never ends
                await wire.send_raw(frame * 20_000)
                task_status.started()
                while True:
                    await wire.send_raw(frame * 2000)

        async with convo.connect(daemon.url) as client, trio.open_nursery() as nursery:
            for _ in range(8):
                await nursery.start(send)
            took = []
            for _ in range(50):
                began = trio.current_time()
                await client.request(messages.Ping())
                took.append(trio.current_time() - began)
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
        assert sorted(took)[25] < 0.1, sorted(took)


async def test_strangers_cost_next_to_nothing(tmp_path: Path) -> None:
    """Fifty of them, by either way, each with as much as it can get the daemon to keep."""
    with running(tmp_path) as daemon:

        def memory() -> int:
            return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * resource.getpagesize()

        async with convo.connect(daemon.web):
            pass
        before = memory()
        async with trio.open_nursery() as nursery:

            async def fill(url: str, opened: trio.Event) -> None:
                async with wired(url, hello=False) as wire:
                    if url == daemon.url:
                        await wire.send_raw(b"\0\x0f\xff\xff")
                    for number in range(16):  # a message of 1 MiB that never ends
                        head = b"" if url == daemon.url else bytes([0 if number else 2]) + b"\xfe\xff\xff\0\0\0\0"
                        await wire.send_raw(head + bytes(65535))
                    opened.set()
                    await trio.sleep_forever()

            events = [trio.Event() for _ in range(50)]
            for number, event in enumerate(events):
                nursery.start_soon(fill, daemon.web if number % 2 else daemon.url, event)
            with trio.fail_after(PATIENCE_S):
                for event in events:
                    await event.wait()
            assert memory() - before < 50 * 4 * STRANGER_BYTES + (8 << 20)
            nursery.cancel_scope.cancel()
        async with convo.connect(daemon.web) as client:
            await client.request(messages.Ping())


async def test_without_descriptors_connections_wait_and_those_that_are_open_are_answered(tmp_path: Path) -> None:
    with running(tmp_path, environment={"CONVOD_LISTEN_HOST_HANDSHAKES": "200"}) as daemon:
        async with convo.connect(daemon.url) as client:
            await client.create_session("live", summary=OFF)
            used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
            _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 60, hard))
            port = int(daemon.web.rpartition(":")[2])
            with ExitStack() as stack, trio.fail_after(PATIENCE_S):
                strangers = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(60)]
                await daemon.wait_log("no connections are accepted: files are open up to the limit")
                for _ in range(5):  # the spare ones are for what is at work
                    session = await client.create_session("live", summary=OFF)
                    await session.send_audio(bytes(3200))
                async with convo.connect(daemon.url) as other:
                    await other.request(messages.Status())
                for stranger in strangers:
                    stranger.close()
                await daemon.wait_log("connections are accepted again")
                async with convo.connect(daemon.web) as again:
                    await again.request(messages.Ping())
        assert not [line for line in daemon.log if "Traceback" in line]
