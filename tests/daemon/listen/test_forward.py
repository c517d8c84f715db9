"""Requests for sessions of another convod: two convods in one process, on one PostgreSQL, each with connections."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from convo import messages
from convo.messages import Code, Error, FinalSummary, Reply, State
from convod.listen.forward import is_repeatable, outcome
from convod.sessions import Refused
from convod.store import Asking, Holder, Member
from convod.store.leases import SharedLeases
from convod.store.postgres import PostgresDatabase
from tests.daemon.support.hall import Hall, Peer, hall
from tests.daemon.support.talk import talk
from tests.support.sessions import LIMIT_S
from tests.support.until import until

THERE = Holder(7, "near.example", True)


@pytest.mark.parametrize(
    ("asking", "repeatable", "becomes"),
    [
        (Asking(True, b"answer", True), False, b"answer"),
        (Asking(True, b"answer", False), False, b"answer"),  # it died after that
        (Asking(True, b"", True), False, b""),  # it does not work on the session any more
        (Asking(False, None, True), False, b""),  # not begun in time
        (Asking(False, None, False), False, b""),
        (Asking(True, None, False), True, b""),
        (Asking(True, None, False), False, "has stopped, and may have done this"),
        (Asking(True, None, True), True, "does not answer"),  # it may yet do it
        (None, True, "the store lost this request"),
    ],
)
def test_what_becomes_of_a_request_that_was_taken_back(asking, repeatable, becomes):
    if isinstance(becomes, bytes):
        assert outcome(asking, THERE, repeatable=repeatable) == becomes
        return
    with pytest.raises(Refused, match=becomes) as error:
        outcome(asking, THERE, repeatable=repeatable)
    assert error.value.code is Code.BUSY
    assert "the convod on near.example" in str(error.value)


@pytest.mark.parametrize(
    ("request_", "repeatable"),
    [
        (messages.AddMark(session="s", time=0.0), False),
        (messages.Retranscribe(session="s"), False),
        (messages.Summarize(session="s"), False),
        (messages.SetSpeaker(session="s", segment=0), False),  # somebody new
        (messages.SetSpeaker(session="s", segment=0, speaker=1), True),
        (messages.RenameSpeaker(session="s", speaker=1, name="Ann", remember=True), False),
        (messages.RenameSpeaker(session="s", speaker=1, name="Ann"), True),
        (messages.CancelSession(session="s"), True),
        (messages.Refine(session="s"), False),
        (messages.Refine(session="s", cancel=True), True),
    ],
)
def test_what_may_be_done_twice(request_, repeatable):
    assert is_repeatable(request_) is repeatable


# --- two convods ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def at(address: str, name: str, tmp_path, shared: bool = False):
    member = Member(name, "shared" if shared else name, lease_s=1.0, name=f"{name}.example")
    folder = tmp_path / ("shared" if shared else name)
    async with hall(folder, database=PostgresDatabase(address, member=member)) as one:
        yield one


@asynccontextmanager
async def two(postgres, tmp_path):
    address = postgres.emptied()
    with trio.fail_after(LIMIT_S):
        async with at(address, "a", tmp_path) as a, at(address, "b", tmp_path) as b:
            yield a, b


async def speaking(one: Hall, peer: Peer, sentences: int, **fields) -> str:
    """A live session with so many segments."""
    session = (await one.live(peer, **fields)).session
    await peer.send(messages.Audio(session=session, offset=0, data=talk(sentences)))
    await done(peer, messages.Finalize, session=session)
    return session


async def done(peer: Peer, kind, /, **fields):
    reply = await peer.ask(kind, **fields)
    assert isinstance(reply, Reply), reply
    return reply


async def refused(peer: Peer, kind, /, **fields) -> Error:
    reply = await peer.ask(kind, **fields)
    assert isinstance(reply, Error), reply
    return reply


async def over(one: Hall, session: str) -> None:
    await until(lambda: one.home.manager.find(session) is None)


@pytest.mark.parametrize("noted", [True, False], ids=["told at once", "all notes are lost"])
async def test_a_live_session_obeys_at_any_convod(postgres, tmp_path, monkeypatch, noted):
    if not noted:

        async def deaf(self, began, heard):
            await trio.sleep_forever()

        monkeypatch.setattr(SharedLeases, "listen", deaf)
    async with two(postgres, tmp_path) as (a, b):
        here, there = await a.client(), await b.client()
        session = await speaking(a, here, 2)
        await done(there, messages.Attach, session=session)
        await done(there, messages.UpdateSession, session=session, title="another title")
        info = await done(there, messages.GetSession, session=session)
        assert (info.title, info.state) == ("another title", State.PROCESSING)
        await done(there, messages.AddMark, session=session, time=1.0, text="here")
        if noted:  # the rest waits for many looks
            await done(there, messages.CorrectSegment, session=session, segment=1, text="another text")
            error = await refused(there, messages.CorrectSegment, session=session, segment=9, text="x")
            assert error.code == "bad_request"
            assert (await done(there, messages.SetSpeaker, session=session, segment=0)).speaker == 101
            await done(there, messages.RenameSpeaker, session=session, speaker=101, name="Ann")
        await here.send(messages.Audio(session=session, offset=a.home.manager.find(session).audio_offset, data=talk(1)))
        finalized = await done(there, messages.Finalize, session=session)
        assert finalized.offset == a.home.manager.find(session).audio_offset
        # It is answered behind its segments.
        segments = [one for one in there.had if isinstance(one, messages.TranscriptSegment)]
        assert [one.segment for one in segments] == [0, 1, 2]
        await done(there, messages.EndSession, session=session)
        await over(a, session)
        info = await done(there, messages.GetSession, session=session)
        assert info.state is State.COMPLETED
        assert [one.text for one in info.marks] == ["here"]
        if noted:
            assert info.segments[1].text == "another text"
            assert [one.name for one in info.speakers] == ["Ann"]


async def test_one_is_cancelled_and_a_summary_is_asked_for_where_another_is_written(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        here, there = await a.client(), await b.client()
        session = await speaking(a, here, 1)
        await done(there, messages.CancelSession, session=session)
        await over(a, session)
        assert (await done(there, messages.GetSession, session=session)).state is State.CANCELLED
        assert (await refused(there, messages.CancelSession, session=session)).code == "bad_state"
        a.home.summarizers.gate = trio.Event()
        await done(here, messages.Summarize, session=session)
        await until(lambda: a.home.summarizers.wanted)
        await done(there, messages.Summarize, session=session)  # and it is followed from there
        a.home.summarizers.gate.set()
        for _ in range(2):
            await there.until(lambda one: isinstance(one, FinalSummary))
        assert (len(a.home.summarizers.wanted), b.home.summarizers.wanted) == (2, [])


async def test_files_at_every_convod_are_listed_put_forward_and_cancelled_from_one(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        here, there = await a.client(), await b.client()
        await done(here, messages.PauseQueue)
        kind = {"kind": "file", "summary": messages.SummaryOptions(mode="off")}
        files = []
        for one in (here, there):
            request = one.numbered(messages.CreateSession, **kind)
            await one.send(request)
            files.append((await one.until(lambda reply: getattr(reply, "id", None) == request.id)).session)  # noqa: B023
        await done(there, messages.UpdateSession, session=files[0], priority="high")
        listed = (await done(there, messages.ListQueue)).jobs
        assert [(one.session, one.priority) for one in listed] == [(files[1], "normal"), (files[0], "high")]
        assert [one.session for one in (await done(here, messages.ListQueue)).jobs] == files
        assert (await done(await a.client(owner="you"), messages.ListQueue)).jobs == []
        await done(there, messages.CancelSession, session=files[0])
        await over(a, files[0])
        assert [one.session for one in (await done(there, messages.ListQueue)).jobs] == files[1:]


async def test_for_others_a_session_is_nowhere(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        session = await speaking(a, await a.client(), 1)
        error = await refused(await b.client(owner="you"), messages.CancelSession, session=session)
        assert error.code == "unknown_session"
        assert "a.example" not in error.message
        assert a.home.manager.find(session) is not None


async def test_what_cannot_be_done_from_here_is_refused_with_where(postgres, tmp_path):
    async with two(postgres, tmp_path) as (a, b):
        here, there = await a.client(), await b.client()
        session = await speaking(a, here, 1, key="k", keep_audio=True)
        works = "the convod on a.example works on this session; send its audio there"
        for kind, fields in (
            (messages.Attach, {"session": session, "produce": True}),
            (messages.CreateSession, {"kind": "live", "key": "k"}),
        ):
            error = await refused(there, kind, **fields)
            assert (error.code, works in error.message) == ("busy", True)
        await there.send(messages.Audio(session=session, offset=0, data=bytes(2)))
        assert works in (await there.until(lambda one: isinstance(one, Error) and one.session == session)).message
        await done(here, messages.EndSession, session=session)
        await over(a, session)
        error = await refused(there, messages.GetAudio, session=session)
        assert error.code == "audio_elsewhere"
        assert error.message == "the convod on a.example has the audio of this session; ask that one"
        # What needs the audio is done where that is.
        again = (await done(there, messages.Retranscribe, session=session)).session
        await over(a, again)
        assert (await done(there, messages.GetSession, session=again)).state is State.COMPLETED


async def test_what_needs_audio_of_a_convod_that_has_stopped_says_which(postgres, tmp_path):
    address = postgres.emptied()
    async with at(address, "b", tmp_path) as b:
        async with at(address, "a", tmp_path) as a:
            here = await a.client()
            session = await speaking(a, here, 1, keep_audio=True)
            await done(here, messages.EndSession, session=session)
            await over(a, session)
        async with at(address, "c", tmp_path):
            pass  # what starts later does not forget it
        error = await refused(await b.client(), messages.Retranscribe, session=session)
        assert error.code == "audio_elsewhere"
        assert error.message == "the convod on a.example has the audio of this session, but has stopped; start it"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_request_to_a_convod_that_dies_goes_on_at_the_next_one(postgres, tmp_path, monkeypatch, begun):
    replies: dict[str, messages.Message] = {}
    asked: list[object] = []

    async def ask(name, peer, kind, fields):
        replies[name] = await peer.ask(kind, session=session, **fields)

    with trio.fail_after(LIMIT_S):
        address = postgres.emptied()
        async with at(address, "b", tmp_path, shared=True) as b, trio.open_nursery() as nursery:
            async with at(address, "a", tmp_path, shared=True) as a:
                session = await speaking(a, await a.client(), 1)
                there, here = (one.home.store.leases.requests for one in (b, a))
                make, take = there.ask, here.take

                async def made(*args):
                    id = await make(*args)
                    asked.append(id)
                    return id

                async def taken(most):
                    """It is killed with the requests, or before it has them."""
                    asked.extend(await take(most) if begun else [])
                    return []

                monkeypatch.setattr(there, "ask", made)
                monkeypatch.setattr(here, "take", taken)
                for name, kind, fields in (
                    ("rename", messages.UpdateSession, {"title": "another"}),
                    ("mark", messages.AddMark, {"time": 1.0, "text": "once"}),
                ):
                    nursery.start_soon(ask, name, await b.client(), kind, fields)
                await until(lambda: len(asked) == (4 if begun else 2))
            await until(lambda: len(replies) == 2)
            marks = await b.home.store.marks(session)
            assert isinstance(replies["rename"], Reply), replies
            assert b.home.manager.find(session).record.title == "another"
            if begun:  # twice would be a fault that nobody sees
                assert isinstance(replies["mark"], Error)
                assert replies["mark"].message == (
                    "the convod on a.example has stopped, and may have done this before; look at the session, and ask "
                    "again if it was not done"
                )
            assert len(marks) == (0 if begun else 1)
            nursery.cancel_scope.cancel()
