"""Streams under both loops, over both transports, against a daemon whose connections break where a test says."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import anyio
import pytest

import convo
from convo import client_core
from convo.feed import Feed
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    CreateSession,
    CreateSessionReply,
    EndSession,
    Error,
    Finalize,
    FinalizeReply,
    Ping,
    PingReply,
    State,
)
from tests.protocol.visits import Visits, collect, expect, finish, seqs, spoken, state

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convo.resume.FIRST_PAUSE_S", 0.0)


# --- live -------------------------------------------------------------------------------------------------


def test_a_session_in_one_go(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer, credit=4)
        await visits.hear(peer, 12)
        await finish(peer, 2)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            events, stream = await spoken(link, b"abcd", b"efghijkl", title="Talk")
            assert seqs(events) == [1, 2, 3]
            assert (stream.session, stream.taken, stream.ended, stream.over) == ("s", 12, True, True)
            assert stream.failure is None

    with daemon(visits) as url:
        loop.run(client, url)
    assert bytes(visits.heard) == b"abcdefghijkl"
    assert visits.created[0].title == "Talk"
    assert visits.created[0].key, "asked for twice, it would be one session"


@pytest.mark.parametrize("kept", [0, 4, 6, 8])
def test_audio_goes_on_from_where_the_daemon_has_it(daemon: Daemon, loop: Loop, kept: int) -> None:
    """Of eight bytes that were sent, the daemon acknowledged none and has `kept`."""

    async def first(peer: Peer) -> None:
        await visits.created_by(peer)
        for _ in range(2):
            visits.heard += (await expect(peer, Audio)).data
        await peer.close()

    async def second(peer: Peer) -> None:
        attach = await visits.attached(peer, seq=2, offset=kept)
        assert (attach.session, attach.produce) == ("s", True)
        assert attach.after_seq <= 1
        await visits.hear(peer, 12)
        await finish(peer, 3)
        await peer.wait_gone()

    visits = Visits(first, second)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            events, stream = await spoken(link, b"abcd", b"efgh", b"ijkl")
            assert seqs(events) == [1, 2, 3, 4]
            assert stream.failure is None

    with daemon(visits) as url:
        loop.run(client, url)
    assert bytes(visits.heard) == b"abcdefghijkl"


def test_a_break_while_nothing_is_sent_is_mended_too(daemon: Daemon, loop: Loop) -> None:
    async def first(peer: Peer) -> None:
        await visits.created_by(peer)
        await expect(peer, Audio)  # and loses it
        await peer.close()

    async def second(peer: Peer) -> None:
        await visits.attached(peer, seq=1)
        await visits.hear(peer, 4)  # without another word of the program
        await peer.send(state(2))
        finalize = await expect(peer, Finalize)
        await peer.send(FinalizeReply(id=finalize.id, offset=4))
        await finish(peer, 3)
        await peer.wait_gone()

    visits = Visits(first, second)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            assert await stream.opened() == "s"
            await stream.send(b"abcd")
            while (event := await anext(stream)) != state(2):
                assert event is not None
            await stream.finalize()
            await stream.end()
            assert seqs(await collect(stream)) == [3, 4]

    with daemon(visits) as url:
        loop.run(client, url)


def test_a_lost_answer_to_create_asks_for_the_same_session(daemon: Daemon, loop: Loop) -> None:
    async def first(peer: Peer) -> None:
        visits.created.append(await expect(peer, CreateSession))
        await peer.close()

    async def second(peer: Peer) -> None:
        await visits.created_by(peer)
        await finish(peer, 2)
        await peer.wait_gone()

    visits = Visits(first, second)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            events, _ = await spoken(link)
            assert seqs(events) == [1, 2, 3]

    with daemon(visits) as url:
        loop.run(client, url)
    assert len({create.key for create in visits.created}) == 1


def test_refused_audio_is_told_to_the_sender_and_the_last_words_still_come(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await expect(peer, Audio)
        await peer.send(Error(session="s", code="bad_audio", message="Half a sample."))
        await finish(peer, 2)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            await stream.send(b"abcd")
            assert seqs(await collect(stream)) == [1, 2, 3]
            assert isinstance(stream.failure, convo.RequestError)
            for refused in (stream.send(b"efgh"), stream.end()):
                with pytest.raises(convo.RequestError, match="Half a sample"):
                    await refused

    with daemon(visits) as url:
        loop.run(client, url)


def test_a_daemon_that_did_not_wait(daemon: Daemon, loop: Loop) -> None:
    async def first(peer: Peer) -> None:
        await visits.created_by(peer)
        await visits.hear(peer, 4)
        await peer.close()

    async def second(peer: Peer) -> None:
        await visits.attached(peer, seq=1, ended=True)
        await peer.send(state(2, State.COMPLETED))
        await peer.wait_gone()

    visits = Visits(first, second)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            await stream.send(b"abcd")
            assert seqs(await collect(stream)) == [1, 2]
            with pytest.raises(convo.SessionCutShort, match="broken for too long"):
                await stream.send(b"efgh")

    with daemon(visits) as url:
        loop.run(client, url)


@pytest.mark.parametrize("where", ["create", "end"])
def test_what_the_daemon_refuses_ends_the_stream(daemon: Daemon, loop: Loop, where: str) -> None:
    async def script(peer: Peer) -> None:
        if where == "end":
            await visits.created_by(peer)
        request = await peer.receive()
        await peer.send(Error(id=request.id, code="forbidden", message="You may not."))  # type: ignore[union-attr]
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            with pytest.raises(convo.RequestError, match="You may not"):
                await stream.end()
            with pytest.raises(convo.RequestError, match="You may not"):
                await collect(stream)

    with daemon(visits) as url:
        loop.run(client, url)


def test_a_reader_that_waits_learns_that_the_end_was_refused(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        request = await expect(peer, EndSession)
        await peer.send(Error(id=request.id, code="busy", message="The disk is full."))
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            assert await anext(stream) == state(1)

            async def read() -> None:
                with pytest.raises(convo.RequestError, match="disk is full"):
                    await anext(stream)

            async def end() -> None:
                with pytest.raises(convo.RequestError, match="disk is full"):
                    await stream.end()

            await loop.both(read, end)

    with daemon(visits) as url:
        loop.run(client, url)


def test_a_reader_that_stalls_attaches_again(daemon: Daemon, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More stored events came than are kept for it: it gets those that were not on the same connection."""
    monkeypatch.setattr(client_core, "Feed", functools.partial(Feed, bound=3))
    events = [*map(state, range(1, 10)), state(10, State.COMPLETED)]
    attached: list[Attach] = []

    async def script(peer: Peer) -> None:
        create = await expect(peer, CreateSession)
        await peer.send(CreateSessionReply(id=create.id, session="s", config={}, credit=0), *events)
        ping = await expect(peer, Ping)
        await peer.send(PingReply(id=ping.id, time=1.0))
        while (attach := await peer.receive()) is not None:
            assert isinstance(attach, Attach)
            attached.append(attach)
            reply = AttachReply(id=attach.id, state=State.COMPLETED, seq=10, audio_offset=0, credit=0)
            await peer.send(reply, *events[attach.after_seq :])

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            await stream.opened()
            await link.request(Ping())
            assert seqs(await collect(stream)) == list(range(1, 11))

    with daemon(Visits(script)) as url:
        loop.run(client, url)
    assert attached[0].after_seq == 3


def test_left_early_it_is_the_daemons(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await expect(peer, Audio)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            with anyio.CancelScope() as scope:
                async with convo.LiveStream(link) as stream:
                    await stream.send(b"abcd")
                    scope.cancel()
                    await collect(stream)
            assert scope.cancelled_caught

    with daemon(visits) as url:
        loop.run(client, url)
