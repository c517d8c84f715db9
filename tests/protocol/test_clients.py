"""Both clients, over both transports, against a daemon that follows a script: the same tests for all four."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio_websocket

import convo
from convo import client_core
from convo.client import ClientSession
from convo.feed import Feed
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    Bookmark,
    CancelSession,
    CreateSession,
    CreateSessionReply,
    Detach,
    EndSession,
    Error,
    Event,
    Export,
    ExportReply,
    Finalize,
    FinalizeReply,
    GetSession,
    GetSessionReply,
    ModelProgress,
    Ping,
    PingReply,
    PullModel,
    PullModelReply,
    Reply,
    Segment,
    SessionState,
    SessionWarning,
    State,
    TranscriptPartial,
)

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


async def expect(peer: Peer, kind: type[Any]) -> Any:
    message = await peer.receive()
    assert isinstance(message, kind), message
    return message


async def open_session(peer: Peer, credit: int = 16) -> None:
    await peer.greet()
    create = await expect(peer, CreateSession)
    await peer.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit))


async def collect(session: ClientSession, told: list[Event]) -> None:
    async for event in session.events():
        told.append(event)


def state(seq: int, state: State = State.PROCESSING) -> SessionState:
    return SessionState(session="s", seq=seq, state=state)


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


# --- sessions ---------------------------------------------------------------------------------------------


def test_a_session_from_its_first_byte_to_its_last_event(daemon: Daemon, loop: Loop) -> None:
    """Credit is 16 bytes beyond the last ack; 41 bytes of audio make the client wait for it twice."""
    audio = bytes(range(41))

    async def script(peer: Peer) -> None:
        await open_session(peer)
        heard = b""
        acknowledged = 0
        while len(heard) < 40:
            message = await expect(peer, Audio)
            assert (message.session, message.offset) == ("s", len(heard))
            assert len(message.data) % 2 == 0
            heard += message.data
            assert len(heard) <= acknowledged + 16
            if len(heard) == acknowledged + 16 or len(heard) == 40:
                acknowledged = len(heard)
                await peer.send(AudioAck(session="s", offset=acknowledged, credit=16))
        assert heard == audio[:40]
        finalize = await expect(peer, Finalize)
        await peer.send(state(1), FinalizeReply(id=finalize.id, offset=40))
        end = await expect(peer, EndSession)
        await peer.send(Reply(id=end.id), state(2, State.TRANSCRIBED), state(3, State.COMPLETED))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session(kind="live", title="Talk")
            assert session.id == "s"
            assert isinstance(session.reply, CreateSessionReply)
            for piece in (audio[:3], audio[3:]):
                await session.send_audio(piece)
            assert await session.finalize() == 40
            await session.end()
            assert (session.sent, session.acknowledged) == (40, 40)
            events = [event async for event in session.events()]
            assert [event.seq for event in events if isinstance(event, SessionState)] == [1, 2, 3]
            assert [event async for event in session.events()] == []

    with daemon(script) as url:
        loop.run(client, url)


def test_attach_goes_on_where_the_daemon_is(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        attach = await expect(peer, Attach)
        assert attach == Attach(id=attach.id, session="s", after_seq=4, produce=True)
        reply = AttachReply(id=attach.id, state=State.PROCESSING, seq=5, audio_offset=640, credit=16)
        await peer.send(reply, state(5), state(6, State.CANCELLED))
        audio = await expect(peer, Audio)
        assert (audio.offset, audio.data) == (640, b"abcd")
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.attach("s", after_seq=4, produce=True)
            assert isinstance(session.reply, AttachReply)
            await session.send_audio(b"abcd")
            assert session.sent == 644
            seqs = [event.seq async for event in session.events() if isinstance(event, SessionState)]
            assert seqs == [5, 6]

    with daemon(script) as url:
        loop.run(client, url)


def test_attach_to_what_is_over_ends_at_once(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        attach = await expect(peer, Attach)
        await peer.send(AttachReply(id=attach.id, state=State.COMPLETED, seq=9, audio_offset=0, credit=0))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.attach("s", after_seq=9)
            assert [event async for event in session.events()] == []
            assert (session.sent, session.acknowledged) == (0, 0)
            with pytest.raises(convo.LocalProtocolError, match="produce=True"):
                await session.send_audio(b"abcd")

    with daemon(script) as url:
        loop.run(client, url)


def test_events_until(daemon: Daemon, loop: Loop) -> None:
    partial = TranscriptPartial(session="s", segment=0, start=0, end=1, stable="a", tentative="b")

    async def script(peer: Peer) -> None:
        await open_session(peer)
        await peer.send(state(1, State.COMPLETED), partial, state(2, State.TRANSCRIBED))
        ping = await expect(peer, Ping)
        await peer.send(PingReply(id=ping.id, time=1.0))

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            stream = session.events(until=lambda event: event == partial)
            assert [event async for event in stream] == [state(1, State.COMPLETED), partial]
            assert [event async for event in stream] == []
            await client.request(Ping())

    with daemon(script) as url:
        loop.run(client, url)


def test_detach_ends_the_events(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await open_session(peer)
        detach = await expect(peer, Detach)
        await peer.send(state(1), Reply(id=detach.id), state(2))
        cancel = await expect(peer, CancelSession)
        await peer.send(Reply(id=cancel.id))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            told: list[Event] = []
            await loop.both(lambda: collect(session, told), session.detach)
            assert told == [state(1)]
            await session.cancel()

    with daemon(script) as url:
        loop.run(client, url)


def test_refused_audio_raises_everywhere(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await open_session(peer)
        await expect(peer, Audio)
        await peer.send(state(1), Error(session="s", code="bad_audio", message="Half a sample."))
        end = await expect(peer, EndSession)
        await peer.send(Reply(id=end.id), state(2, State.COMPLETED))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            with pytest.raises(convo.RequestError, match="Half a sample") as caught:
                await session.send_audio(bytes(100))  # more than there is credit for
            assert caught.value.code == "bad_audio"
            with pytest.raises(convo.RequestError):
                await session.send_audio(b"abcd")
            with pytest.raises(convo.RequestError):
                await session.finalize()
            await session.end()
            events = [event async for event in session.events()]
            assert events == [state(1), state(2, State.COMPLETED)]

    with daemon(script) as url:
        loop.run(client, url)


def test_refused_audio_is_told_once_to_a_reader(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await open_session(peer)
        await peer.send(state(1), Error(session="s", code="bad_audio", message="Half a sample."))
        ping = await expect(peer, Ping)
        await peer.send(PingReply(id=ping.id, time=1.0), state(2, State.COMPLETED))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            told: list[Event] = []
            with pytest.raises(convo.RequestError, match="Half a sample"):
                await collect(session, told)
            await client.request(Ping())
            await collect(session, told)
            assert told == [state(1), state(2, State.COMPLETED)]

    with daemon(script) as url:
        loop.run(client, url)


def test_a_reader_that_stalls_loses_events_and_no_request(
    daemon: Daemon, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_core, "Feed", functools.partial(Feed, bound=5))
    warnings = [SessionWarning(session="s", seq=seq, code="x", message="x" * 1000) for seq in range(1, 2001)]

    async def script(peer: Peer) -> None:
        await open_session(peer)
        await peer.send(*warnings)
        ping = await expect(peer, Ping)
        await peer.send(PingReply(id=ping.id, time=1.0))
        attach = await expect(peer, Attach)
        assert attach.after_seq == 5
        reply = AttachReply(id=attach.id, state=State.COMPLETED, seq=6, audio_offset=0, credit=0)
        await peer.send(reply, warnings[5])
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with loop.connect(url) as client:
            session = await client.create_session()
            await client.request(Ping())
            told: list[Event] = []
            with pytest.raises(convo.EventsLost, match="after_seq=5") as caught:
                await collect(session, told)
            session = await client.attach("s", after_seq=caught.value.after_seq)
            await collect(session, told)
            assert told == warnings[:6]

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
        url, reason = "ws://127.0.0.1:1/", "nobody listens there"
    elif kind == "refused":
        reason = "nobody listens there"
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
        ("http", "This is no WebSocket that it speaks"),
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
