"""OpenAI's API as its own Python SDK sees it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import av
import numpy as np
import openai
import pytest
import pytest_asyncio
from openai.types.audio import TranscriptionDiarized

from tests.support.gateway import Gateway
from tests.support.speech import DATA, pcm, told_apart, truth, word_error_rate

LIMIT_S = 60


@pytest_asyncio.fixture
async def client(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{served.url}/v1", max_retries=0, timeout=LIMIT_S) as client:
        yield client


def right(text: str) -> bool:
    return word_error_rate(truth("single"), text) < 0.3


async def test_a_recording_is_transcribed(client: openai.AsyncOpenAI):
    with (DATA / "single.flac").open("rb") as file:
        answer = await client.audio.transcriptions.create(
            file=file, model="whisper-1", language="en", prompt="A talk.", temperature=0.2
        )
    assert right(answer.text)


@pytest.mark.parametrize("format", ["text", "srt", "vtt"])
async def test_a_recording_is_transcribed_as_text_and_captions(client: openai.AsyncOpenAI, format: Any):
    with (DATA / "single.flac").open("rb") as file:
        answer: Any = await client.audio.transcriptions.create(file=file, model="whisper-1", response_format=format)
    begins = {"text": "", "srt": "1\n00:00:0", "vtt": "WEBVTT\n"}[format]
    assert answer.startswith(begins)
    said = [line for line in answer.splitlines() if line and "-->" not in line and line not in ("1", "2", "WEBVTT")]
    assert right(" ".join(said))


async def test_words_and_segments_have_their_times(client: openai.AsyncOpenAI):
    with (DATA / "single.flac").open("rb") as file:
        answer = await client.audio.transcriptions.create(
            file=file,
            model="gpt-4o-transcribe",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert answer.language == "english"
    assert answer.words
    assert answer.segments
    assert all(0 <= word.start <= word.end <= answer.duration for word in answer.words)
    assert right(" ".join(word.word for word in answer.words))
    assert right(answer.text)
    assert all(segment.avg_logprob <= 0 < segment.compression_ratio for segment in answer.segments)


async def test_a_transcript_is_streamed(client: openai.AsyncOpenAI):
    with (DATA / "single.flac").open("rb") as file:
        stream = await client.audio.transcriptions.create(file=file, model="whisper-1", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events][-1] == "transcript.text.done"
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert deltas == events[-1].text  # type: ignore[union-attr]
    assert right(deltas)


async def test_it_is_said_who_speaks(client: openai.AsyncOpenAI):
    with (DATA / "talk.flac").open("rb") as file:
        answer: Any = await client.audio.transcriptions.create(
            file=file, model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
        )
    assert type(answer) is TranscriptionDiarized
    assert answer.duration == pytest.approx(len(pcm("talk.flac")) / 32000, abs=0.1)
    assert word_error_rate(truth("talk"), answer.text) < 0.2
    assert {one.type for one in answer.segments} == {"transcript.text.segment"}
    assert [one.id for one in answer.segments] == [f"seg_{at}" for at in range(len(answer.segments))]
    assert told_apart("talk", [(one.start, one.end, one.speaker) for one in answer.segments]) > 0.9
    assert answer.segments[0].speaker == "A"
    with (DATA / "single.flac").open("rb") as file:
        stream = await client.audio.transcriptions.create(
            file=file, model="gpt-4o-transcribe-diarize", response_format="diarized_json", stream=True
        )
        events: list[Any] = [event async for event in stream]
    assert [event.type for event in events] == [
        "transcript.text.delta", "transcript.text.segment", "transcript.text.done",
    ]  # fmt: skip
    assert events[0].segment_id == events[1].id == "seg_0"
    assert (events[1].speaker, events[1].text) == ("A", events[2].text)


async def test_models_are_listed(client: openai.AsyncOpenAI):
    names = [model.id async for model in client.models.list()]
    assert "whisper-1" in names
    assert (await client.models.retrieve("whisper-1")).id == "whisper-1"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody/knows-it")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of translations
async def test_what_is_wrong_is_told_as_the_sdk_expects(client: openai.AsyncOpenAI):
    silent = ("x.wav", b"")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.transcriptions.create(file=silent, model="whisper-1")
    assert caught.value.code == "bad_audio"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.transcriptions.create(file=("x.wav", b"no audio" * 100), model="whisper-1")
    assert caught.value.code == "bad_audio"
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.audio.transcriptions.create(file=("x.wav", b"RIFF"), model="no-such-model")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        await client.audio.transcriptions.create(file=("x.wav", b"RIFF"), model="no-such-model", stream=True)
    broken = await client.audio.transcriptions.create(file=("x.wav", b"no audio"), model="whisper-1", stream=True)
    with pytest.raises(openai.APIError) as streamed:
        _ = [event async for event in broken]
    assert streamed.value.code == "bad_audio"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.transcriptions.create(
            file=("x.wav", b"RIFF"), model="whisper-1", response_format="diarized_json", known_speaker_names=["Ada"]
        )
    assert caught.value.param == "known_speaker_names"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.translations.create(
            file=("x.wav", b"RIFF"),
            model="whisper-1",
            response_format="diarized_json",  # type: ignore[call-overload]
        )
    assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.translations.create(file=("x.wav", b"RIFF"), model="whisper-1", temperature=7)
    assert caught.value.param == "temperature"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so of translations
async def test_a_translation_by_a_model_that_cannot_is_refused(client: openai.AsyncOpenAI):
    # The built-in model has one language: the daemon refuses, and says so.
    with (DATA / "single.flac").open("rb") as file, pytest.raises(openai.BadRequestError, match="translate") as caught:
        await client.audio.translations.create(file=file, model="whisper-1")
    assert caught.value.code == "bad_request"


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_speech_is_transcribed_as_it_comes_with_server_vad(client: openai.AsyncOpenAI):
    speech = pcm("single.flac", 24_000) + bytes(24_000 * 2)
    session: Any = {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
            }
        },
    }
    told: list[Any] = []
    async with (
        asyncio.timeout(LIMIT_S),
        client.realtime.connect(model="whisper-1", extra_query={"intent": "transcription"}) as realtime,
    ):
        await realtime.session.update(session=session)
        for start in range(0, len(speech), 4800):
            await realtime.input_audio_buffer.append(audio=base64_of(speech[start : start + 4800]))
        async for event in realtime:
            told.append(event)
            if event.type == "conversation.item.input_audio_transcription.completed":
                break
    kinds = [event.type for event in told]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert "input_audio_buffer.speech_started" in kinds
    assert "input_audio_buffer.committed" in kinds
    item = told[-1].item_id
    deltas = [
        event.delta
        for event in told
        if event.type == "conversation.item.input_audio_transcription.delta" and event.item_id == item
    ]
    assert "".join(deltas) == told[-1].transcript
    assert right(told[-1].transcript)


async def test_speech_is_transcribed_by_the_commit_and_what_was_cleared_is_not(client: openai.AsyncOpenAI):
    speech = pcm("single.flac", 24_000)
    session: Any = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    done: list[Any] = []
    async with (
        asyncio.timeout(LIMIT_S),
        client.realtime.connect(model="whisper-1", extra_query={"intent": "transcription"}) as realtime,
    ):
        await realtime.session.update(session=session)
        await realtime.input_audio_buffer.commit()  # of nothing
        for _ in range(2):
            await realtime.input_audio_buffer.append(audio=base64_of(speech))
            await realtime.input_audio_buffer.clear()
            await realtime.input_audio_buffer.append(audio=base64_of(speech))
            await realtime.input_audio_buffer.commit()
        async for event in realtime:
            if event.type in ("error", "conversation.item.input_audio_transcription.completed"):
                done.append(event)
                if len(done) == 3:
                    break
    assert done[0].error.code == "bad_state"
    assert [right(event.transcript) for event in done[1:]] == [True, True]


def g711(name: str, codec: str) -> bytes:
    """A recording as a telephone gives it, by FFmpeg."""
    encoder: Any = av.CodecContext.create(f"pcm_{codec}", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm(name, 8000), np.int16)[np.newaxis], "s16", "mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


TODAY: Any = {
    "type": "session.update",
    "session": {
        "type": "transcription",
        "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
    },
}
BETA: Any = {
    "type": "transcription_session.update",
    "session": {
        "input_audio_format": "g711_alaw",
        "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        "turn_detection": None,
    },
}


@pytest.mark.parametrize(("update", "codec"), [(TODAY, "mulaw"), (BETA, "alaw")])
async def test_a_telephone_is_heard_and_the_update_of_the_beta_is_known(
    client: openai.AsyncOpenAI, update: Any, codec: str
):
    async with asyncio.timeout(LIMIT_S), client.realtime.connect(model="whisper-1") as realtime:
        await realtime.send(update)
        await realtime.input_audio_buffer.append(audio=base64_of(g711("single.flac", codec)))
        await realtime.input_audio_buffer.commit()
        told = []
        async for event in realtime:
            told.append(event)
            if event.type in ("error", "conversation.item.input_audio_transcription.completed"):
                break
    assert right(told[-1].transcript)  # type: ignore[union-attr]
    updated: Any = told[1]
    assert updated.type == f"{update['type']}d"
    if update is BETA:
        assert {name: updated.session[name] for name in BETA["session"]} == {
            **BETA["session"],
            "input_audio_transcription": {"model": "whisper-1", "language": "en", "prompt": None},
        }
    else:
        assert updated.session.audio.input.format.type == "audio/pcmu"


async def test_a_realtime_client_that_errs_is_told_and_goes_on(client: openai.AsyncOpenAI):
    async with asyncio.timeout(LIMIT_S), client.realtime.connect(model="whisper-1") as realtime:
        assert (await realtime.recv()).type == "session.created"
        for wrong in (
            {"type": "response.create", "event_id": "mine"},
            {"type": "input_audio_buffer.append", "audio": "!"},
            {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 7}}}}},
        ):
            await realtime.send(wrong)  # type: ignore[arg-type]
            event = await realtime.recv()
            assert event.type == "error"
            assert event.error.type == "invalid_request_error"
            assert event.error.event_id == wrong.get("event_id")
