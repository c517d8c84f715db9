"""Tables of what a stream does about its connections; the buffer against a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.errors import CannotConnect, ConnectionLost, RemoteProtocolError, RequestError, SessionCutShort
from convo.messages import AudioAck, SessionState, State
from convo.resume import Backoff, Create, End, Reattach, ResumableSession, Send, UnackedBuffer

GONE = CannotConnect("unix:/x", "nothing listens there")
BUSY = RequestError("busy", "Too many connections.")
WRONG = RequestError("unauthorized", "The token is wrong.")
REFUSED = RequestError("bad_audio", "Half a sample.")


# --- the buffer -------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=8)), st.data())
def test_the_buffer_has_what_was_not_acknowledged(pieces: list[bytes], data: st.DataObject) -> None:
    buffer, whole = UnackedBuffer(), b"".join(pieces)
    for piece in pieces:
        buffer.add(piece)
    stored = data.draw(st.integers(0, len(whole)))
    buffer.acknowledge(stored)
    offset = data.draw(st.integers(stored, len(whole)))
    assert (buffer.end, buffer.after(offset)) == (len(whole), whole[offset:])
    assert buffer.held <= len(whole) - stored + 7, "all but the piece in which it ends was dropped"


def test_the_buffer_does_not_have_what_was_acknowledged() -> None:
    buffer = UnackedBuffer()
    buffer.add(b"ab")
    buffer.acknowledge(2)
    with pytest.raises(RemoteProtocolError, match="lost audio that it had stored"):
        buffer.after(1)


# --- the session ------------------------------------------------------------------------------------------

Step = tuple[str, Any]

A_SESSION_IN_ONE_GO: list[Step] = [
    ("opening", Create()),
    ("opened", ("s",)),
    ("next", None),
    ("add", b"abcd"),
    ("next", Send(b"abcd")),
    ("sent", (4, 0)),
    ("next", None),
    ("finish", ()),
    ("next", End()),
    ("end_answered", ()),
    ("next", None),
]
AUDIO_BEFORE_THERE_IS_A_CONNECTION: list[Step] = [
    ("add", b"ab"),
    ("add", b"cd"),
    ("finish", ()),
    ("opening", Create()),
    ("opened", ("s",)),
    ("next", Send(b"abcd")),
    ("sent", (4, 0)),
    ("next", End()),
]
LOST_WHILE_SENDING: list[Step] = [
    ("opened", ("s",)),
    ("add", b"abcd"),
    ("sent", (4, 0)),
    ("add", b"efgh"),
    ("sent", (4, 4)),
    ("take", (SessionState(session="s", seq=1, state=State.PENDING), True)),
    ("opening", Reattach("s", 1, produce=True)),
    ("opened", ("s", 6)),  # two of the last four had come
    ("next", Send(b"gh")),
    ("take", (SessionState(session="s", seq=1, state=State.PENDING), False)),
    ("take", (SessionState(session="s", seq=2, state=State.PROCESSING), True)),
    ("take", (AudioAck(session="s", offset=1, credit=1), True)),
    ("take", (AudioAck(session="s", offset=1, credit=1), True)),
]
LOST_BEFORE_THE_SESSION_WAS_ANSWERED: list[Step] = [("add", b"ab"), ("opening", Create()), ("opening", Create())]
LOST_WHILE_THE_END_WAS_ANSWERED: list[Step] = [
    ("opened", ("s",)),
    ("add", b"abcd"),
    ("sent", (4, 0)),
    ("finish", ()),
    ("next", End()),
    ("opening", Reattach("s", 0, produce=True)),
    ("opened_ended", ("s", 4)),
    ("next", None),
    ("failure", None),
    ("opening", Reattach("s", 0, produce=False)),
]
LOST_AFTER_THE_END: list[Step] = [
    ("opened", ("s",)),
    ("finish", ()),
    ("end_answered", ()),
    ("opening", Reattach("s", 0, produce=False)),
    ("opened_ended", ("s", 0)),
    ("failure", None),
]
LOST_FOR_TOO_LONG: list[Step] = [
    ("opened", ("s",)),
    ("add", b"abcd"),
    ("sent", (4, 0)),
    ("opened_ended", ("s", 4)),
    ("failure", SessionCutShort),
    ("add", b"efgh"),
    ("next", None),
]
LOST_FOR_TOO_LONG_WITH_THE_LAST_AUDIO: list[Step] = [
    ("opened", ("s",)),
    ("add", b"abcd"),
    ("finish", ()),
    ("opened_ended", ("s", 2)),
    ("failure", SessionCutShort),
]
REFUSED_AUDIO_IS_FOLLOWED_BY_THE_END: list[Step] = [
    ("opened", ("s",)),
    ("add", b"abc"),
    ("refused", (REFUSED,)),
    ("failure", RequestError),
    ("add", b"more"),
    ("next", End()),
    ("end_answered", ()),
    ("next", None),
]

A_SESSION_OF_SOMEONE_ELSE: list[Step] = [
    ("join", ("s", 3)),
    ("add", b"cd"),
    ("opening", Reattach("s", 3, produce=True)),
    ("opened", ("s", 2)),  # two bytes were sent by another
    ("next", Send(b"cd")),
    ("sent", (2, 2)),
    ("add", b"ef"),
    ("opening", Reattach("s", 3, produce=True)),
    ("opened", ("s", 4)),
    ("next", Send(b"ef")),
]
A_SESSION_OF_SOMEONE_ELSE_THAT_ENDED: list[Step] = [
    ("join", ("s", 0)),
    ("opened_ended", ("s", 2)),
    ("failure", None),
    ("next", None),
]
AUDIO_FOR_A_SESSION_THAT_ENDED: list[Step] = [
    ("join", ("s", 0)),
    ("add", b"cd"),
    ("opened_ended", ("s", 2)),
    ("failure", SessionCutShort),
]


@pytest.mark.parametrize(
    "steps",
    [
        A_SESSION_IN_ONE_GO,
        AUDIO_BEFORE_THERE_IS_A_CONNECTION,
        LOST_WHILE_SENDING,
        LOST_BEFORE_THE_SESSION_WAS_ANSWERED,
        LOST_WHILE_THE_END_WAS_ANSWERED,
        LOST_AFTER_THE_END,
        LOST_FOR_TOO_LONG,
        LOST_FOR_TOO_LONG_WITH_THE_LAST_AUDIO,
        REFUSED_AUDIO_IS_FOLLOWED_BY_THE_END,
        A_SESSION_OF_SOMEONE_ELSE,
        A_SESSION_OF_SOMEONE_ELSE_THAT_ENDED,
        AUDIO_FOR_A_SESSION_THAT_ENDED,
    ],
)
def test_a_session_over_its_connections(steps: list[Step]) -> None:
    state = ResumableSession()
    for number, (name, value) in enumerate(steps):
        about = f"step {number}, {name}"
        match name:
            case "join":
                state = ResumableSession(*value)
            case "opening":
                assert state.opening() == value, about
            case "next":
                assert state.next_step() == value, about
            case "opened_ended":
                state.opened(*value, ended=True)
            case "take":
                assert state.take(value[0]) is value[1], about
            case "failure":
                assert (state.failure is None) if value is None else isinstance(state.failure, value), about
            case "add":
                state.add(value)
            case _:
                getattr(state, name)(*value)


def test_a_daemon_that_lost_what_it_had_stored() -> None:
    state = ResumableSession()
    state.opened("s")
    state.add(b"abcd")
    state.sent(4, 4)
    with pytest.raises(RemoteProtocolError, match="lost audio"):
        state.opened("s", 2)


# --- when to try again ------------------------------------------------------------------------------------

Told = tuple[float, Exception | None, float | None]


@pytest.mark.parametrize(
    ("patience_s", "connected", "told"),
    [
        pytest.param(60, True, [(0, None, 0.1), (0.1, GONE, 0.2), (0.3, GONE, 0.4)], id="pauses grow"),
        pytest.param(
            None, False, [(n, GONE, pause) for n, pause in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2])], id="…"
        ),
        pytest.param(60, True, [(0, None, 0.1), (60, GONE, 0.2), (60.1, GONE, None)], id="patience ends"),
        pytest.param(60, True, [(9, None, 0.1), (69.1, None, 0.2), (69.2, BUSY, None)], id="not at a break"),
        pytest.param(60, True, [(0, None, 0.1), (1, WRONG, None)], id="refused"),
        pytest.param(None, False, [(0, WRONG, None)], id="refused at once"),
        pytest.param(None, False, [(0, ValueError("no URL"), None)], id="no URL"),
        pytest.param(None, False, [(0, BUSY, 0.1)], id="busy is worth another try"),
        pytest.param(60, False, [(0, GONE, None)], id="the first must come about"),
        pytest.param(60, False, [(0, BUSY, None)], id="busy at first"),
        pytest.param(60, True, [(0, ConnectionLost("Gone."), 0.1)], id="lost in the handshake"),
    ],
)
def test_when_to_try_again(patience_s: float | None, connected: bool, told: list[Told]) -> None:
    backoff = Backoff(patience_s)
    if connected:
        backoff.connected()
    assert [backoff.pause(now, error) for now, error, _ in told] == [pause for _, _, pause in told]


@pytest.mark.parametrize("again", [Backoff.connected, Backoff.hurry])
def test_pauses_are_short_again(again: Callable[[Backoff], None]) -> None:
    backoff = Backoff(None)
    for _ in range(3):
        backoff.pause(0, GONE)
    again(backoff)
    assert backoff.pause(0, GONE) == 0.1
