from __future__ import annotations

import struct

import pytest
import trio
import trio.testing

from convo.messages import (
    Code,
    Error,
    Welcome,
)
from tests.daemon.support.hall import hall


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
