"""Both clients, over both transports, against a daemon that follows a script: the same tests for all four."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio_websocket

import convo
from convo.messages import (
    AnswerProgress,
    AnswerSentence,
    Ask,
    AskReply,
    Audio,
    Bookmark,
    CancelAsk,
    EndSession,
    Error,
    Export,
    ExportReply,
    GetSession,
    GetSessionReply,
    ModelProgress,
    Ping,
    PingReply,
    PullModel,
    PullModelReply,
    Segment,
    State,
)
from tests.protocol.scripts import collect, expect, open_session

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


# --- requests ---------------------------------------------------------------------------------------------


def test_request_gets_its_typed_reply(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        hello = await peer.greet()
        assert (hello.client, hello.token) == ("me/1", "secret")
        ping = await expect(peer, Ping)
        await peer.send(PingReply(id=ping.id, time=1.5))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url, client="me/1", token="secret") as client:
            assert client.welcome.limits.audio_credit == 16
            assert await client.request(Ping()) == PingReply(id=1, time=1.5)
            assert not client.lost

    with daemon(script) as url:
        loop.run(client, url)


def test_refused_request_raises_and_the_connection_stays(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for _ in range(2):
            request = await expect(peer, EndSession)
            await peer.send(Error(id=request.id, code="unknown_session", message="There is none."))

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            for _ in range(2):
                with pytest.raises(convo.RequestError, match=r"^There is none\.$") as caught:
                    await client.request(EndSession(session="s"))
                assert caught.value.code == convo.Code.UNKNOWN_SESSION

    with daemon(script) as url:
        loop.run(client, url)


def test_replies_may_come_in_any_order(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        pings = [await expect(peer, Ping) for _ in range(3)]
        await peer.send(*(PingReply(id=ping.id, time=ping.id) for ping in reversed(pings)))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:

            async def ping() -> None:
                reply = await client.request(Ping())
                assert reply.time == reply.id

            await loop.both(ping, ping, ping)

    with daemon(script) as url:
        loop.run(client, url)


def test_export_joins_its_pieces(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for offset, content, after in ((0, "ab", 2), (2, "cd", 4), (4, "e", None)):
            request = await expect(peer, Export)
            assert (request.session, request.format, request.offset) == ("s", "txt", offset)
            await peer.send(ExportReply(id=request.id, content=content, next=after))
        request = await expect(peer, Export)
        await peer.send(ExportReply(id=request.id, content="x", next=0))

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            assert await client.export("s", "txt") == "abcde"
            with pytest.raises(convo.RemoteProtocolError, match="does not move on"):
                await client.export("s", "txt")

    with daemon(script) as url:
        loop.run(client, url)


def page(number: int, *segments: int, more: bool) -> GetSessionReply:
    return GetSessionReply(
        id=number,
        session="s",
        kind="live",
        title="",
        state=State.COMPLETED,
        created=0,
        duration_s=1,
        segments=[
            Segment(segment=segment, start=0, end=1, text="x", language="en", confidence=1) for segment in segments
        ],
        summary=None,
        more=more,
        marks=[Bookmark(time=1.0)] if 0 in segments else [],
    )


def test_get_session_joins_its_pages(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        for after, segments in ((None, (0, 1)), (1, (2,)), (2, ())):
            request = await expect(peer, GetSession)
            assert request.after_segment == after
            await peer.send(page(request.id, *segments, more=bool(segments)))
        request = await expect(peer, GetSession)
        await peer.send(page(request.id, more=True))

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            reply = await client.get_session("s")
            assert [segment.segment for segment in reply.segments] == [0, 1, 2]
            assert not reply.more
            assert reply.marks == [Bookmark(time=1.0)]
            with pytest.raises(convo.RemoteProtocolError, match="does not move on"):
                await client.get_session("s")

    with daemon(script) as url:
        loop.run(client, url)


def test_pull_model_tells_how_far_it_is(daemon: Daemon, loop: Loop) -> None:
    progress = [ModelProgress(model="small", done_bytes=done) for done in (1, 2)]

    async def script(peer: Peer) -> None:
        await peer.greet()
        request = await expect(peer, PullModel)
        await peer.send(progress[0], ModelProgress(model="other", done_bytes=1), progress[1])
        await peer.send(PullModelReply(id=request.id, model="small", size_bytes=2))
        await peer.wait_gone()

    async def client(url: str) -> None:
        told: list[ModelProgress] = []
        async with loop.connect(url) as client:
            reply = await client.pull_model("small", told.append)
            assert reply.size_bytes == 2
        assert told == progress

    with daemon(script) as url:
        loop.run(client, url)


def test_a_question_tells_what_is_known_and_is_cancelled_with_its_task(daemon: Daemon, loop: Loop) -> None:
    progress = [
        AnswerProgress(ask=1, passages=[]),
        AnswerProgress(ask=1, sentence=AnswerSentence(text="So.", sources=[])),
        AnswerProgress(ask=2),
    ]

    async def script(peer: Peer) -> None:
        await peer.greet()
        request = await expect(peer, Ask)
        assert (request.query, request.sessions, request.limit) == ("What?", ["s"], 3)
        await peer.send(AnswerProgress(ask=99), *progress[:2])
        await peer.send(AskReply(id=request.id, answer=[], passages=[], provider="p", model="m"))
        assert (await expect(peer, Ask)).id == 2
        await peer.send(progress[2])
        assert (await expect(peer, CancelAsk)).ask == 2
        await peer.send(PingReply(id=(await expect(peer, Ping)).id, time=1.0))
        await peer.wait_gone()

    async def client(url: str) -> None:
        told: list[AnswerProgress] = []
        async with loop.connect(url) as client:
            assert (await client.ask("What?", ["s"], limit=3, progress=told.append)).provider == "p"
            with anyio.CancelScope() as scope:

                def cancel(message: AnswerProgress) -> None:
                    told.append(message)
                    scope.cancel()

                await client.ask("What?", progress=cancel)
            assert scope.cancelled_caught
            await client.request(Ping())
        assert told == progress

    with daemon(script) as url:
        loop.run(client, url)


# --- the end ----------------------------------------------------------------------------------------------


def test_a_lost_connection_reaches_everyone_who_waits(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await open_session(peer)
        assert {type(await peer.receive()) for _ in range(2)} == {Ping, Audio}
        await peer.close()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            sentences = []

            async def fails(wait: Callable[[], Awaitable[Any]]) -> None:
                with pytest.raises(convo.ConnectionLost) as caught:
                    await wait()
                sentences.append(str(caught.value))

            await loop.both(
                lambda: fails(lambda: client.request(Ping())),
                lambda: fails(lambda: session.send_audio(bytes(100))),
                lambda: fails(lambda: collect(session, [])),
            )
            assert client.lost
            await fails(lambda: client.request(Ping()))
            await fails(lambda: session.send_audio(b"abcd"))
            await fails(session.end)
            assert len(sentences) == 6
            # Bytes that the daemon had not read yet make it a reset.
            assert set(sentences) <= {
                "The daemon closed the connection.",
                "The WebSocket was closed with code 1000.",
                "The connection broke: connection reset by peer.",
            }

    with daemon(script) as url:
        loop.run(client, url)


def test_a_goodbye_says_why(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await expect(peer, Ping)
        await peer.send(Error(code="internal", message="The disk is full."))

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            with pytest.raises(convo.ConnectionLost, match="The disk is full"):
                await client.request(Ping())

    with daemon(script) as url:
        loop.run(client, url)


def test_nonsense_from_the_daemon_is_a_loss(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.send_raw(b"\xc1")
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            await client.wait_lost()
            with pytest.raises(convo.ConnectionLost, match="broke the contract"):
                await client.request(Ping())

    with daemon(script) as url:
        loop.run(client, url)


def test_what_was_handed_over_is_sent_before_the_end(daemon: Daemon, loop: Loop) -> None:
    heard = []
    ended = threading.Event()

    async def script(peer: Peer) -> None:
        await open_session(peer, credit=1 << 20)
        while (message := await peer.receive()) is not None:
            assert isinstance(message, Audio)
            heard.append(message.data)
        ended.set()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            await session.send_audio(bytes(200_000))

    with daemon(script) as url:
        loop.run(client, url)
        assert ended.wait(10)
    assert len(b"".join(heard)) == 200_000


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3), convo.RequestError("busy", "Later.")])
def test_what_the_block_raises_comes_out_as_it_is(daemon: Daemon, loop: Loop, error: BaseException) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.wait_gone()

    async def client(url: str) -> None:
        with pytest.raises(type(error)) as caught:
            async with loop.connect(url):
                raise error
        assert caught.value is error

    with daemon(script) as url:
        loop.run(client, url)


def test_a_refused_hello(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.send(Error(code="unauthorized", message="Which token?"))

    async def client(url: str) -> None:
        with pytest.raises(convo.RequestError, match=r"^Which token\?$") as caught:
            async with loop.connect(url):
                pytest.fail("this is not open")
        assert caught.value.code == "unauthorized"

    with daemon(script) as url:
        loop.run(client, url)


def test_a_daemon_that_says_nothing(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await trio.sleep_forever()

    async def client(url: str) -> None:
        with pytest.raises(convo.CannotConnect, match="no answer came in time") as caught:
            async with loop.connect(url, connect_timeout=0.05):
                pytest.fail("this is not open")
        assert caught.value.url == url

    with daemon(script) as url:
        loop.run(client, url)


def test_a_daemon_that_goes_away_in_the_handshake(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.receive()
        await peer.close()

    async def client(url: str) -> None:
        with pytest.raises(convo.CannotConnect, match="closed"):
            async with loop.connect(url):
                pytest.fail("this is not open")

    with daemon(script) as url:
        loop.run(client, url)


@pytest.mark.parametrize("kind", ["missing", "refused", "tcp"])
def test_connecting_to_nothing_says_how_to_start_the_daemon(loop: Loop, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    url, reason = f"unix:{path}", "there is no such socket"
    if kind == "tcp":
        url, reason = "ws://127.0.0.1:1/", "nothing listens there"
    elif kind == "refused":
        reason = "nothing listens there"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))

    async def client() -> None:
        with pytest.raises(convo.CannotConnect) as caught:
            async with loop.connect(url):
                pytest.fail("this is not open")
        assert (caught.value.url, caught.value.reason) == (url, reason)
        assert "`convod`" in str(caught.value)

    loop.run(client)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("reject", "It refused the WebSocket with HTTP 403"),
        ("subprotocol", "It does not speak the subprotocol convo.v1"),
        ("http", "It does not speak WebSocket"),
        ("close", "It closed the connection during the handshake"),
    ],
)
def test_servers_that_are_no_daemon(loop: Loop, how: str, reason: str) -> None:
    async def websocket(request: trio_websocket.WebSocketRequest) -> None:
        if how == "reject":
            await request.reject(403)
        else:
            await request.accept(subprotocol=None)

    async def stream(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if how == "http":
                await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    async def client(port: int) -> None:
        with pytest.raises(convo.CannotConnect) as caught:
            async with loop.connect(f"ws://127.0.0.1:{port}"):
                pytest.fail("this is not open")
        assert caught.value.reason.startswith(reason)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            if how in ("reject", "subprotocol"):
                server = await nursery.start(trio_websocket.serve_websocket, websocket, "127.0.0.1", 0, None)
                port = server.port
            else:
                (listener,) = await nursery.start(functools.partial(trio.serve_tcp, stream, 0, host="127.0.0.1"))
                port = listener.socket.getsockname()[1]
            await trio.to_thread.run_sync(loop.run, client, port)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_url_that_is_none(loop: Loop) -> None:
    with pytest.raises(ValueError, match="ws://host:port"):
        loop.connect("http://localhost")
