from __future__ import annotations

import errno
import struct

import pytest

from convo.messages import (
    Attach,
    Audio,
    CancelSession,
    Code,
    CreateSession,
    DeleteSession,
    Detach,
    EndSession,
    Error,
    Export,
    Finalize,
    GetSession,
    ListModels,
    ListSessions,
    Ping,
    PingReply,
    Search,
    Status,
    Summarize,
)
from convod.store.spool import SpoolFile
from tests.daemon.support.hall import hall, of


async def test_two_requests_at_once_get_one_reply_each(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        one, two = peer.numbered(Ping), peer.numbered(ListSessions)
        await peer.send(one, two)
        assert [message.id for message in (await peer.receive(), await peer.receive())] == [one.id, two.id]


async def test_what_was_answered_before_a_fault_does_not_hide_the_error_about_it(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await peer.raw(peer.connection.send(Ping(id=1)) + struct.pack(">I", 3) + b"\xc1\xc1\xc1")
        rest = await peer.rest()
        assert of(Code.BAD_MESSAGE)(rest[-1])


async def test_a_message_of_no_known_type_is_refused_and_the_connection_goes_on(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        body = b"\x82\xa4type\xa4pong\xa2id\x05"
        await peer.raw(struct.pack(">I", len(body)) + body)
        # The client's connection knows no request 5: what came is read by hand.
        data = await peer.stream.receive_some(1 << 16)
        assert b"bad_message" in data
        assert isinstance(await peer.ask(Ping), PingReply)


@pytest.mark.parametrize(
    "request_",
    [
        (GetSession, {}), (Finalize, {}), (EndSession, {}), (CancelSession, {}), (DeleteSession, {}), (Attach, {}),
        (Attach, {"produce": True}), (Export, {"format": "txt"}), (Summarize, {}), (Detach, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whose", ["nobody's", "another's"])
async def test_a_session_that_is_not_mine_does_not_exist(autojump_clock, tmp_path, request_, whose):
    async with hall(tmp_path) as place:
        peer = await place.client(owner="me")
        session = "0123456789abcdef"
        if whose == "another's":
            session = (await place.live(await place.client(owner="you"))).session
        kind, fields = request_
        error = await peer.ask(kind, session=session, **fields)
        assert isinstance(error, Error)
        assert error.code == Code.UNKNOWN_SESSION


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Search, {"query": "  "}),
        (Search, {"query": "x", "limit": 0}),
        (ListSessions, {"limit": -1}),
        (CreateSession, {"kind": "live", "endpoint_ms": 1}),
    ],
)
async def test_a_request_out_of_range_is_a_bad_request(autojump_clock, tmp_path, kind, fields):
    async with hall(tmp_path) as place:
        error = await (await place.client()).ask(kind, **fields)
        assert of(Code.BAD_REQUEST)(error)


async def test_status_and_models_are_told(autojump_clock, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with hall(tmp_path) as place:
        peer = await place.client()
        await place.live(peer)
        status = await peer.ask(Status)
        assert (status.engine.state, status.sessions.live, status.sessions.file) == ("ready", 1, 0)
        models = (await peer.ask(ListModels)).models
        assert [(model.name, model.source) for model in models if model.here] == [("builtin", "builtin")]
        assert models[0].loaded
        assert {model.source for model in models if not model.here} == {None}


async def test_a_fault_in_one_answer_is_internal_and_the_connection_goes_on(
    autojump_clock, tmp_path, monkeypatch, caplog
):
    async with hall(tmp_path) as place:
        peer = await place.client()

        async def broken(*args, **options):
            raise RuntimeError("oh")

        monkeypatch.setattr(place.home.store, "newest", broken)
        assert of(Code.INTERNAL)(await peer.ask(ListSessions))
        assert isinstance(await peer.ask(Ping), PingReply)
    assert "could not be answered" in caplog.text


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_request_that_finds_no_descriptor_left_may_be_asked_again(
    autojump_clock, tmp_path, monkeypatch, number
):
    async with hall(tmp_path) as place:
        peer = await place.client()

        async def broken(*args, **options):
            raise OSError(number, "Too many open files")

        monkeypatch.setattr(place.home.store, "newest", broken)
        error = await peer.ask(ListSessions)
        assert of(Code.BUSY)(error)
        assert "files open" in error.message


async def test_a_fault_in_one_connection_leaves_the_others(autojump_clock, tmp_path, monkeypatch, caplog):
    async with hall(tmp_path) as place:
        other, peer = await place.client(), await place.client()
        created = await place.live(peer)

        def broken(*args):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(SpoolFile, "append", broken)
        await peer.send(Audio(session=created.session, offset=0, data=bytes(100)))
        await peer.rest()
        assert isinstance(await other.ask(Ping), PingReply)
