"""Streams under both loops, over both transports, against a daemon whose connections break where a test says."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
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
    CreateSession,
    CreateSessionReply,
    EndSession,
    Error,
    Event,
    Finalize,
    FinalizeReply,
    Ping,
    PingReply,
    Reply,
    SessionState,
    State,
)

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convo.resume.FIRST_PAUSE_S", 0.0)


def state(seq: int, state: State = State.PROCESSING) -> SessionState:
    return SessionState(session="s", seq=seq, state=state)


class Visits:
    """A daemon of several scripts, one a connection; the last serves those that follow, too."""

    def __init__(self, *scripts: Callable[[Peer], Awaitable[None]]) -> None:
        self._scripts = list(scripts)
        self.heard = bytearray()
        self.created: list[CreateSession] = []

    async def __call__(self, peer: Peer) -> None:
        await peer.greet()
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        await script(peer)

    async def created_by(self, peer: Peer, credit: int = 1 << 20) -> None:
        create = await expect(peer, CreateSession)
        self.created.append(create)
        await peer.send(CreateSessionReply(id=create.id, session="s", config={}, credit=credit), state(1))

    async def attached(self, peer: Peer, *, seq: int, offset: int | None = None, ended: bool = False) -> Attach:
        attach: Attach = await expect(peer, Attach)
        if offset is not None:
            del self.heard[offset:]
        reply = AttachReply(
            id=attach.id, state=State.PROCESSING, seq=seq, audio_offset=len(self.heard), credit=1 << 20, ended=ended
        )
        await peer.send(reply, *(state(number) for number in range(attach.after_seq + 1, seq + 1)))
        return attach

    async def hear(self, peer: Peer, until: int) -> None:
        while len(self.heard) < until:
            audio = await expect(peer, Audio)
            assert audio.offset == len(self.heard)
            self.heard += audio.data
            await peer.send(AudioAck(session="s", offset=len(self.heard), credit=1 << 20))


async def expect(peer: Peer, kind: type[Any]) -> Any:
    message = await peer.receive()
    assert isinstance(message, kind), message
    return message


async def finish(peer: Peer, seq: int) -> None:
    end = await expect(peer, EndSession)
    await peer.send(Reply(id=end.id), state(seq, State.TRANSCRIBED), state(seq + 1, State.COMPLETED))


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, SessionState)]


async def collect(stream: convo.LiveStream | convo.FileUpload | convo.Follower) -> list[Event]:
    return [event async for event in stream]


async def spoken(link: convo.Link, *pieces: bytes, **options: Any) -> tuple[list[Event], convo.LiveStream]:
    """Speak to the end; its events."""
    async with convo.LiveStream(link, **options) as stream, anyio.create_task_group() as tasks:

        async def speak() -> None:
            for piece in pieces:
                await stream.send(piece)
            await stream.end()

        tasks.start_soon(speak)
        return await collect(stream), stream


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


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_over_two_connections(daemon: Daemon, loop: Loop, tmp_path: Path) -> None:
    whole = bytes(range(256)) * 1000
    (tmp_path / "talk.wav").write_bytes(whole)

    async def first(peer: Peer) -> None:
        await visits.created_by(peer)
        await visits.hear(peer, 100_000)
        await peer.close()

    async def second(peer: Peer) -> None:
        assert (await visits.attached(peer, seq=1)).produce
        await visits.hear(peer, len(whole))
        end = await expect(peer, EndSession)
        await peer.send(Reply(id=end.id))
        await expect(peer, Ping)
        await peer.close()

    async def third(peer: Peer) -> None:
        attach = await visits.attached(peer, seq=1, ended=True)
        assert not attach.produce
        await peer.send(state(2, State.COMPLETED))
        await peer.wait_gone()

    visits = Visits(first, second, third)

    async def client(url: str) -> None:
        told: list[tuple[int, bool]] = []

        async def lose_it(link: convo.Link) -> None:
            with pytest.raises(convo.ConnectionLost):
                await (await link.client()).request(Ping())

        def progress(sent: int, whole: bool) -> None:
            told.append((sent, whole))
            if whole:
                tasks.start_soon(lose_it, link)

        async with (
            convo.open_link(url) as link,
            anyio.create_task_group() as tasks,
            convo.FileUpload(link, tmp_path / "talk.wav", progress=progress, language="en") as upload,
        ):
            assert seqs(await collect(upload)) == [1, 2]
        assert told[-2:] == [(len(whole), False), (len(whole), True)]

    with daemon(visits) as url:
        loop.run(client, url)
    assert bytes(visits.heard) == whole
    (create,) = visits.created
    assert (create.kind, create.title, create.language) == ("file", "talk", "en")
    assert (create.audio.name, create.audio.size) == ("talk.wav", len(whole))


def test_a_session_that_exists_is_gone_on_with(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        assert (await visits.attached(peer, seq=2)).produce
        await visits.hear(peer, 8)
        await finish(peer, 3)
        await peer.wait_gone()

    visits = Visits(script)
    visits.heard += b"abcd"

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link, session="s", after_seq=1) as stream:
            assert await stream.opened() == "s"
            await stream.send(b"efgh")
            await stream.end()
            assert (seqs(await collect(stream)), stream.taken) == ([2, 3, 4], 8)

    with daemon(visits) as url:
        loop.run(client, url)
    assert visits.heard == b"abcdefgh"


def test_a_file_is_uploaded_by_what_reads_it(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await visits.hear(peer, 4)
        await finish(peer, 2)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        pieces = [b"", b"cd", b"ab"]

        async def read() -> bytes:
            return pieces.pop()

        async with convo.open_link(url) as link, convo.FileUpload(link, read) as upload:
            await upload.uploaded()

    with daemon(visits) as url:
        loop.run(client, url)
    assert visits.heard == b"abcd"


def test_what_is_left_with_its_link_is_given_up_at_once(daemon: Daemon, loop: Loop) -> None:
    """Cancelling an upload and its link together: nobody waits for an answer that cannot come."""

    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        with anyio.CancelScope() as scope:
            async with convo.open_link(url) as link, convo.FileUpload(link, anyio.sleep_forever) as upload:
                await upload.opened()
                began = anyio.current_time()
                scope.cancel()
                await anyio.sleep_forever()
        assert anyio.current_time() - began < 2

    with daemon(visits) as url:
        loop.run(client, url)


@pytest.mark.parametrize("how", ["cancelled", "unreadable", "what reads breaks", "refused"])
def test_a_file_that_is_left_before_all_was_sent_is_cancelled(daemon: Daemon, loop: Loop, how: str) -> None:
    cancelled = []

    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await expect(peer, Audio)
        if how == "refused":
            await peer.send(Error(session="s", code="unsupported_audio", message="That is no audio."))
        cancel = await expect(peer, CancelSession)
        cancelled.append(cancel)
        await peer.send(Reply(id=cancel.id))
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        pieces = iter([b"abcd"])

        async def read() -> bytes:
            if piece := next(pieces, b""):
                return piece
            if how == "unreadable":
                raise OSError(5, "Input/output error")
            if how == "what reads breaks":
                raise KeyError(how)
            await anyio.sleep_forever()
            raise AssertionError

        async def upload() -> None:
            async with convo.FileUpload(link, read) as upload:
                await collect(upload)

        async with convo.open_link(url) as link:
            if how == "cancelled":
                with anyio.CancelScope() as scope:
                    async with convo.FileUpload(link, read, progress=lambda sent, whole: scope.cancel()) as given:
                        await collect(given)
                assert scope.cancelled_caught
            else:
                told = {"unreadable": OSError, "what reads breaks": KeyError, "refused": convo.RequestError}
                with pytest.raises(told[how]):
                    await upload()

    with daemon(visits) as url:
        loop.run(client, url)
    assert len(cancelled) == 1


def test_a_file_whose_session_ended_meanwhile_says_why_in_its_last_event(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await expect(peer, Audio)
        await peer.send(Error(session="s", code="bad_state", message="It is over."), state(2, State.FAILED))
        while await peer.receive() is not None:
            pass

    visits = Visits(script)

    async def client(url: str) -> None:
        async def read() -> bytes:
            return b"abcd"

        async with convo.open_link(url) as link, convo.FileUpload(link, read) as upload:
            assert seqs(await collect(upload)) == [1, 2]
        assert upload.taken < 1 << 20, "it does not go on reading"

    with daemon(visits) as url:
        loop.run(client, url)


# --- following, and the link ------------------------------------------------------------------------------


def test_following_over_two_connections(daemon: Daemon, loop: Loop) -> None:
    async def first(peer: Peer) -> None:
        await visits.attached(peer, seq=2)
        await peer.close()

    async def second(peer: Peer) -> None:
        attach = await visits.attached(peer, seq=3)
        assert (attach.after_seq, attach.produce) == (2, False)
        await peer.send(state(4, State.COMPLETED))
        await peer.wait_gone()

    visits = Visits(first, second)

    async def client(url: str) -> None:
        phases = []
        async with convo.open_link(url, changed=lambda state: phases.append(state.phase.name)) as link:
            assert seqs(await collect(convo.Follower(link, "s"))) == [1, 2, 3, 4]
        assert phases == ["UP", "LOST", "UP"]

    with daemon(visits) as url:
        loop.run(client, url)


def test_following_over_a_link_that_is_closed(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.attached(peer, seq=1)
        await peer.wait_gone()

    visits = Visits(script)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            events = convo.Follower(link, "s")
            assert (await events.opened()).seq == 1
            assert (await events.opened()).seq == 1, "attached once"
            await anext(events)
        with pytest.raises(convo.ConnectionLost):
            await anext(events)

    with daemon(visits) as url:
        loop.run(client, url)


def test_following_what_is_not_there(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        attach = await expect(peer, Attach)
        await peer.send(Error(id=attach.id, code="unknown_session", message="There is none."))
        await peer.wait_gone()

    async def client(url: str) -> None:
        async with convo.open_link(url) as link:
            with pytest.raises(convo.RequestError, match="There is none"):
                await collect(convo.Follower(link, "s"))

    with daemon(Visits(script)) as url:
        loop.run(client, url)


def test_a_daemon_that_stays_away_ends_everything(daemon: Daemon, loop: Loop) -> None:
    async def script(peer: Peer) -> None:
        await visits.created_by(peer)
        await peer.close()

    async def refuse(peer: Peer) -> None:
        await peer.receive()
        await peer.send(Error(code="unauthorized", message="Which token?"))

    visits = Visits(script)

    async def both(peer: Peer) -> None:
        if visits.created:
            await refuse(peer)
        else:
            await visits(peer)

    async def client(url: str) -> None:
        async with convo.open_link(url) as link, convo.LiveStream(link) as stream:
            with pytest.raises(convo.RequestError, match="Which token"):
                await collect(stream)
            with pytest.raises(convo.RequestError, match="Which token"):
                await stream.send(b"abcd")
            with pytest.raises(convo.RequestError, match="Which token"):
                await link.request(Ping())
            assert link.state.phase.name == "REFUSED"

    with daemon(both) as url:
        loop.run(client, url)


def test_a_link_that_says_nothing_is_broken_off(daemon: Daemon, loop: Loop) -> None:
    async def deaf(peer: Peer) -> None:
        await expect(peer, Ping)
        assert await peer.receive() is None

    async def well(peer: Peer) -> None:
        while (ping := await peer.receive()) is not None:
            await peer.send(PingReply(id=ping.id, time=1.0))  # type: ignore[attr-defined]

    async def client(url: str) -> None:
        states: list[str] = []
        again = anyio.Event()

        def changed(state: convo.link.LinkState) -> None:
            states.append(state.phase.name)
            if states.count("UP") == 2:
                again.set()

        async with convo.open_link(url, ping_s=0.02, changed=changed):
            await again.wait()
        assert states[:3] == ["UP", "LOST", "UP"]

    with daemon(Visits(deaf, well)) as url:
        loop.run(client, url)


def test_a_link_without_a_daemon(loop: Loop, tmp_path: Path) -> None:
    async def client() -> None:
        with pytest.raises(convo.CannotConnect):
            async with convo.open_link(f"unix:{tmp_path / 's'}"):
                pytest.fail("there is none")
        with pytest.raises(ValueError, match="ws://host:port"):
            async with convo.open_link("http://localhost"):
                pytest.fail("this is no URL")
        absent = anyio.Event()
        async with convo.open_link(
            f"unix:{tmp_path / 's'}", patience_s=None, changed=lambda state: absent.set()
        ) as link:
            await absent.wait()
            assert link.state.phase.name == "ABSENT"
            link.hurry()

    loop.run(client)
