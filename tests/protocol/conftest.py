"""A daemon that does what a test's script says, on real sockets, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket

import convo
from convo.connection import NEED_DATA, Connection, Malformed, Role
from convo.framing import LengthPrefixed, WholeMessages
from convo.messages import Hello, Limits, Message, Welcome

LIMITS = Limits(message_bytes=8192, audio_credit=16, resume_s=1.5)


class Peer:
    """The daemon's end of one connection, in the hands of a script."""

    def __init__(self, connection: Connection, stream: trio.abc.Stream | trio_websocket.WebSocketConnection):
        self._connection = connection
        self._stream = stream

    async def send(self, *messages: Message) -> None:
        data = [self._connection.send(message) for message in messages]
        if isinstance(self._stream, trio.abc.Stream):
            await self._stream.send_all(b"".join(data))
        else:
            for message in data:
                await self._stream.send_message(message)

    async def send_raw(self, payload: bytes) -> None:
        """A payload that may be no message."""
        if isinstance(self._stream, trio.abc.Stream):
            await self._stream.send_all(LengthPrefixed().wrap(payload))
        else:
            await self._stream.send_message(payload)

    async def receive(self) -> Message | None:
        """The next message of the client, None at the end."""
        while (event := self._connection.next_event()) is NEED_DATA:
            try:
                if isinstance(self._stream, trio.abc.Stream):
                    data = bytes(await self._stream.receive_some())
                    if not data:
                        return None
                else:
                    data = await self._stream.get_message()
            except (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
                return None
            self._connection.receive_data(data)
        assert not isinstance(event, Malformed), event
        assert isinstance(event, Message)
        return event

    async def greet(self) -> Hello:
        """The handshake."""
        hello = await self.receive()
        assert isinstance(hello, Hello)
        await self.send(Welcome(protocol=1, server="scripted", limits=LIMITS, features=["live"]))
        return hello

    async def close(self) -> None:
        await self._stream.aclose()

    async def wait_gone(self) -> None:
        """The client went away without another word."""
        assert await self.receive() is None


Script = Callable[[Peer], Awaitable[None]]
Daemon = Callable[[Script], AbstractContextManager[str]]


@pytest.fixture(params=["unix", "ws"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Daemon:
    """`with daemon(script) as url`: each connection runs the script; what it raises, the block raises."""
    path = tmp_path / "s"

    @contextmanager
    def start(script: Script) -> Iterator[str]:
        ready = threading.Event()
        url = ""
        failed: list[BaseException] = []
        stop: Callable[[], None] = lambda: None  # noqa: E731

        async def stream_handler(stream: trio.SocketStream) -> None:
            await script(Peer(Connection(Role.SERVER, LengthPrefixed()), stream))

        async def websocket_handler(wanted: trio_websocket.WebSocketRequest) -> None:
            assert tuple(wanted.proposed_subprotocols) == ("convo.v1",)
            websocket = await wanted.accept(subprotocol="convo.v1")
            await script(Peer(Connection(Role.SERVER, WholeMessages()), websocket))

        async def serve() -> None:
            nonlocal url, stop
            token = trio.lowlevel.current_trio_token()
            async with trio.open_nursery() as nursery:
                stop = functools.partial(token.run_sync_soon, nursery.cancel_scope.cancel)
                if request.param == "unix":
                    listener = trio.socket.socket(trio.socket.AF_UNIX)
                    await listener.bind(str(path))
                    listener.listen()
                    nursery.start_soon(trio.serve_listeners, stream_handler, [trio.SocketListener(listener)])
                    url = f"unix:{path}"
                else:
                    server = await nursery.start(
                        trio_websocket.serve_websocket, websocket_handler, "127.0.0.1", 0, None
                    )
                    url = f"ws://127.0.0.1:{server.port}/any"
                ready.set()

        def run() -> None:
            try:
                trio.run(serve)
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        try:
            yield url
        finally:
            if thread.is_alive():
                with suppress(trio.RunFinishedError):
                    stop()
            thread.join()
            if failed:  # that is why the block failed, if it did
                raise failed[0]

    return start


SECONDS = 10
"""No test waits that long unless it has failed."""


class Loop:
    """A loop to run a client under."""

    def __init__(self, name: str) -> None:
        self.name = name

    def connect(self, url: str, **options: Any) -> AbstractAsyncContextManager[convo.Client]:
        return convo.connect(url, **options)

    def run(self, body: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def under_trio() -> None:
            with trio.fail_after(SECONDS):
                await body(*args)

        async def under_asyncio() -> None:
            async with asyncio.timeout(SECONDS):
                await body(*args)

        if self.name == "trio":
            trio.run(under_trio)
        else:
            asyncio.run(under_asyncio())

    async def both(self, *bodies: Callable[[], Awaitable[None]]) -> None:
        """Run side by side."""
        if self.name == "trio":
            async with trio.open_nursery() as nursery:
                for body in bodies:
                    nursery.start_soon(body)
        else:
            await asyncio.gather(*(body() for body in bodies))


@pytest.fixture(params=["trio", "asyncio"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)
