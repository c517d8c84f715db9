"""Deepgram's live WebSocket, with its own SDK against a real gateway and a real daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment

import convo
from convo.messages import ListSessions
from tests.support.daemon import Daemon
from tests.support.gateway import Gateway
from tests.support.speech import pcm, told_apart, truth, word_error_rate

pytestmark = pytest.mark.asyncio

WAIT_S = 60.0
RAW = {"encoding": "linear16", "sample_rate": 16000}


@asynccontextmanager
async def listening(served: Gateway, **options: Any) -> AsyncIterator[Any]:
    where = DeepgramClientEnvironment(base=served.url, production=served.websocket, agent="", agent_rest="")
    client = AsyncDeepgramClient(api_key="0" * 32, environment=where)
    async with asyncio.timeout(WAIT_S), client.listen.v1.connect(**{"model": "nova-3", **RAW, **options}) as connection:
        yield connection


async def send(connection: Any, data: bytes, size: int = 4000) -> None:
    for start in range(0, len(data), size):
        await connection.send_media(data[start : start + size])


async def to_the_end(connection: Any) -> list[Any]:
    await connection.send_close_stream()
    return [message async for message in connection]


def of(kind: str, messages: list[Any]) -> list[Any]:
    return [message for message in messages if message.type == kind]


def text(results: list[Any]) -> str:
    return " ".join(one.channel.alternatives[0].transcript for one in results if one.is_final)


async def test_a_live_talk(daemon: Daemon, served: Gateway) -> None:
    async with listening(
        served, language="en-US", interim_results="true", vad_events="true", utterance_end_ms="1000", keyterm="budget",
        diarize="true",
    ) as connection:  # fmt: skip
        await send(connection, pcm("talk.flac"))
        messages = await to_the_end(connection)
    results = of("Results", messages)
    finals = [one for one in results if one.is_final]
    assert word_error_rate(truth("talk"), text(results)) <= 0.1
    assert all(one.speech_final for one in finals[:-1])
    assert [one.start for one in finals] == sorted(one.start for one in finals)
    for one in finals:
        alternative = one.channel.alternatives[0]
        assert " ".join(word.punctuated_word for word in alternative.words) == alternative.transcript
        times = [time for word in alternative.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert one.start - 0.3 <= times[0] < times[-1] <= one.start + one.duration + 0.3
        assert all(word.word == word.word.lower() for word in alternative.words)
    spoken = [word for one in finals for word in one.channel.alternatives[0].words]
    assert {word.speaker for word in spoken} == {0, 1}
    assert told_apart("talk", [(word.start, word.end, word.speaker) for word in spoken]) > 0.8
    assert of("SpeechStarted", messages)
    last = messages[-1]
    assert last.type == "Metadata"
    assert last.duration == round(len(pcm("talk.flac")) / 32000, 3)
    assert {one.metadata.request_id for one in results} == {last.request_id}
    async with convo.connect(daemon.url) as owner:
        assert not (await owner.request(ListSessions())).sessions  # nothing is kept


async def test_finalize_and_keep_alive(served: Gateway) -> None:
    async with listening(served, utterance_end_ms="1000") as connection:
        await send(connection, pcm("single.flac"))
        await connection.send_keep_alive()
        await connection.send_finalize()
        first = await connection.recv()
        assert (first.is_final, first.speech_final, first.from_finalize) == (True, True, True)
        assert word_error_rate(truth("single"), text([first])) <= 0.1
        await connection.send_finalize()  # there is nothing more
        again = await connection.recv()
        assert (again.is_final, again.from_finalize, text([again])) == (True, True, "")
        await send(connection, bytes(64000))
        over = await connection.recv()
        assert (over.type, over.last_word_end) == ("UtteranceEnd", pytest.approx(first.start + first.duration))
        assert of("Results", await to_the_end(connection)) == []


async def test_interim_results(served: Gateway) -> None:
    async with listening(served, interim_results="true") as connection, asyncio.TaskGroup() as tasks:

        async def speak() -> None:
            data = pcm("talk.flac")
            for start in range(0, len(data), 6400):
                await connection.send_media(data[start : start + 6400])
                await asyncio.sleep(0.2)

        speaking = tasks.create_task(speak())
        async for message in connection:
            if not message.is_final:
                break
        assert message.speech_final is False
        assert message.channel.alternatives[0].transcript
        speaking.cancel()


async def test_mulaw_of_two_channels(served: Gateway) -> None:
    async with listening(
        served, model="gpt-4o-mini-transcribe", encoding="mulaw", sample_rate=8000, channels=2
    ) as connection:
        await send(connection, b"\xff" * 16000)
        (last,) = await to_the_end(connection)
    assert (last.type, last.duration, last.channels) == ("Metadata", 1.0, 2)


@pytest.mark.parametrize(
    ("query", "headers", "status", "words"),
    [
        ("", {}, 400, "`encoding` must be one of linear16, mulaw, alaw"),
        ("encoding=opus", {}, 400, "`encoding` must be"),
        ("encoding=linear16", {}, 400, "needs `sample_rate`"),
        ("encoding=linear16&sample_rate=4000", {}, 400, "between 8000 and 48000"),
        ("encoding=linear16&sample_rate=9" + "9" * 30, {}, 400, "between 8000 and 48000"),
        ("encoding=linear16&sample_rate=16000&channels=2&multichannel=true", {}, 400, "Channels are mixed here"),
        ("encoding=linear16&sample_rate=16000&model=tiny-mistake", {}, 400, "no such model"),
        ("encoding=linear16&sample_rate=16000&diarize_model=v2", {}, 400, "latest or v1"),
        ("encoding=linear16&sample_rate=16000&endpointing=soon", {}, 400, "`endpointing` must be"),
        ("encoding=linear16&sample_rate=16000&language=xx", {}, 400, "xx"),
        ("encoding=linear16&sample_rate=16000", {"Authorization": "Basic abc"}, 401, "token"),
        ("encoding=linear16&sample_rate=16000", {"Authorization": "Token \u00e4"}, 401, "token"),
    ],
)
async def test_refused_before_the_handshake(
    served: Gateway, query: str, headers: dict[str, str], status: int, words: str
) -> None:
    with pytest.raises(websockets.InvalidStatus) as raised:
        async with websockets.connect(f"{served.websocket}/v1/listen?{query}", additional_headers=headers):
            pass
    response = raised.value.response
    assert response.status_code == status
    told = json.loads(response.body)
    assert words in told["err_msg"]
    assert told["err_code"].isupper()
    assert response.headers["dg-error"]


@pytest.mark.parametrize("message", ['{"type": "Configure"}', "hello", "[]", "{}"])
async def test_wrong_messages(served: Gateway, message: str) -> None:
    url = f"{served.websocket}/v1/listen?encoding=linear16&sample_rate=16000"
    async with asyncio.timeout(WAIT_S), websockets.connect(url) as connection:
        await connection.send(message)
        told = json.loads(await connection.recv())
        assert (told["type"], told["variant"]) == ("Error", "bad_message")
        with pytest.raises(websockets.ConnectionClosedError):
            await connection.recv()
        assert connection.close_code == 1008


async def test_a_silent_client_is_dropped(served: Gateway) -> None:
    url = f"{served.websocket}/v1/listen?encoding=linear16&sample_rate=16000"
    async with asyncio.timeout(WAIT_S), websockets.connect(url, subprotocols=["token", "abc"]) as connection:
        assert connection.subprotocol == "token"
        assert json.loads(await connection.recv())["variant"] == "timeout"
        with pytest.raises(websockets.ConnectionClosedError):
            await connection.recv()
        assert connection.close_code == 1011


async def test_a_client_that_goes_leaves_nothing(daemon: Daemon, served: Gateway) -> None:
    async with listening(served) as connection:
        await send(connection, pcm("single.flac")[:32000])
    async with asyncio.timeout(WAIT_S), convo.connect(daemon.url) as owner:
        while (await owner.request(ListSessions())).sessions:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
