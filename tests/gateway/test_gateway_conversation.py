"""The conversation API as a client sees it that was written from its description alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
import trio_websocket
from jsonschema import Draft202012Validator

from convo_gateway.openapi import DOCUMENT
from tests.support.daemon import Daemon, running
from tests.support.gateway import Gateway, gateway, websocket_to
from tests.support.speech import DATA, pcm, truth, word_error_rate

CHUNK = 960  # 30 ms of 16 kHz mono s16le


def valid(value: Any, schema: str) -> Any:
    """The value, which is as the OpenAPI document says."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)
    return value


async def result(client: httpx.AsyncClient, job: str, until: str = "completed") -> dict[str, Any]:
    """The result of a job in a state, asked for as often as that takes."""
    while True:
        answer = valid((await client.get(f"/api/v1/conversation/result/{job}")).json(), "Result")
        if answer["status"] in (until, "failed"):
            return dict(answer)
        await trio.sleep(0.02)


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, int | None, dict[str, Any]]]:
    """Kind, id and data of each server-sent event."""
    kind, id = "", None
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            id = int(value)
        elif name == "data":
            yield kind, id, json.loads(value)
            kind, id = "", None


async def messages(websocket: trio_websocket.WebSocketConnection) -> AsyncIterator[dict[str, Any]]:
    """Each text message, until the gateway closes."""
    try:
        while True:
            yield json.loads(await websocket.get_message())
    except trio_websocket.ConnectionClosed:
        return


async def upload(client: httpx.AsyncClient, name: str = "single.flac", **fields: str) -> str:
    with (DATA / name).open("rb") as file:
        answer = await client.post("/api/v1/conversation/request", files={"file": file}, data=fields)
    assert answer.status_code == 202, answer.text
    return str(valid(answer.json(), "Job")["job_id"])


async def test_a_recording_is_uploaded_followed_and_fetched(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = await upload(client, language="en", title="A talk", model="gpt-4o-transcribe")  # the daemon's own
        told = []
        async with client.stream("GET", f"/api/v1/conversation/stream-events/{job}") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for event in events(response):
                told.append(event)
        kinds = [kind for kind, _, _ in told]
        assert set(kinds) <= {"transcript_segment", "final_summary", "progress"}
        assert "final_summary" in kinds
        numbers = [id for _, id, _ in told if id is not None]
        assert numbers == sorted(set(numbers))
        assert told[-1][2]["status"] == "completed"
        answer = await result(client, job)
    assert answer["title"] == "A talk"
    assert word_error_rate(truth("single"), answer["transcript"]) < 0.3
    assert answer["transcript"] == " ".join(data["text"] for kind, _, data in told if kind == "transcript_segment")
    assert answer["summary"]["summary"]


async def test_models_of_openai_are_the_daemons_and_others_are_refused(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        for model, status in (("whisper-1", 201), ("", 201), ("whisper-9", 404)):
            answer = await client.post("/api/v1/stream/create", json={"model": model})
            assert (model, answer.status_code) == (model, status)


async def test_a_dropped_stream_resumes_by_its_last_event_id_and_ends_for_good(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = await upload(client)
        await result(client, job)
        path = f"/api/v1/conversation/stream-events/{job}"
        async with client.stream("GET", path) as response:
            whole = [event async for event in events(response)]
        last = whole[1][1]
        async with client.stream("GET", path, headers={"last-event-id": str(last)}) as response:
            assert [event async for event in events(response)] == whole[2:]
        # An EventSource that comes back after the end is told not to.
        over = await client.get(path, headers={"last-event-id": str(whole[-1][1])})
        assert over.status_code == 204


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_client_that_streams_an_mp3_as_it_is_spoken_and_just_closes_has_its_summary_stored(
    served: Gateway, seconds: int
):
    """The client knows nothing but the description of the API: 960 bytes every 30 ms, and away."""
    speech = pcm("talk.mp3")
    chunks = [speech[start : start + CHUNK] for start in range(0, seconds * 2 * 16_000, CHUNK)]
    told: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        created = await client.post("/api/v1/stream/create")
        assert created.status_code == 201
        job = valid(created.json(), "Job")["job_id"]
        async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
            assert json.loads(await websocket.get_message())["type"] == "connection_success"

            async def listen() -> None:
                async for message in messages(websocket):
                    told.append(message)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                begin = trio.current_time()
                for number, chunk in enumerate(chunks):
                    await trio.sleep_until(begin + 0.03 * number)
                    await websocket.send_message(chunk)
                nursery.cancel_scope.cancel()
        answer = await result(client, job)
    assert {each["type"] for each in told} <= {"transcript_partial", "transcript_segment", "progress"}
    assert any(each["type"] == "transcript_partial" and each["text"] for each in told), "while it was spoken"
    segments = [each["text"] for each in told if each["type"] == "transcript_segment"]
    assert [each["text"] for each in answer["segments"]][: len(segments)] == segments
    assert answer["duration_s"] == pytest.approx(seconds, abs=0.1)
    assert answer["transcript"]
    assert answer["summary"]["summary"]


async def test_pieces_of_any_size_and_an_end_give_the_final_summary_on_the_same_connection(served: Gateway):
    speech = pcm("single.flac")
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = (await client.post("/api/v1/stream/create", json={"language": "en"})).json()["job_id"]
    async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
        for start in range(0, len(speech), 1001):  # cuts samples in two
            await websocket.send_message(speech[start : start + 1001])
        await websocket.send_message("Hello?")
        await websocket.send_message('{"type": "end"}')
        told = [message async for message in messages(websocket)]
    text = " ".join(each["text"] for each in told if each["type"] == "transcript_segment")
    assert word_error_rate(truth("single"), text) < 0.3
    assert [each["code"] for each in told if each["type"] == "error"] == ["bad_message"]
    assert any(each["type"] == "final_summary" and each["summary"] for each in told)


async def test_a_daemon_that_is_killed_and_started_again_loses_nothing_of_a_stream(tmp_path):
    speech = pcm("single.flac")
    with running(tmp_path) as daemon, gateway(daemon.url, "--open-loopback") as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client, trio.open_nursery() as nursery:
            # With a title, as it would be renamed to its first words, which this stream does not tell.
            job = (await client.post("/api/v1/stream/create", json={"title": "A talk"})).json()["job_id"]
            followed: list[int | None] = []

            async def follow() -> None:
                async with client.stream("GET", f"/api/v1/conversation/stream-events/{job}") as response:
                    followed.extend([id async for _, id, _ in events(response) if id is not None])

            nursery.start_soon(follow)
            async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
                assert json.loads(await websocket.get_message())["type"] == "connection_success"
                half = len(speech) // 2 // CHUNK * CHUNK
                for start in range(0, half, CHUNK):
                    await websocket.send_message(speech[start : start + CHUNK])
                daemon.kill()
                for start in range(half, len(speech), CHUNK):
                    await websocket.send_message(speech[start : start + CHUNK])
                await websocket.send_message('{"type": "end"}')
                daemon.start()
                told = [message async for message in messages(websocket)]
            answer = await result(client, job)
    assert any(each["type"] == "final_summary" for each in told)
    assert followed == list(range(1, len(followed) + 1))  # one stream, each stored event once
    assert answer["duration_s"] == pytest.approx(len(speech) / 32000, abs=0.05)
    assert word_error_rate(truth("single"), answer["transcript"]) < 0.3


async def test_a_job_that_fails_says_why(served: Gateway, daemon: Daemon):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        answer = await client.post("/api/v1/conversation/request", files={"file": ("x.mp3", b"no sound at all" * 99)})
        job = answer.json()["job_id"]
        failed = await result(client, job)
        async with client.stream("GET", f"/api/v1/conversation/stream-events/{job}") as response:
            told = [event async for event in events(response)]
        listed = valid((await client.get("/api/v1/conversation/list")).json(), "Jobs")["jobs"]
    assert failed["status"] == "failed"
    assert [each["error"] for each in listed if each["job_id"] == job] == [failed["error"]]
    assert failed["error"]["code"] == "bad_audio"
    assert told[-1][0] == "error"
    assert told[-1][2]["message"] == failed["error"]["message"]
