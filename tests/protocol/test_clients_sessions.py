"""Sessions of both clients, over both transports, against a daemon that follows a script."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

import convo
from convo import client_core
from convo.feed import Feed
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    CancelSession,
    CreateSessionReply,
    Detach,
    EndSession,
    Error,
    Event,
    Finalize,
    FinalizeReply,
    Ping,
    PingReply,
    Refine,
    RefineProgress,
    RefineReply,
    Reply,
    SessionRefined,
    SessionState,
    SessionWarning,
    State,
    TranscriptPartial,
)
from tests.protocol.scripts import collect, expect, open_session, state

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


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


def test_a_session_is_refined_and_waited_for(daemon: Daemon, loop: Loop) -> None:
    progress = RefineProgress(session="s", model="small", done_s=1.0, total_s=2.0)
    end = SessionRefined(session="s", seq=2, model="small", heard_s=2.0, corrected=1)

    async def script(peer: Peer) -> None:
        await peer.greet()
        for after in (0, 1):
            attach = await expect(peer, Attach)
            assert attach.after_seq == after, "what is past is not waited for"
            reply = AttachReply(id=attach.id, state=State.COMPLETED, seq=1, audio_offset=0, credit=0, ended=True)
            await peer.send(reply, *([] if after else [state(1, State.COMPLETED)]))
        request = await expect(peer, Refine)
        assert (request.session, request.model, request.below) == ("s", "small", 0.5)
        await peer.send(RefineReply(id=request.id, model="small"), progress, end)
        await peer.wait_gone()

    async def client(url: str) -> None:
        told: list[Event] = []
        async with loop.connect(url) as client:
            assert await client.refine("s", "small", below=0.5, progress=told.append) == end
        assert told == [progress]

    with daemon(script) as url:
        loop.run(client, url)
