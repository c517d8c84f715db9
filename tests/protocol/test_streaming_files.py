"""Uploads, followers and the link under both loops, against a daemon whose connections break where a test says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

import convo
from convo.messages import (
    Attach,
    Audio,
    CancelSession,
    EndSession,
    Error,
    Ping,
    PingReply,
    Reply,
    State,
)
from tests.protocol.visits import Visits, collect, expect, finish, seqs, state

if TYPE_CHECKING:
    from tests.protocol.conftest import Daemon, Loop, Peer


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convo.resume.FIRST_PAUSE_S", 0.0)


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
