"""The JSON subprotocol, as a person with websocat or a browser speaks it: a whole talk, refused audio, a lost link."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio_websocket

from tests.support.daemon import Daemon, running
from tests.support.speech import pcm, truth, word_error_rate

HELLO = {"type": "hello", "protocol": 1, "client": "by hand"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("convod"), environment={"CONVOD_SESSIONS_IDLE_S": "120"}) as daemon:
        yield daemon


class Person:
    """Types JSON, pipes audio, reads what comes."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self.socket = socket
        self.passed: list[dict[str, Any]] = []

    async def say(self, **fields: Any) -> None:
        await self.socket.send_message(json.dumps(fields))

    async def until(self, **wanted: Any) -> dict[str, Any]:
        while True:
            message = await self.socket.get_message()
            assert isinstance(message, str), "the daemon answers in text"
            fields: dict[str, Any] = json.loads(message)
            if all(fields.get(key) == value for key, value in wanted.items()):
                return fields
            self.passed.append(fields)


@asynccontextmanager
async def opened(daemon: Daemon, *subprotocols: str) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A connection whose socket is closed at the end, whoever closed first."""
    port = int(daemon.web.rpartition(":")[2])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery, stream, f"127.0.0.1:{port}", "/", subprotocols=list(subprotocols)
        )
        yield socket
        await socket.aclose()
        nursery.cancel_scope.cancel()


def open_json(daemon: Daemon) -> Any:
    return opened(daemon, "convo.v1.json")


async def test_a_talk_in_json_with_raw_audio_over_a_lost_link(daemon: Daemon) -> None:
    audio = pcm("single.flac")
    half = len(audio) // 4 * 2
    async with open_json(daemon) as socket:
        person = Person(socket)
        await person.say(**HELLO)
        await person.until(type="welcome")
        await person.say(type="create_session", id=1, kind="live", summary={"mode": "off"})
        session = (await person.until(id=1))["session"]
        for at in range(0, half, 6400):
            await socket.send_message(audio[at : min(at + 6400, half)])
        await person.until(type="audio_ack", offset=half)
        seen = max((event["seq"] for event in person.passed if "seq" in event), default=0)
    async with open_json(daemon) as socket:
        person = Person(socket)
        await person.say(**HELLO)
        await person.say(type="attach", id=1, session=session, after_seq=seen, produce=True)
        assert (await person.until(id=1))["audio_offset"] == half
        await socket.send_message(audio[half:])
        await person.say(type="end_session", id=2, session=session)
        await person.until(type="session_state", state="completed")
        await person.say(type="export", id=3, session=session, format="txt")
        assert word_error_rate(truth("single"), (await person.until(id=3))["content"]) < 0.3


async def test_audio_that_is_refused_is_told_and_attach_finds_the_place_again(daemon: Daemon) -> None:
    async with open_json(daemon) as socket:
        person = Person(socket)
        await person.say(**HELLO)
        await socket.send_message(b"\x00\x00")
        error = await person.until(type="error")
        assert error["code"] == "bad_request"
        await person.say(type="create_session", id=1, kind="live", summary={"mode": "off"})
        session = (await person.until(id=1))["session"]
        await socket.send_message(b"\x00\x00\x00")
        assert (await person.until(type="error"))["code"] == "bad_audio"
        await person.say(type="attach", id=2, session=session, produce=True)
        assert (await person.until(id=2))["audio_offset"] == 0
        await socket.send_message(bytes(3200))
        await person.until(type="audio_ack", offset=3200)
        await person.say(type="cancel_session", id=3, session=session)
        await person.until(type="session_state", state="cancelled")


async def test_words_that_are_no_json_are_told_so(daemon: Daemon) -> None:
    async with open_json(daemon) as socket:
        person = Person(socket)
        await person.say(**HELLO)
        await person.until(type="welcome")
        await socket.send_message("how are you?")
        error = await person.until(type="error")
        assert error["code"] == "bad_message"
        assert "JSON" in error["message"]
        with pytest.raises(trio_websocket.ConnectionClosed):
            await socket.get_message()
        assert socket.closed.code == 1008


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [(["convo.v1", "convo.v1.json"], "convo.v1"), (["x", "convo.v1.json", "convo.v1"], "convo.v1.json")],
)
async def test_the_first_that_is_known_is_spoken(daemon: Daemon, offered: list[str], spoken: str) -> None:
    async with opened(daemon, *offered) as socket:
        assert socket.subprotocol == spoken
