"""What is trio's own: cancellation, TLS."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

import pytest
import trio

import convo
from convo.connection import Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    Audio,
    AudioAck,
    CreateSession,
    CreateSessionReply,
    EndSession,
    Export,
    ExportReply,
    Hello,
    Limits,
    Message,
    Ping,
    PingReply,
    Reply,
    Welcome,
)


class Server:
    """A daemon's end in the test's own loop, so that the test decides when it reads."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.connection = Connection(Role.SERVER, LengthPrefixed())

    async def receive(self) -> Message:
        while not isinstance(event := self.connection.next_event(), Message):
            data = bytes(await self.stream.receive_some())
            assert data
            self.connection.receive_data(data)
        return event

    async def send(self, message: Message) -> None:
        await self.stream.send_all(self.connection.send(message))

    async def greet(self, credit: int) -> None:
        assert isinstance(await self.receive(), Hello)
        limits = Limits(message_bytes=1 << 21, audio_credit=credit, resume_s=1.5)
        await self.send(Welcome(protocol=1, server="test", limits=limits, features=[]))


async def listen(path: Path) -> trio.SocketListener:
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen()
    return trio.SocketListener(listener)


async def test_a_cancelled_send_leaves_no_half_message(tmp_path: Path) -> None:
    """The daemon does not read, the socket is full, what waits is cancelled; then the daemon reads on."""
    credit = 8 << 20
    listener = await listen(tmp_path / "s")
    blocked = trio.Event()
    done = trio.Event()

    async def serve() -> None:
        server = Server(await listener.accept())
        async with server.stream:
            await server.greet(credit)
            create = await server.receive()
            assert isinstance(create, CreateSession)
            await server.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit))
            await blocked.wait()
            offset = 0
            while not isinstance(message := await server.receive(), Ping):
                if isinstance(message, Audio):
                    assert message.offset == offset
                    offset += len(message.data)
            await server.send(PingReply(id=message.id, time=offset))
            await done.wait()

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        async with convo.connect(f"unix:{tmp_path / 's'}") as client:
            session = await client.create_session()
            async with trio.open_nursery() as sending:
                sending.start_soon(session.send_audio, bytes(credit))
                sending.start_soon(client.request, EndSession(session="s"))
                await trio.testing.wait_all_tasks_blocked()
                sending.cancel_scope.cancel()
            sent = session.sent
            assert 0 < sent < credit
            blocked.set()
            assert (await client.request(Ping())).time == sent
            await session.send_audio(bytes(4))
            assert session.sent == sent + 4
            done.set()


async def test_a_cancelled_request_leaves_the_connection_usable(tmp_path: Path) -> None:
    listener = await listen(tmp_path / "s")

    async def serve() -> None:
        server = Server(await listener.accept())
        async with server.stream:
            await server.greet(0)
            create = await server.receive()
            assert isinstance(create, CreateSession)
            export = await server.receive()
            assert isinstance(export, Export)
            await server.send(CreateSessionReply(id=create.id, session="s", config={}, credit=9))
            await server.send(AudioAck(session="s", offset=0, credit=1))
            await server.send(ExportReply(id=export.id, content="x"))
            assert await server.stream.receive_some() == b""

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        async with convo.connect(f"unix:{tmp_path / 's'}") as client:
            async with trio.open_nursery() as asking:
                asking.start_soon(client.create_session)
                await trio.testing.wait_all_tasks_blocked()
                asking.cancel_scope.cancel()
            assert await client.export("s", "txt") == "x"
            assert client._io.core.attached("s") is None  # noqa: SLF001 - what is dropped shows nowhere


async def test_cancelled_from_outside(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    listener = await listen(tmp_path / "s")

    async def serve() -> None:
        server = Server(await listener.accept())
        async with server.stream:
            await server.greet(0)
            assert await server.stream.receive_some() == b""

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        with trio.move_on_after(1) as scope:
            async with convo.connect(f"unix:{tmp_path / 's'}"):
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_daemon_that_reads_nothing_does_not_hold_up_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    listener = await listen(tmp_path / "s")
    left = trio.Event()

    async def serve() -> None:
        server = Server(await listener.accept())
        async with server.stream:
            await server.greet(1 << 30)
            create = await server.receive()
            assert isinstance(create, CreateSession)
            await server.send(CreateSessionReply(id=create.id, session="s", config={}, credit=1 << 30))
            await left.wait()

    async with trio.open_nursery() as nursery, listener:
        nursery.start_soon(serve)
        async with convo.connect(f"unix:{tmp_path / 's'}") as client:
            session = await client.create_session()
            with trio.move_on_after(1):
                await session.send_audio(bytes(64 << 20))
        left.set()


async def test_wss_checks_the_certificate(tmp_path: Path) -> None:
    async def close(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(trio.serve_tcp, close, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(convo.CannotConnect):
            async with convo.connect(f"wss://127.0.0.1:{port}", ssl_context=ssl.create_default_context()):
                pytest.fail("this is not open")
        nursery.cancel_scope.cancel()


def test_reply_is_what_it_says() -> None:
    assert EndSession.Reply is Reply
