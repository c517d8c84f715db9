from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.errors import FrameTooLarge
from convo.framing import Framing, LengthPrefixed, WholeMessages


def take_all(framing: Framing) -> list[bytes]:
    frames = []
    while (frame := framing.next_frame()) is not None:
        frames.append(frame)
    return frames


@given(payloads=st.lists(st.binary(max_size=60)), data=st.data())
def test_any_chunks_give_the_same_frames(payloads: list[bytes], data: st.DataObject) -> None:
    framing = LengthPrefixed(limit=60)
    stream = b"".join(framing.wrap(payload) for payload in payloads)
    frames = []
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        framing.receive_data(stream[at : at + size])
        at += size
        frames += take_all(framing)
    assert frames == payloads


@given(payloads=st.lists(st.binary(max_size=60)))
def test_whole_messages_keep_their_borders(payloads: list[bytes]) -> None:
    framing = WholeMessages(limit=60)
    frames = []
    for payload in payloads:
        framing.receive_data(framing.wrap(payload))
        frames += take_all(framing)
    assert frames == payloads


def test_header_is_big_endian_and_counts_the_payload() -> None:
    assert LengthPrefixed().wrap(b"abc") == b"\0\0\0\x03abc"


def test_empty_frame_is_a_frame() -> None:
    framing = LengthPrefixed()
    framing.receive_data(b"\0\0\0\0")
    assert take_all(framing) == [b""]


@pytest.mark.parametrize("size", [11, 1 << 20, (1 << 32) - 1])
def test_frame_above_the_limit_is_refused_at_its_header(size: int) -> None:
    framing = LengthPrefixed(limit=10)
    framing.receive_data(struct.pack(">I", size))
    for _ in range(2):  # and stays refused
        with pytest.raises(FrameTooLarge) as caught:
            framing.next_frame()
        assert (caught.value.size, caught.value.limit) == (size, 10)


def test_frame_of_the_limit_is_taken() -> None:
    framing = LengthPrefixed(limit=10)
    framing.receive_data(framing.wrap(b"x" * 10))
    assert take_all(framing) == [b"x" * 10]


def test_whole_message_above_the_limit_is_refused() -> None:
    framing = WholeMessages(limit=10)
    framing.receive_data(b"x" * 11)
    with pytest.raises(FrameTooLarge):
        framing.next_frame()


def test_nothing_is_kept_after_a_refused_frame() -> None:
    stream, messages = LengthPrefixed(limit=10), WholeMessages(limit=10)
    stream.receive_data(struct.pack(">I", 11))
    for _ in range(100):
        stream.receive_data(b"x" * 100)
        messages.receive_data(b"x" * 11)
    assert stream.buffered == 4
    assert messages.buffered == 11


@pytest.mark.parametrize("framing", [LengthPrefixed(limit=10), WholeMessages(limit=10)])
def test_frames_that_nobody_takes_do_not_pile_up(framing: Framing) -> None:
    framing.receive_data(framing.wrap(b"x" * 8))
    framing.receive_data(framing.wrap(b"x" * 8))
    with pytest.raises(BufferError, match=r"^Take the"):
        framing.receive_data(b"x")
    assert take_all(framing) == [b"x" * 8] * 2


def test_whole_messages_of_no_bytes_do_not_pile_up() -> None:
    framing = WholeMessages(limit=10)
    for _ in range(11):
        framing.receive_data(b"")
    with pytest.raises(BufferError):
        framing.receive_data(b"")
