from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import BytesMessage, Event, Ping, Pong, TextMessage

from convod.listen.frames import FRAGMENT_BYTES, FrameCounter
from tests.support.wire import shaken_hands


def frames(*events: Event) -> bytes:
    client, _, _ = shaken_hands()
    return b"".join(map(client.send, events))


@pytest.mark.parametrize(
    ("event", "extra", "messages"),
    [
        (BytesMessage(b""), 0, 1),
        (BytesMessage(bytes(125)), 0, 1),
        (BytesMessage(bytes(126)), 0, 1),
        (BytesMessage(bytes(1 << 16)), 0, 1),
        (TextMessage("text"), 0, 1),
        (BytesMessage(b"", message_finished=False), 1, 0),
        (BytesMessage(bytes(FRAGMENT_BYTES - 1), message_finished=False), 1, 0),
        (BytesMessage(bytes(FRAGMENT_BYTES), message_finished=False), 0, 0),
        (TextMessage("", message_finished=False), 1, 0),
        (Ping(b""), 1, 0),
        (Pong(b"x"), 1, 0),
    ],
)
def test_a_frame_is_a_message_or_extra_or_a_fragment_that_is_worth_it(event, extra, messages):
    counter = FrameCounter()
    assert counter.receive_data(frames(event)) == extra
    assert counter.messages == messages


KINDS = {
    "whole": lambda size: [BytesMessage(bytes(size))],
    "two": lambda size: [BytesMessage(bytes(size), message_finished=False), BytesMessage(b"end")],
    "ping": lambda size: [Ping(bytes(min(size, 125)))],
}


@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from([0, 1, 125, 126, 1023, 1024, 70000]))),
    st.lists(st.integers(1, 5000)),
)
def test_it_counts_the_same_however_the_bytes_are_cut(parts, cuts):
    data = frames(*(event for kind, size in parts for event in KINDS[kind](size)))
    counter = FrameCounter()
    extra = at = 0
    for size in [*cuts, len(data) + 1]:
        extra += counter.receive_data(data[at : at + size])
        at += size
    assert counter.messages == sum(kind != "ping" for kind, _ in parts)
    assert extra == sum(kind == "ping" or (kind == "two" and size < FRAGMENT_BYTES) for kind, size in parts)


@pytest.mark.parametrize("size", [0, 1, 3000])
def test_a_message_counts_once_its_last_byte_is_here(size):
    counter = FrameCounter()
    data = frames(BytesMessage(bytes(size)))
    for at in range(len(data)):
        assert counter.messages == 0
        counter.receive_data(data[at : at + 1])
    assert counter.messages == 1
