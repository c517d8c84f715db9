"""A client without sockets, joined to a server's connection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.client_core import Answered, Attachment, Changed, ClientCore, Fetching, Lost, Opened
from convo.connection import NEED_DATA, Connection, Role
from convo.errors import ConnectionLost, LocalProtocolError, RequestError
from convo.framing import LengthPrefixed
from convo.messages import (
    Attach,
    AttachReply,
    Audio,
    AudioAck,
    AudioFormat,
    CreateSession,
    CreateSessionReply,
    DeleteSession,
    Detach,
    Error,
    Hello,
    Limits,
    Message,
    ModelProgress,
    Ping,
    PingReply,
    Reply,
    SessionState,
    State,
    Welcome,
)

WELCOME = Welcome(
    protocol=1,
    server="test",
    limits=Limits(message_bytes=1124, audio_credit=10, resume_s=1.0),
    features=[],
)


class Pair:
    """A client and the daemon that it talks to."""

    def __init__(self) -> None:
        self.core = ClientCore(LengthPrefixed(), client="test", token="t")
        self.server = Connection(Role.SERVER, LengthPrefixed())
        assert self.heard(self.core.start()) == [Hello(protocol=1, client="test", token="t")]
        assert self.say(WELCOME) == [Opened(WELCOME)]

    def heard(self, data: bytes) -> list[Any]:
        """What the daemon reads."""
        self.server.receive_data(data)
        events = [self.server.next_event()]
        while self.server.phase.name == "OPEN" and events[-1] is not NEED_DATA:
            events.append(self.server.next_event())
        return [event for event in events if event is not NEED_DATA]

    def say(self, *messages: Message) -> list[Any]:
        """What happens to the client when the daemon says this in one piece."""
        return self.core.receive(b"".join(self.server.send(message) for message in messages))

    def create(self, credit: int = 10, **audio: Any) -> Attachment:
        request = CreateSession(kind="live", audio=AudioFormat(**audio))
        number, data = self.core.request(request)
        self.heard(data)
        self.say(CreateSessionReply(id=number, session="s", config={}, credit=credit))
        attachment = self.core.attached("s")
        assert attachment is not None
        return attachment

    def attach(self, after_seq: int = 0, produce: bool = False, offset: int = 0, seq: int = 0) -> Attachment:
        number, data = self.core.request(Attach(session="s", after_seq=after_seq, produce=produce))
        self.heard(data)
        reply = AttachReply(id=number, state=State.PROCESSING, seq=seq, audio_offset=offset, credit=10)
        self.say(reply)
        attachment = self.core.attached("s")
        assert attachment is not None
        return attachment


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_requests_are_numbered_from_one(pair: Pair) -> None:
    for number in (1, 2, 3):
        assert pair.core.request(Ping())[0] == number


def test_answers_carry_the_id(pair: Pair) -> None:
    first, data = pair.core.request(Ping())
    assert pair.heard(data) == [Ping(id=first)]
    second, _ = pair.core.request(Ping())
    reply = PingReply(id=second, time=1.0)
    happened = pair.say(reply, Error(id=first, code="busy", message="Later."))
    assert happened[0] == Answered(second, reply)
    refused = happened[1].result
    assert isinstance(refused, RequestError)
    assert (refused.code, str(refused)) == ("busy", "Later.")


def test_events_behind_the_reply_find_their_session(pair: Pair) -> None:
    number, _ = pair.core.request(CreateSession(kind="live"))
    event = SessionState(session="s", seq=1, state=State.PENDING)
    happened = pair.say(CreateSessionReply(id=number, session="s", config={}, credit=1), event)
    attachment = pair.core.attached("s")
    assert attachment is not None
    assert happened[1:] == [Changed(attachment)]
    assert attachment.feed.take() == event


def test_events_of_other_sessions_are_dropped(pair: Pair) -> None:
    assert pair.say(SessionState(session="other", seq=1, state=State.PENDING)) == []


def test_an_abandoned_answer_opens_nothing(pair: Pair) -> None:
    number, _ = pair.core.request(CreateSession(kind="live"))
    pair.core.abandon(number)
    pair.say(CreateSessionReply(id=number, session="s", config={}, credit=1))
    assert pair.core.attached("s") is None


def test_audio_keeps_to_its_credit_and_to_whole_samples(pair: Pair) -> None:
    attachment = pair.create(credit=10)
    taken = pair.core.audio(attachment, memoryview(b"0123456789abcdef"))
    assert taken is not None
    assert taken[0] == 8  # of ten: pieces end at a sample of any encoding
    assert pair.heard(taken[1]) == [Audio(session="s", offset=0, data=b"01234567")]
    assert pair.core.audio(attachment, memoryview(b"89abcdef")) is None
    assert pair.say(AudioAck(session="s", offset=8, credit=10)) == [Changed(attachment)]
    taken = pair.core.audio(attachment, memoryview(b"89abcdef"))
    assert taken is not None
    assert pair.heard(taken[1]) == [Audio(session="s", offset=8, data=b"89abcdef")]


def test_audio_messages_stay_below_the_limit(pair: Pair) -> None:
    attachment = pair.create(credit=10_000)
    taken = pair.core.audio(attachment, memoryview(bytes(5000)))
    assert taken is not None
    assert taken[0] == 100  # 1124 less 1 KiB
    assert len(taken[1]) < 1124


def test_audio_from_where_the_daemon_has_it(pair: Pair) -> None:
    attachment = pair.attach(produce=True, offset=640)
    taken = pair.core.audio(attachment, memoryview(b"abcd"))
    assert taken is not None
    assert pair.heard(taken[1]) == [Audio(session="s", offset=640, data=b"abcd")]


def test_a_listener_sends_no_audio(pair: Pair) -> None:
    with pytest.raises(LocalProtocolError, match="produce=True"):
        pair.core.audio(pair.attach(), memoryview(b"abcd"))


def test_refused_audio_stays_refused(pair: Pair) -> None:
    attachment = pair.create()
    happened = pair.say(Error(session="s", code="bad_audio", message="A gap."))
    assert happened == [Changed(attachment)]
    for _ in range(2):
        with pytest.raises(RequestError, match="A gap"):
            pair.core.audio(attachment, memoryview(b"abcd"))
    attachment.check_once()  # it was told


def test_refused_audio_is_told_once_to_readers(pair: Pair) -> None:
    attachment = pair.create()
    pair.say(Error(session="s", code="bad_audio", message="A gap."))
    with pytest.raises(RequestError):
        attachment.check_once()
    attachment.check_once()
    with pytest.raises(RequestError):
        attachment.check()


@pytest.mark.parametrize(
    ("encoding", "size", "flushed"),
    [("mulaw", 7, 3), ("s16le", 7, 2), ("s16le", 5, 0), ("f32le", 7, 0), ("s16le", 8, 0)],
)
def test_flush_gives_whole_samples(pair: Pair, encoding: str, size: int, flushed: int) -> None:
    attachment = pair.create(encoding=encoding)
    data = bytes(range(size))
    assert attachment.align(data) + attachment.flush() == data[: size - size % 4 + flushed]


@given(pieces=st.lists(st.binary(max_size=9)))
def test_align_loses_nothing(pieces: list[bytes]) -> None:
    attachment = Pair().create(encoding="mulaw")
    aligned = [attachment.align(piece) for piece in pieces]
    assert all(len(piece) % 4 == 0 for piece in aligned)
    assert b"".join(aligned) + attachment.flush() == b"".join(pieces)


def test_attach_again_replaces_the_older(pair: Pair) -> None:
    first = pair.attach()
    number, _ = pair.core.request(Attach(session="s", after_seq=3))
    reply = AttachReply(id=number, state=State.PROCESSING, seq=4, audio_offset=0, credit=0)
    event = SessionState(session="s", seq=4, state=State.COMPLETED)
    happened = pair.say(reply, event)
    second = pair.core.attached("s")
    assert second is not None
    assert second is not first
    assert happened == [Changed(first), Answered(number, reply), Changed(second)]
    assert first.detached
    assert (first.feed.take(), second.feed.take()) == (None, event)


def test_the_same_key_again_keeps_the_session(pair: Pair) -> None:
    assert pair.create() is pair.create()


@pytest.mark.parametrize("request_type", [Detach, DeleteSession])
def test_detach_ends_an_attachment(pair: Pair, request_type: Any) -> None:
    attachment = pair.create()
    number, _ = pair.core.request(request_type(session="s"))
    reply = Reply(id=number)
    assert pair.say(reply) == [Changed(attachment), Answered(number, reply)]
    assert attachment.detached
    assert pair.core.attached("s") is None
    with pytest.raises(LocalProtocolError):
        pair.core.audio(attachment, memoryview(b"abcd"))


def test_model_progress_is_passed_on(pair: Pair) -> None:
    progress = ModelProgress(model="small", done_bytes=1)
    assert pair.say(progress) == [Fetching(progress)]


def test_lost_once_and_for_all(pair: Pair) -> None:
    assert pair.core.lose("The link broke.") == [Lost()]
    assert pair.core.lose("Again.") == []
    assert pair.core.lost
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=r"^The link broke\.$"):
            pair.core.request(Ping())


def test_a_goodbye_is_a_loss(pair: Pair) -> None:
    assert pair.say(Error(code="internal", message="Stopping.")) == [Lost()]
    with pytest.raises(ConnectionLost, match=r"Stopping\. \(internal\)"):
        pair.core.check()


def test_over_credit_is_told_to_the_session_too(pair: Pair) -> None:
    attachment = pair.create()
    happened = pair.say(Error(code="out_of_credit", message="Too much.", session="s"))
    assert happened == [Changed(attachment), Lost()]
    with pytest.raises(RequestError, match="Too much"):
        attachment.check()


def test_a_refused_hello_is_a_request_error() -> None:
    core, server = ClientCore(LengthPrefixed(), client="test"), Connection(Role.SERVER, LengthPrefixed())
    server.receive_data(core.start())
    server.next_event()
    assert core.receive(server.send(Error(code="unauthorized", message="No."))) == [Lost()]
    with pytest.raises(RequestError) as caught:
        core.check()
    assert caught.value.code == "unauthorized"


def test_a_daemon_that_errs_is_a_loss(pair: Pair) -> None:
    assert pair.core.receive(b"\0\0\0\x01\xc1") == [Lost()]
    with pytest.raises(ConnectionLost, match="broke the contract"):
        pair.core.check()
    assert pair.core.receive(b"\0\0\0\x01\xc1") == []
