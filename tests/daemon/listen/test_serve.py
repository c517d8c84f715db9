from __future__ import annotations

import errno
import json
import struct
from contextlib import ExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from convo.connection import NEED_DATA, Connection, Role
from convo.framing import LengthPrefixed
from convo.messages import (
    AddMark,
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    AudioFormat,
    CancelSession,
    Code,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    EndSession,
    Error,
    Export,
    Finalize,
    FinalizeReply,
    FinalSummary,
    GetSession,
    Hello,
    ListModels,
    ListSessions,
    Mark,
    Message,
    Ping,
    PingReply,
    PullModel,
    Reply,
    Search,
    SearchReply,
    SessionRenamed,
    SessionState,
    SessionWarning,
    State,
    Status,
    Summarize,
    SummaryOptions,
    TranscriptSegment,
    UpdateSession,
    Welcome,
)
from convod.listen.auth import SCOPES, Grant, Lease, Right, Unauthorized
from convod.listen.limits import RESERVE_EACH, STRANGER_BYTES, ConnectionLimiter
from convod.listen.link import LinkLost
from convod.listen.requests import Service
from convod.listen.serve import ConnectionHandler
from convod.listen.settings import ListenSettings
from convod.sessions.limits import LimitSettings
from convod.sessions.session import SessionSettings
from convod.store import StoreFailed
from tests.daemon.support.house import LONG_S, House, house
from tests.daemon.support.sounds import silence
from tests.daemon.support.talk import sentence, talk


class MemoryLink:
    """The daemon's end of a stream in memory."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.closed: list[tuple] = []
        self.quiet = bool
        self.aborted = False
        self.trusted = False

    def trust(self):
        self.trusted = True

    async def receive_ready(self):
        return None

    async def receive(self):
        try:
            return bytes(await self.stream.receive_some(1 << 16)) or None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return None

    def rest_while(self, quiet):
        self.quiet = quiet

    async def send(self, data):
        try:
            await self.stream.send_all(b"".join(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLost from error

    async def close(self, code, *, stopping=False):
        self.closed.append((code, stopping))
        await self.stream.aclose()

    def abort(self):
        self.aborted = True


class Peer:
    """A client: the real connection at the other end."""

    def __init__(self, stream, link: MemoryLink) -> None:
        self.stream, self.link = stream, link
        self.connection = Connection(Role.CLIENT, LengthPrefixed())
        self.had: list[Message] = []
        self._id = 0

    async def hello(self, token: str | None = None) -> Message | None:
        await self.send(Hello(protocol=1, client="test", token=token))
        return await self.receive()

    async def send(self, *messages: Message) -> None:
        await self.raw(b"".join(self.connection.send(message) for message in messages))

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    def numbered(self, kind, /, **fields):
        self._id += 1
        return kind(id=self._id, **fields)

    async def ask(self, kind, /, **fields) -> Message:
        request = self.numbered(kind, **fields)
        await self.send(request)
        return await self.until(lambda one: getattr(one, "id", None) == request.id)

    async def receive(self) -> Message | None:
        """The next message; None when the daemon closed."""
        with trio.fail_after(LONG_S):
            while (event := self.connection.next_event()) is NEED_DATA:
                data = await self.stream.receive_some(1 << 16)
                if not data:
                    return None
                self.connection.receive_data(bytes(data))
        assert isinstance(event, Message)
        self.had.append(event)
        return event

    async def until(self, wanted):
        while True:
            event = await self.receive()
            assert event is not None, "the daemon closed the connection"
            if wanted(event):
                return event

    async def rest(self) -> list[Message]:
        """All that comes before the daemon closes."""
        messages = []
        while (event := await self.receive()) is not None:
            messages.append(event)
        return messages


class Hall:
    """A house with a door: connections to its sessions."""

    def __init__(self, home: House, nursery: trio.Nursery) -> None:
        self.home, self.nursery = home, nursery
        self.service = Service(home.manager, home.summarizers, SessionSettings(beam=1))  # type: ignore[arg-type]
        self.connections = 0
        self.left = trio.Event()

    def connect(
        self,
        *,
        pair=trio.testing.memory_stream_pair,
        token: str = "",
        owner: str = "me",
        host: str = "10.0.0.1",
        grant: Grant | None = None,
        **settings,
    ) -> Peer:
        ours, theirs = pair()
        link = MemoryLink(ours)

        granted = grant or Grant(owner)

        async def authenticate(given: str | None) -> Grant:
            if (given or "") != token:
                raise Unauthorized("The token is wrong or missing; send the right one.")
            return granted

        async def run() -> None:
            self.connections += 1
            listen = ListenSettings(**settings)
            with self.service.limiter.slot(listen, host) as slot:
                connection = Connection(Role.SERVER, LengthPrefixed())
                await ConnectionHandler(link, connection, authenticate, self.service, listen, slot, "peer").run()
            self.connections -= 1
            self.left.set()

        self.nursery.start_soon(run)
        return Peer(theirs, link)

    async def client(self, **options) -> Peer:
        peer = self.connect(**options)
        assert isinstance(await peer.hello(options.get("token")), Welcome)
        return peer

    async def live(self, peer: Peer, **fields) -> CreateSessionReply:
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"), **fields)
        assert isinstance(created, CreateSessionReply), created
        return created


@asynccontextmanager
async def hall(tmp_path, **settings):
    async with house(tmp_path, **settings) as home, trio.open_nursery() as nursery:
        yield Hall(home, nursery)
        nursery.cancel_scope.cancel()


def of(code: str):
    return lambda message: isinstance(message, Error) and message.code == code


# --- handshake --------------------------------------------------------------------------------------------


async def test_hello_is_answered_by_welcome_with_the_limits(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        welcome = await place.connect().hello()
        assert isinstance(welcome, Welcome)
        assert welcome.protocol == 1
        assert welcome.limits.resume_s == 30.0
        assert welcome.limits.audio_credit == 60 * 32000
        assert "live" in welcome.features


async def test_one_connection_too_many_is_told_so_and_has_room_when_another_left(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        first = place.connect(connections=1)
        assert isinstance(await first.hello(), Welcome)
        (error,) = await place.connect(connections=1).rest()
        assert error.code == Code.BUSY
        await first.stream.aclose()
        await trio.sleep(1)
        assert isinstance(await place.connect(connections=1).hello(), Welcome)


async def test_who_says_nothing_is_closed_after_the_handshakes_time(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = place.connect(handshake_s=10.0)
        began = trio.current_time()
        (error,) = await peer.rest()
        assert error.code == Code.HELLO_EXPECTED
        assert trio.current_time() - began == pytest.approx(10.0)
        await trio.sleep(1)
        assert place.connections == 0


async def test_a_hello_that_never_ends_is_closed_too(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = place.connect()
        await peer.raw(b"\0\0")
        (error,) = await peer.rest()
        assert error.code == Code.HELLO_EXPECTED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\xa4type\xa4ping", Code.HELLO_EXPECTED),
        (b"\x82\xa4type\xa5hello\xa8protocol\x02", Code.UNSUPPORTED_PROTOCOL),
        (b"GET / HTTP/1.1", Code.BAD_MESSAGE),
    ],
)
async def test_what_is_no_hello_is_refused_and_closed(autojump_clock, tmp_path, data, code):
    async with hall(tmp_path) as place:
        peer = place.connect()
        await peer.raw(struct.pack(">I", len(data)) + data)
        (error,) = await peer.rest()
        assert error.code == code
        assert peer.link.closed == [(code, False)]


@pytest.mark.parametrize("token", [None, "", "wrong"])
async def test_the_wrong_token_is_refused_and_never_logged(autojump_clock, tmp_path, token, caplog):
    caplog.set_level("DEBUG")
    async with hall(tmp_path) as place:
        peer = place.connect(token="right")
        error = await peer.hello(token)
        assert isinstance(error, Error)
        assert error.code == Code.UNAUTHORIZED
        assert await peer.rest() == []
    assert "right" not in caplog.text.replace("send the right one", "")


async def test_the_right_token_is_welcome(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        assert isinstance(await place.connect(token="right").hello("right"), Welcome)


async def test_a_frame_over_the_limit_is_refused_and_closed(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await peer.raw(struct.pack(">I", (1 << 20) + 1))
        (error,) = await peer.rest()
        assert error.code == Code.TOO_LARGE
        assert peer.link.closed == [(Code.TOO_LARGE, False)]


# --- requests ---------------------------------------------------------------------------------------------


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

        session = place.home.manager.find(created.session)
        assert session is not None
        monkeypatch.setattr(type(session._spool), "append", broken)
        await peer.send(Audio(session=created.session, offset=0, data=bytes(100)))
        await peer.rest()
        assert isinstance(await other.ask(Ping), PingReply)


# --- sessions ---------------------------------------------------------------------------------------------


async def test_the_answer_to_create_comes_before_its_sessions_first_event(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await place.live(peer)
        await peer.until(lambda one: isinstance(one, SessionState))
        kinds = [type(message) for message in peer.had]
        assert kinds.index(CreateSessionReply) < kinds.index(SessionState)


async def test_a_talk_over_a_connection_ends_with_everything_said(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert created.config["endpoint_ms"] == 500
        sound = talk(2)
        for at in range(0, len(sound), 6400):
            await peer.send(Audio(session=created.session, offset=at, data=sound[at : at + 6400]))
        assert isinstance(await peer.ask(EndSession, session=created.session), Reply)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        segments = [message for message in peer.had if isinstance(message, TranscriptSegment)]
        assert [segment.text for segment in segments] == ["sentence 0", "sentence 1"]
        found = await peer.ask(GetSession, session=created.session)
        assert [segment.text for segment in found.segments] == ["sentence 0", "sentence 1"]
        assert found.state is State.COMPLETED
        exported = await peer.ask(Export, session=created.session, format="txt")
        assert "sentence 1" in exported.content
        assert [hit.segment for hit in (await peer.ask(Search, query="sentence")).hits] == [1, 0]


async def test_finalizes_reply_comes_after_its_segments_even_to_a_slow_reader(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client(pair=trio.testing.lockstep_stream_pair)
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=0, data=talk(3)[: 1 << 19]))
        request = peer.numbered(Finalize, session=created.session)
        await peer.send(request)
        await trio.sleep(5)
        reply = await peer.until(lambda one: isinstance(one, FinalizeReply | Error))
        assert isinstance(reply, FinalizeReply)
        assert reply.offset == len(talk(3))
        segments = [message for message in peer.had if isinstance(message, TranscriptSegment)]
        assert [segment.segment for segment in segments] == [0, 1, 2]
        assert peer.had[-1] is reply


async def test_finalize_covers_what_was_sent_before_it(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        place.home.engine.hold = True
        sound = sentence()[: 2 * 32000]
        await peer.send(
            Audio(session=created.session, offset=0, data=sound), peer.numbered(Finalize, session=created.session)
        )
        await trio.sleep(0.5)
        place.home.engine.hold = False
        place.home.engine.finish_all()
        reply = await peer.until(lambda one: isinstance(one, FinalizeReply))
        assert reply.offset == len(sound)


@pytest.mark.parametrize(
    ("offset", "size", "code"),
    [(100, 100, Code.BAD_AUDIO), (0, 101, Code.BAD_AUDIO)],
)
async def test_audio_that_does_not_fit_is_an_error_about_its_session(autojump_clock, tmp_path, offset, size, code):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=offset, data=bytes(size)))
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.id, error.session) == (code, None, created.session)
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_only_a_connection_that_brings_silence_may_rest(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        quiet = peer.link.quiet
        assert not quiet(), "a request came last"
        await peer.send(Audio(session=created.session, offset=0, data=silence(1.0)))
        await trio.sleep(0.2)
        assert quiet()
        await peer.ask(Ping)
        assert not quiet()
        await peer.send(Audio(session=created.session, offset=32000, data=sentence()[:32000]))
        await trio.sleep(0.2)
        assert not quiet(), "somebody speaks"


async def test_audio_for_no_session_is_an_error_and_the_connection_goes_on(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        await peer.send(Audio(session="0123456789abcdef", offset=0, data=b""))
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.session) == (Code.UNKNOWN_SESSION, "0123456789abcdef")
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_pieces_that_come_together_are_stored_together_and_acknowledged_once(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        session = place.home.manager.find(created.session)
        written = []
        append = session._spool.append
        session._spool.append = lambda data: (written.append(len(data)), append(data))
        pieces = [Audio(session=created.session, offset=at, data=bytes(640)) for at in range(0, 3200, 640)]
        await peer.send(*pieces, peer.numbered(Ping))
        before = trio.current_time()
        ack = await peer.until(lambda one: isinstance(one, AudioAck) and one.offset > 0)
        assert (ack.offset, written) == (3200, [3200])
        assert trio.current_time() == before, "it was gathered already"


async def test_of_pieces_that_come_together_those_before_a_bad_one_are_taken(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        sizes = (640, 640, 641, 639)  # two halves of a sample are none, even where they come together
        offsets = [sum(sizes[:at]) for at in range(4)]
        await peer.send(
            *(
                Audio(session=created.session, offset=at, data=bytes(size))
                for at, size in zip(offsets, sizes, strict=True)
            )
        )
        error = await peer.until(lambda one: isinstance(one, Error))
        assert (error.code, error.session) == (Code.BAD_AUDIO, created.session)
        assert place.home.manager.find(created.session).audio_offset == 1280
        assert isinstance(await peer.ask(Ping), PingReply)


async def test_what_breaks_the_contract_right_behind_audio_does_not_take_it_along(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await peer.ask(CreateSession, kind="live", summary=SummaryOptions(mode="off"))
        session = place.home.manager.find(created.session)
        pieces = [Audio(session=created.session, offset=at, data=bytes(640)) for at in (0, 640)]
        data = b"".join(peer.connection.send(piece) for piece in pieces)
        await peer.raw(data + struct.pack(">I", 3) + b"\xc1\xc1\xc1")
        rest = await peer.rest()
        assert rest[-1].code == Code.BAD_MESSAGE
        assert session.audio_offset == 1280


async def test_audio_over_the_credit_closes_the_connection_and_leaves_the_session(autojump_clock, tmp_path):
    async with hall(tmp_path, credit_s=1.0) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert created.credit == 32000
        await peer.send(Audio(session=created.session, offset=0, data=silence(1.5)))
        rest = await peer.rest()
        assert isinstance(rest[-1], Error)
        assert (rest[-1].code, rest[-1].session) == (Code.OUT_OF_CREDIT, created.session)
        assert peer.link.closed == [(Code.OUT_OF_CREDIT, False)]
        again = await place.client()
        attached = await again.ask(Attach, session=created.session, produce=True)
        assert isinstance(attached, AttachReply)
        assert attached.audio_offset == 0


async def test_a_link_that_drops_leaves_the_session_to_the_next_one_which_misses_nothing(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        sound = talk(2)
        await peer.send(Audio(session=created.session, offset=0, data=sound[: len(talk(1))]))
        segment = await peer.until(lambda one: isinstance(one, TranscriptSegment))
        await peer.stream.aclose()
        await trio.sleep(10)
        assert place.connections == 0
        again = await place.client()
        attached = await again.ask(Attach, session=created.session, after_seq=segment.seq, produce=True)
        assert attached.audio_offset == len(talk(1))
        await again.send(Audio(session=created.session, offset=attached.audio_offset, data=sound[len(talk(1)) :]))
        await again.ask(EndSession, session=created.session)
        await again.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        seqs = [
            message.seq for message in again.had if hasattr(message, "seq") and not isinstance(message, AttachReply)
        ]
        assert seqs == list(range(segment.seq + 1, segment.seq + 1 + len(seqs)))
        assert [message.segment for message in again.had if isinstance(message, TranscriptSegment)] == [1]


async def test_a_reader_that_stalls_is_cut_off_and_its_session_goes_on(autojump_clock, tmp_path, caplog):
    async with hall(tmp_path) as place:
        peer = await place.client(pair=trio.testing.lockstep_stream_pair, stall_s=30.0)
        created = await place.live(peer)
        await peer.send(Audio(session=created.session, offset=0, data=talk(1)))
        began = trio.current_time()
        await place.left.wait()
        assert 25.0 <= trio.current_time() - began <= 40.0
        assert peer.link.aborted
        assert "takes nothing" in caplog.text
        session = place.home.manager.find(created.session)
        assert session is not None
        assert session.record.segments == 1
        assert session.producer is None


async def test_a_reader_of_a_finished_session_gets_the_summary_that_it_asks_for(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer, other = await place.client(), await place.client()
        created = await place.live(peer)
        await peer.ask(EndSession, session=created.session)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        await trio.sleep(1)
        attached = await other.ask(Attach, session=created.session)
        assert isinstance(attached, AttachReply)
        assert isinstance(await other.ask(Summarize, session=created.session), Reply)
        summary = await other.until(lambda one: isinstance(one, FinalSummary | SessionWarning))
        assert isinstance(summary, FinalSummary)


async def test_while_no_summarizer_is_there_summarize_says_so(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert of(Code.BAD_STATE)(await peer.ask(Summarize, session=created.session))
        await peer.ask(EndSession, session=created.session)
        await peer.until(lambda one: isinstance(one, SessionState) and one.state is State.COMPLETED)
        await trio.sleep(1)
        place.home.summarizers.away = "the language model is away"
        error = await peer.ask(Summarize, session=created.session)
        assert of(Code.SUMMARIZER_UNAVAILABLE)(error)


async def test_detach_stops_the_events_and_delete_forgets_the_session(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        assert isinstance(await peer.ask(Detach, session=created.session), Reply)
        assert of(Code.UNKNOWN_SESSION)(await peer.ask(Detach, session=created.session))
        assert isinstance(await peer.ask(DeleteSession, session=created.session), Reply)
        assert of(Code.UNKNOWN_SESSION)(await peer.ask(GetSession, session=created.session))
        assert (await peer.ask(ListSessions)).sessions == []


async def test_ending_twice_is_a_bad_state(autojump_clock, tmp_path):
    async with hall(tmp_path) as place:
        peer = await place.client()
        created = await place.live(peer)
        await peer.ask(EndSession, session=created.session)
        assert of(Code.BAD_STATE)(await peer.ask(EndSession, session=created.session))
        await peer.send(Audio(session=created.session, offset=0, data=bytes(100)))
        error = await peer.until(lambda one: isinstance(one, Error) and one.id is None)
        assert (error.code, error.session) == (Code.BAD_STATE, created.session)


# --- who may, and how much ---------------------------------------------------------------------------------


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
    assert (limiter.connected, limiter._silent, limiter._silent_count) == (0, {}, 0)


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

        listen = ListenSettings(handshake_s=10)
        ours, theirs = trio.testing.memory_stream_pair()
        began = trio.current_time()
        with place.service.limiter.slot(listen) as slot:
            await trio.sleep(7)  # for TLS and HTTP
            async with trio.open_nursery() as nursery:
                connection = Connection(Role.SERVER, LengthPrefixed())
                peer = Peer(theirs, MemoryLink(ours))
                handler = ConnectionHandler(peer.link, connection, slow, place.service, listen, slot, "peer")
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
