"""Wyoming, with the client of its own package against a real gateway and a real daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong

import convo
from convo.messages import ListSessions
from tests.support.daemon import Daemon
from tests.support.gateway import Gateway, gateway
from tests.support.speech import pcm, truth, word_error_rate

pytestmark = pytest.mark.asyncio

WAIT_S = 60.0


@pytest.fixture(scope="module")
def wyoming(daemon: Daemon) -> Iterator[Gateway]:
    flags = ("--open-loopback", "--wyoming", "tcp://127.0.0.1:0", "--stall-s", "2")
    with gateway(daemon.web, *flags) as served:
        yield served


@asynccontextmanager
async def connected(served: Gateway) -> AsyncIterator[AsyncTcpClient]:
    host, _, port = served.wyoming.removeprefix("tcp://").rpartition(":")
    async with asyncio.timeout(WAIT_S), AsyncTcpClient(host, int(port)) as client:
        yield client


async def answer(client: AsyncTcpClient) -> Event:
    event = await client.read_event()
    assert event is not None
    return event


async def speak(client: AsyncTcpClient, data: bytes, rate: int = 16000, **asked: Any) -> None:
    await client.write_event(Transcribe(**asked).event())
    await client.write_event(AudioStart(rate=rate, width=2, channels=1).event())
    for start in range(0, len(data), 2048):
        await client.write_event(AudioChunk(rate, 2, 1, data[start : start + 2048]).event())
    await client.write_event(AudioStop().event())


async def transcript(client: AsyncTcpClient) -> tuple[Transcript, list[str]]:
    """The whole text and its pieces, in the order that the protocol has."""
    assert TranscriptStart.is_type((await answer(client)).type)
    pieces: list[str] = []
    while True:
        event = await answer(client)
        if Transcript.is_type(event.type):
            assert TranscriptStop.is_type((await answer(client)).type)
            return Transcript.from_event(event), pieces
        pieces.append(TranscriptChunk.from_event(event).text)


async def test_what_home_assistant_does(daemon: Daemon, wyoming: Gateway) -> None:
    async with connected(wyoming) as client:
        await client.write_event(Describe().event())
        (program,) = Info.from_event(await answer(client)).asr
        assert program.name == "convo"
        assert program.supports_transcript_streaming
        assert program.models[0].name == "builtin"
        assert program.models[0].languages == ["en"]

        await client.write_event(Ping(text="there?").event())
        assert Pong.from_event(await answer(client)).text == "there?"

        for _ in range(2):  # one after the other over the same connection
            await speak(client, pcm("single.flac"), name="whisper-1", language="en", transcript_names=["Ada"])
            whole, pieces = await transcript(client)
            assert word_error_rate(truth("single"), whole.text) <= 0.1
            assert "".join(pieces) == whole.text
            assert whole.language == "en"

    async with convo.connect(daemon.url) as owner:
        assert not (await owner.request(ListSessions())).sessions  # nothing is kept


async def test_no_audio_at_all(wyoming: Gateway) -> None:
    async with connected(wyoming) as client:
        await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
        await client.write_event(AudioStop().event())
        whole, pieces = await transcript(client)
        assert (whole.text, pieces) == ("", [])


async def test_audio_without_a_beginning_and_events_of_others(wyoming: Gateway) -> None:
    async with connected(wyoming) as client:
        await client.write_event(Event("run-satellite"))
        await client.write_event(AudioChunk(16000, 2, 1, pcm("single.flac")[:64000]).event())
        await client.write_event(AudioStop().event())
        whole, _ = await transcript(client)
        assert whole.text


@pytest.mark.parametrize(
    ("events", "code", "words"),
    [
        ([AudioStart(rate=4000, width=2, channels=1).event()], "bad_audio", "Send 16-bit PCM of 8000 to 48000 Hz."),
        ([AudioStart(rate=16000, width=4, channels=1).event()], "bad_audio", "Send 16-bit PCM"),
        ([AudioStart(rate=16000, width=2, channels=9).event()], "bad_audio", "Send 16-bit PCM"),
        ([Event("transcribe", {"language": 7})], "bad_request", "transcribe: Expected `str | null`, got `int`"),
        (
            [Transcribe(name="none").event(), AudioStart(rate=16000, width=2, channels=1).event()],
            "unknown_model",
            "none",
        ),
        (
            [AudioStart(rate=16000, width=2, channels=1).event(), AudioChunk(8000, 2, 1, b"\0\0").event()],
            "bad_audio",
            "must not change",
        ),
        (
            [AudioStart(rate=16000, width=2, channels=1).event(), AudioChunk(16000, 2, 1, b"\0").event()],
            "bad_audio",
            "whole",
        ),
        ([AudioStart(rate=16000, width=2, channels=1).event()], "timeout", "send audio-stop at its end"),
    ],
)
async def test_bad_input(wyoming: Gateway, events: list[Event], code: str, words: str) -> None:
    async with connected(wyoming) as client:
        for event in events:
            await client.write_event(event)
        told = Error.from_event(await answer(client))
        assert told.code == code
        assert words in told.text
        assert await client.read_event() is None


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"[]\n", b'{"type": 7}\n', b"\xff\n", b'{"type": "x", "data_length": -1}\n']
)
async def test_what_is_no_event(wyoming: Gateway, data: bytes) -> None:
    host, _, port = wyoming.wyoming.removeprefix("tcp://").rpartition(":")
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        told = json.loads(await reader.readline())
        assert told["type"] == "error"
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_goes_leaves_nothing(daemon: Daemon, wyoming: Gateway) -> None:
    async with connected(wyoming) as client:
        await client.write_event(AudioStart(rate=16000, width=2, channels=1).event())
        await client.write_event(AudioChunk(16000, 2, 1, pcm("single.flac")[:32000]).event())
    async with asyncio.timeout(WAIT_S), convo.connect(daemon.url) as owner:
        while (await owner.request(ListSessions())).sessions:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
