"""What is asyncio's own: cancellation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from convo import connect
from convo.connection import Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    Audio,
    CreateSession,
    CreateSessionReply,
    EndSession,
    Hello,
    Limits,
    Message,
    Ping,
    PingReply,
    SpeechStarted,
    Welcome,
)

LIMITS = Limits(message_bytes=1 << 21, audio_credit=8 << 20, resume_s=1.5)


class Server:
    """A daemon's end in the test's own loop, so that the test decides when it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.connection = Connection(Role.SERVER, LengthPrefixed())

    async def receive(self) -> Message:
        while not isinstance(event := self.connection.next_event(), Message):
            data = await self.reader.read(1 << 16)
            assert data
            self.connection.receive_data(data)
        return event

    def send(self, message: Message) -> None:
        self.writer.write(self.connection.send(message))

    async def greet(self, credit: int) -> None:
        assert isinstance(await self.receive(), Hello)
        self.send(Welcome(protocol=1, server="test", limits=LIMITS, features=[]))
        create = await self.receive()
        assert isinstance(create, CreateSession)
        self.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit))


async def test_a_cancelled_send_leaves_no_half_message(tmp_path: Path) -> None:
    credit = 8 << 20
    go_on = asyncio.Event()
    failed: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = Server(reader, writer)
            await server.greet(credit)
            await go_on.wait()
            offset = 0
            while not isinstance(message := await server.receive(), Ping):
                if isinstance(message, Audio):
                    assert message.offset == offset
                    offset += len(message.data)
            server.send(PingReply(id=message.id, time=offset))
        except BaseException as error:
            failed.append(error)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    async with server, connect(f"unix:{tmp_path / 's'}") as client:
        session = await client.create_session()
        sending = [
            asyncio.create_task(session.send_audio(bytes(credit))),
            asyncio.create_task(client.request(EndSession(session="s"))),
        ]
        before = -1
        while session.sent != before:  # until the socket is full and nothing moves
            before = session.sent
            for _ in range(10):
                await asyncio.sleep(0)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        sent = session.sent
        assert 0 < sent < credit
        go_on.set()
        assert (await client.request(Ping())).time == sent
    assert failed == []


async def test_cancelled_from_outside(tmp_path: Path) -> None:
    inside = asyncio.Event()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(reader, writer)
        await server.greet(0)
        assert await reader.read() == b""
        writer.close()
        ended.set()

    async def stay() -> None:
        async with connect(f"unix:{tmp_path / 's'}") as client:
            await client.create_session()
            inside.set()
            await asyncio.Event().wait()

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        task = asyncio.create_task(stay())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ended.wait()


@pytest.mark.parametrize("cancelled", [False, True], ids=["left", "cancelled"])
async def test_nothing_is_printed_if_the_daemon_speaks_just_as_the_client_leaves(
    tmp_path: Path, cancelled: bool
) -> None:
    """The socket becomes readable in the very turn of the loop in which nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    printed: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: printed.append(context))
    greeted: asyncio.Queue[Server] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = Server(reader, writer)
        await server.greet(0)
        greeted.put_nowait(server)
        with suppress(ConnectionError):  # the client left without having read all
            await reader.read()
        writer.close()

    async def stay() -> None:
        async with connect(f"unix:{tmp_path / 's'}") as client:
            await client.create_session()
            server = await greeted.get()
            for _ in range(10):
                await asyncio.sleep(0)  # until the reader waits again
            server.send(SpeechStarted(session="s", time=0.0))
            if cancelled:
                task.cancel()
            await asyncio.sleep(0)

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        task = asyncio.create_task(stay())
        await asyncio.gather(task, return_exceptions=cancelled)
        await asyncio.sleep(0)
    assert printed == []
