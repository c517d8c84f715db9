from __future__ import annotations

import json
import struct
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from convo.connection import Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    AddMark,
    Attach,
    Audio,
    AudioFormat,
    CancelSession,
    Code,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Error,
    Export,
    GetSession,
    ListSessions,
    Mark,
    Ping,
    PingReply,
    PullModel,
    Reply,
    Search,
    SearchReply,
    SessionRenamed,
    SessionState,
    State,
    SummaryOptions,
    UpdateSession,
    Welcome,
)
from convod.listen.auth import SCOPES, Grant, Lease, Right, Unauthorized
from convod.listen.limits import RESERVE_EACH, STRANGER_BYTES, ConnectionLimiter
from convod.listen.serve import ConnectionHandler
from convod.listen.settings import ListenSettings
from convod.sessions.limits import LimitSettings
from convod.store import StoreFailed
from tests.daemon.support.hall import MemoryLink, Peer, hall, of
from tests.daemon.support.sounds import silence


@pytest.mark.parametrize(
    ("scope", "kind", "fields", "code"),
    [
        ("read", ListSessions, {}, None),
        ("read", Ping, {}, None),
        ("read", CreateSession, {"kind": "live"}, Code.FORBIDDEN),
        ("read", DeleteSession, {"session": "s"}, Code.FORBIDDEN),
        ("read", Attach, {"session": "s", "produce": True}, Code.FORBIDDEN),
        ("read", Attach, {"session": "s"}, Code.UNKNOWN_SESSION),
        ("read", PullModel, {"model": "small"}, Code.FORBIDDEN),
        ("stream", PullModel, {"model": "small"}, Code.FORBIDDEN),
        ("stream", CreateSession, {"kind": "live"}, None),
        ("admin", CreateSession, {"kind": "live"}, None),
    ],
)
async def test_a_scope_says_which_requests_are_answered(autojump_clock, tmp_path, scope, kind, fields, code):
    async with hall(tmp_path) as place:
        peer = await place.client(grant=Grant("token:x", SCOPES[scope]))
        answer = await peer.ask(kind, **fields)
        assert (answer.code if isinstance(answer, Error) else None) == code
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_a_local_user_fetches_models_only_as_root_or_admin_or_the_daemons_own(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client(grant=Grant("uid:7", local=True))
        refused = await peer.ask(PullModel, model="small")
        assert of(Code.FORBIDDEN)(refused)
        assert "admin" in refused.message
        assert Right.PULL not in SCOPES["stream"]


async def test_audio_of_a_token_that_may_only_read_is_forbidden(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        created = await place.live(await place.client(owner="token:x"))
        reader = await place.client(grant=Grant("token:x", SCOPES["read"]))
        await reader.send(Audio(session=created.session, offset=0, data=silence(0.1)))
        assert (await reader.until(of(Code.FORBIDDEN))).session == created.session


async def test_an_admin_sees_the_sessions_of_all(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        created = await place.live(await place.client(owner="somebody"))
        admin = await place.client(grant=Grant("token:root", SCOPES["admin"]))
        assert [info.session for info in (await admin.ask(ListSessions)).sessions] == [created.session]
        assert (await admin.ask(GetSession, session=created.session)).session == created.session
        assert isinstance(await admin.ask(Search, query="word"), SearchReply)
        other = await place.client(grant=Grant("token:other", SCOPES["stream"]))
        assert (await other.ask(ListSessions)).sessions == []
        assert (await other.ask(GetSession, session=created.session)).code == Code.UNKNOWN_SESSION


async def test_a_connection_ends_with_its_token(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        lease = Lease()
        peer = await place.client(grant=Grant("token:x", SCOPES["stream"], "x", lease))
        assert isinstance(await peer.ask(Ping), PingReply)
        lease.end("It is over.")
        assert [(error.code, error.message) for error in await peer.rest()] == [(Code.UNAUTHORIZED, "It is over.")]
        late = place.connect(grant=Grant("token:x", SCOPES["stream"], "x", lease))
        assert isinstance(await late.hello(), Welcome)
        assert [error.code for error in await late.rest()] == [Code.UNAUTHORIZED]
        await place.left.wait()
        assert place.service.limiter.connected == 0


async def test_one_owner_has_so_many_connections_and_others_have_theirs(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        await place.client(owner_connections=1)
        refused = place.connect(owner_connections=1)
        assert (await refused.hello()).code == Code.BUSY
        assert await refused.receive() is None
        await place.client(owner="other", owner_connections=1)
        assert place.service.limiter.refused["owner_connections"] == 1


async def test_one_owner_cannot_take_the_connections_of_others(autojump_clock, tmp_path):
    limits = {"connections": 16, "owner_connections": 8, "reserved_connections": 2}
    async with hall(tmp_path) as place:
        for owner in ("token:a", "token:b"):
            taken = []
            for _ in range(9):
                peer = place.connect(owner=owner, **limits)
                taken.append(isinstance(await peer.hello(), Welcome))
            assert taken == [True] * (8 if owner == "token:a" else 6) + [False] * (1 if owner == "token:a" else 3)
        refused = place.connect(owner="token:c", **limits)
        assert of(Code.BUSY)(await refused.hello())
        await place.client(grant=Grant("uid:7", local=True), **limits)
        await place.client(grant=Grant("token:root", SCOPES["admin"]), **limits)
        last = place.connect(grant=Grant("uid:8", local=True), **limits)
        assert of(Code.BUSY)(await last.receive())


async def test_one_local_user_cannot_take_the_whole_reserve(autojump_clock, tmp_path):
    limits = {"connections": 100, "reserved_connections": 12}
    async with hall(tmp_path) as place:
        for number in range(88):
            await place.client(owner=f"token:{number}", **limits)
        for _ in range(RESERVE_EACH):
            await place.client(grant=Grant("uid:7", local=True), **limits)
        assert of(Code.BUSY)(await place.connect(grant=Grant("uid:7", local=True), **limits).hello())
        await place.client(grant=Grant("uid:8", local=True), **limits)


async def test_one_owner_has_so_many_sessions(autojump_clock, tmp_path):
    async with hall(tmp_path, limits=LimitSettings(sessions=1)) as place:
        peer = await place.client()
        created = await place.live(peer)
        refused = await peer.ask(CreateSession, kind="live")
        assert refused.code == Code.LIMIT_EXCEEDED
        await place.live(await place.client(owner="other"))
        await peer.ask(CancelSession, session=created.session)
        await peer.until(lambda event: isinstance(event, SessionState) and event.state is State.CANCELLED)
        await trio.testing.wait_all_tasks_blocked()
        await place.live(peer)


async def test_of_those_that_say_nothing_the_oldest_is_cut(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        silent = []
        for _ in range(3):
            silent.append(place.connect(handshakes=3))
            await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        serious = place.connect(handshakes=3)
        assert isinstance(await serious.hello(), Welcome)
        assert await silent[0].receive() is None
        assert trio.current_time() - begun < 1
        assert isinstance(await silent[2].hello(), Welcome)


async def test_a_flood_of_one_host_does_not_cut_another(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        limits = {"handshakes": 8, "host_handshakes": 4}
        slow = place.connect(host="10.0.0.2", **limits)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(40):
            place.connect(host="10.0.0.1", **limits)
            await trio.testing.wait_all_tasks_blocked()
        assert place.service.limiter.connected == 1 + 4
        for _ in range(40):  # several hosts, each with several: they are cut before the one that has one
            for number in range(3):
                place.connect(host=f"10.0.1.{number}", **limits)
                await trio.testing.wait_all_tasks_blocked()
        assert place.service.limiter.connected == 8
        assert isinstance(await slow.hello(), Welcome)


async def test_of_one_host_those_that_asked_for_something_are_cut_last(autojump_clock):
    limiter, settings = ConnectionLimiter(), ListenSettings(host_handshakes=3)
    with ExitStack() as stack:
        first = stack.enter_context(limiter.slot(settings, "h"))
        first.spoke = True
        others = [stack.enter_context(limiter.slot(settings, "h")) for _ in range(20)]
        assert not first.scope.cancel_called
        assert [other.scope.cancel_called for other in others] == [True] * 18 + [False] * 2
    assert (limiter.connected, limiter.silent, limiter.silent_count) == (0, {}, 0)


async def test_before_it_is_welcome_a_client_may_send_so_much_and_afterwards_more(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        stranger = place.connect()
        await stranger.raw(struct.pack(">I", STRANGER_BYTES + 1))
        assert of(Code.TOO_LARGE)((await stranger.rest())[-1])
        peer = await place.client()
        assert peer.link.trusted
        title = "x" * 4 * STRANGER_BYTES
        assert isinstance(await peer.ask(CreateSession, kind="live", title=title), CreateSessionReply)


async def test_the_handshakes_time_is_counted_from_the_first_byte(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:

        async def slow(given: str | None) -> Grant:
            await trio.sleep(4)
            raise Unauthorized("no")

        ours, theirs = trio.testing.memory_stream_pair()
        began = trio.current_time()
        with place.service.limiter.slot(ListenSettings(handshake_s=10)) as slot:
            await trio.sleep(7)  # for TLS and HTTP
            async with trio.open_nursery() as nursery:
                connection = Connection(Role.SERVER, LengthPrefixed())
                peer = Peer(theirs, MemoryLink(ours))
                handler = ConnectionHandler(peer.link, connection, slow, place.service, slot)
                nursery.start_soon(handler.run)
                assert of(Code.UNAUTHORIZED)(await peer.hello("guess")), "also if its time ends before the pause does"
                assert trio.current_time() - began == pytest.approx(10)
                nursery.cancel_scope.cancel()


async def test_who_sends_faster_than_allowed_is_read_more_slowly(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client(messages_per_s=10)
        begun = trio.current_time()
        for _ in range(50):
            await peer.ask(Ping)
        assert 2.5 < trio.current_time() - begun < 4  # 20 at once, the others by tens
        other = await place.client(messages_per_s=10)
        begun = trio.current_time()
        await other.ask(Ping)
        assert trio.current_time() - begun < 0.1


@pytest.mark.parametrize("setting", ["bytes_per_s", "owner_bytes_per_s"])
async def test_who_sends_more_bytes_than_allowed_is_read_more_slowly(autojump_clock, tmp_path, setting):
    async with hall(tmp_path) as place:
        peer = await place.client(**{setting: 16000})
        created = await place.live(peer)
        begun = trio.current_time()
        for at in range(0, 80000, 3200):
            await peer.send(Audio(session=created.session, offset=at, data=bytes(3200)))
        assert isinstance(await peer.ask(Ping), PingReply)
        assert 2.5 < trio.current_time() - begun < 4  # two seconds' worth at once, the others in three


async def test_all_connections_of_an_owner_share_a_pace(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peers = [await place.client(owner_messages_per_s=10) for _ in range(2)]
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(ask_many, peer, 25)
        assert trio.current_time() - begun > 2.5


async def ask_many(peer: Peer, count: int) -> None:
    for _ in range(count):
        await peer.ask(Ping)


async def test_who_says_nothing_and_follows_nothing_is_closed_if_the_settings_say_so(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        idle, listener = await place.client(idle_s=5), await place.client(idle_s=5)
        await place.live(listener)
        with trio.fail_after(6):
            assert await idle.receive() is None
        await trio.sleep(20)
        assert isinstance(await listener.ask(Ping), PingReply)


@pytest.mark.parametrize("where", ["title", "name"])
async def test_a_title_is_one_clean_line_from_the_beginning(autojump_clock, tmp_path, where):
    async with hall(tmp_path) as place:
        peer = await place.client()
        evil = "  Release\n\x1b]0;owned\x07 \x9b2Jplan" + "x" * 300
        fields = {"title": evil} if where == "title" else {"audio": AudioFormat(name=evil)}
        created = await peer.ask(CreateSession, kind="file", summary=SummaryOptions(mode="off"), **fields)
        record = await peer.ask(GetSession, session=created.session)
        assert record.title == ("Release ]0;owned 2Jplan" + "x" * 300)[:200]
        assert "\x1b" not in str(created.config)


async def test_a_session_is_renamed_and_marked_at_any_time(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        name = (await place.live(peer)).session
        title = "  Release\n\x1b plan" + "x" * 300
        assert isinstance(await peer.ask(UpdateSession, session=name, title=title), Reply)
        assert isinstance(await peer.ask(AddMark, session=name, time=0.5, text="budget"), Reply)
        for wrong in (-1.0, float("nan"), float("inf")):
            assert of(Code.BAD_REQUEST)(await peer.ask(AddMark, session=name, time=wrong))
        assert isinstance(await peer.ask(CancelSession, session=name), Reply)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.CANCELLED)
        assert isinstance(await peer.ask(AddMark, session=name, time=0.25), Reply)
        assert of(Code.UNKNOWN_SESSION)(await peer.ask(UpdateSession, session="nobody's", title="mine"))
        record = await peer.ask(GetSession, session=name)
        assert record.title == ("Release plan" + "x" * 300)[:200]
        assert [(mark.time, mark.text) for mark in record.marks] == [(0.25, ""), (0.5, "budget")]
        assert not (await peer.ask(GetSession, session=name, after_segment=0)).marks
        exported = json.loads((await peer.ask(Export, session=name, format="json")).content)
        assert exported["marks"] == [{"time": 0.25}, {"time": 0.5, "text": "budget"}]
        again = await place.client()
        await again.ask(Attach, session=name)
        await again.until(lambda one: isinstance(one, Mark) and one.time == 0.25)
        marks = [(mark.time, mark.text) for mark in again.had if isinstance(mark, Mark)]
        assert marks == [(0.5, "budget"), (0.25, "")]
        assert [event.title for event in again.had if isinstance(event, SessionRenamed)] == [record.title]


async def test_audio_for_a_session_that_the_store_does_not_give_is_refused_and_the_connection_stays(
    tmp_path, autojump_clock, monkeypatch
):
    async with hall(tmp_path) as place:
        peer = place.connect()
        await peer.hello()

        async def get(session):
            raise StoreFailed("it cannot be read (disk I/O error); look at its disk")

        monkeypatch.setattr(place.home.store, "get", get)
        await peer.send(Audio(session="0123456789abcdef0123", offset=0, data=bytes(2)))
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.session) == (Code.BUSY, "0123456789abcdef0123")
        assert isinstance(await peer.ask(Ping), PingReply)


# --- what one owner may store -----------------------------------------------------------------------------


async def test_who_has_used_up_their_disk_writes_no_more(tmp_path):
    async with hall(tmp_path, limits=LimitSettings(owner_disk_bytes=3000)) as home:
        peer, other = await home.client(), await home.client(owner="you")
        live = await home.live(peer)
        marks = 0
        while not isinstance(answer := await peer.ask(AddMark, session=live.session, time=0.0, text="x" * 200), Error):
            marks += 1
        assert 5 < marks < 15
        assert answer.code == Code.LIMIT_EXCEEDED
        assert answer.message.endswith("of the 3000 bytes that limits.owner_disk_bytes allows; delete some")
        for kind, fields in (
            (UpdateSession, {"session": live.session, "title": "new"}),
            (CreateSession, {"kind": "live"}),
            (CreateSession, {"kind": "file", "audio": AudioFormat(size=10)}),
        ):
            assert isinstance(refused := await peer.ask(kind, **fields), Error)
            assert refused.code == Code.LIMIT_EXCEEDED
        await home.live(other)
        assert isinstance(await peer.ask(DeleteSession, session=live.session), Reply)
        await home.live(peer)
