"""The conversation API for those who keep talks: list, search, export, rename, delete; and streams that stay."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import httpx
import pytest
import trio

from convo.formats import FORMATS
from tests.gateway.test_gateway_conversation import CHUNK, events, result, upload, valid
from tests.support.gateway import Gateway, websocket_to
from tests.support.speech import DATA, pcm, told_apart, truth, word_error_rate

HERE = "/api/v1/conversation"


async def test_a_talk_is_listed_found_exported_renamed_and_deleted(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = await upload(client, title="A contract")
        done = await result(client, job)
        listed = valid((await client.get(f"{HERE}/list")).json(), "Jobs")["jobs"]
        (mine,) = (each for each in listed if each["job_id"] == job)
        assert mine["language"] == "en"
        assert mine | {"transcript": 0, "segments": 0, "summary": 0} == done | {
            "transcript": 0, "segments": 0, "summary": 0
        }  # fmt: skip
        page = (await client.get(f"{HERE}/list", params={"limit": 1})).json()["jobs"]
        rest = (await client.get(f"{HERE}/list", params={"before": page[0]["created"]})).json()["jobs"]
        assert page == listed[:1]
        assert [each["job_id"] for each in rest] == [each["job_id"] for each in listed[1:]]

        hits = valid((await client.get(f"{HERE}/search", params={"q": "contract"})).json(), "Hits")["hits"]
        found = {hit["source"]: hit for hit in hits if hit["job_id"] == job}
        assert found.keys() == {"segment", "summary"}
        assert found["segment"]["title"] == "A contract"
        assert found["segment"]["text"] == done["segments"][0]["text"]

        asked = {"question": "Where is the contract?", "job_ids": [job]}
        async with client.stream("POST", "/api/v1/ask", json=asked) as response:
            told = [(kind, data) async for kind, _, data in events(response)]
        assert [kind for kind, _ in told] == ["passages", "answer"]
        answer = valid(told[-1][1], "Answer")
        assert (answer["answer"], answer["provider"]) == ([], "extractive")
        assert answer["passages"] == told[0][1]
        assert {each["job_id"] for each in answer["passages"]} == {job}
        assert (await client.post("/api/v1/ask", json=asked | {"job_ids": ["none"]})).status_code == 404
        assert (await client.post("/api/v1/ask", json={"question": 1})).status_code == 400

        for format in FORMATS:
            file = await client.get(f"{HERE}/export/{job}", params={"format": format})
            assert done["segments"][0]["text"].split()[0] in file.text
            assert file.headers["content-disposition"] == f'attachment; filename="transcript.{format}"'
            assert file.headers["x-content-type-options"] == "nosniff"

        assert (await client.patch(f"{HERE}/{job}", json={"title": "Another"})).status_code == 204
        assert (await result(client, job))["title"] == "Another"
        assert (await client.delete(f"{HERE}/{job}")).status_code == 204
        assert (await client.get(f"{HERE}/result/{job}")).status_code == 404
        assert (await client.delete(f"{HERE}/{job}")).status_code == 404


async def test_it_is_said_who_speaks_and_kept_sound_is_given(served: Gateway):
    sent = (DATA / "talk.flac").read_bytes()
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = await upload(client, "talk.flac", speakers="auto", keep_audio="true")
        labels: dict[int, int] = {}
        async with client.stream("GET", f"{HERE}/stream-events/{job}") as response:
            async for kind, _, data in events(response):
                told = data["labels"] if kind == "speakers_revised" else [data] if kind == "speaker_label" else []
                labels |= {one["segment"]: one["speaker"] for one in told}
        done = await result(client, job)
        said = done["segments"]
        assert {one["segment"]: one["speaker"] for one in said} == labels
        assert told_apart("talk", [(one["start"], one["end"], one["speaker"]) for one in said]) > 0.9
        assert done["speakers"] == [{"speaker": at, "name": f"Speaker {at}"} for at in sorted(set(labels.values()))]

        path, size = f"{HERE}/audio/{job}", len(sent)
        for wanted, status, begin, end in [
            (None, 200, 0, size),
            ("bytes=0-", 200, 0, size),
            ("bytes=10-19", 206, 10, 20),
            (f"bytes={size - 5}-{size + 100}", 206, size - 5, size),
            ("bytes=-7", 206, size - 7, size),
            ("bytes=1-2,5-6", 200, 0, size),
            ("bytes=9-3", 200, 0, size),
            (f"bytes={'9' * 30}-", 200, 0, size),
            (f"bytes={size}-", 416, 0, 0),
        ]:
            sound = await client.get(path, headers={} if wanted is None else {"range": wanted})
            assert (sound.status_code, sound.content) == (status, sent[begin:end]), wanted
            about = {200: None, 206: f"bytes {begin}-{end - 1}/{size}", 416: f"bytes */{size}"}[status]
            assert sound.headers.get("content-range") == about
        assert sound.headers["content-type"] == "audio/flac"
        assert sound.headers["content-disposition"] == 'attachment; filename="audio.flac"'
        assert sound.headers["x-content-type-options"] == "nosniff"
        head = await client.head(path)
        assert (head.headers["content-length"], head.content) == (str(size), b"")
        page = {"file": ("talk.html", (DATA / "single.flac").read_bytes())}
        answer = await client.post(f"{HERE}/request", files=page, data={"keep_audio": "true", "language": "en"})
        await result(client, answer.json()["job_id"])
        sound = await client.get(f"{HERE}/audio/{answer.json()['job_id']}", headers={"range": "bytes=0-3"})
        assert (sound.status_code, sound.headers["content-type"]) == (206, "application/octet-stream")
        assert sound.headers["content-disposition"] == 'attachment; filename="audio.bin"'


async def test_live_sound_is_a_wav_and_what_was_not_kept_is_not_there(served: Gateway):
    speech = pcm("single.flac")
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        for kept in (True, False):
            job = (await client.post("/api/v1/stream/create", json={"keep_audio": kept})).json()["job_id"]
            assert (await client.get(f"{HERE}/audio/{job}")).status_code == 409
            async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
                await websocket.send_message(speech)
                await websocket.send_message('{"type": "end"}')
                while json.loads(await websocket.get_message())["type"] != "final_summary":
                    pass
            await result(client, job)
            whole = await client.get(f"{HERE}/audio/{job}")
            if not kept:
                assert whole.status_code == 409
                assert "keep_audio" in valid(whole.json(), "Error")["error"]["message"]
                continue
            with wave.open(io.BytesIO(whole.content)) as sound:
                assert (sound.getframerate(), sound.readframes(1 << 30)) == (16000, speech)
            part = await client.get(f"{HERE}/audio/{job}", headers={"range": "bytes=40-47"})
            assert (part.status_code, part.content) == (206, whole.content[40:48])


async def test_a_talk_that_is_at_work_is_deleted_too(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = await upload(client, "talk.mp3")
        assert (await client.delete(f"{HERE}/{job}")).status_code == 204
        assert (await client.get(f"{HERE}/result/{job}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", f"{HERE}/list?limit=0", "`limit`"),
        ("GET", f"{HERE}/list?limit=%D9%A3", "`limit`"),
        ("GET", f"{HERE}/list?limit=99999999999999999999", "`limit`"),
        ("GET", f"{HERE}/list?before=then", "`before`"),
        ("GET", f"{HERE}/search?q=%20", "`q`"),
        ("GET", f"{HERE}/export/x?format=exe", "txt, srt"),
        ("GET", f"{HERE}/stream-events/x?include=transcript_partial,everything", "`include`"),
        ("POST", "/api/v1/stream/create", "keep_audio must be"),
        ("PATCH", f"{HERE}/x", '{"title": "Interview"}'),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(served: Gateway, method: str, path: str, said: str):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        answer = await client.request(method, path, json={"keep_audio": "maybe"} if method == "POST" else None)
    assert answer.status_code == 400
    assert said in valid(answer.json(), "Error")["error"]["message"]


async def test_languages_that_may_be_spoken_are_passed_on(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        done = await result(client, await upload(client, languages="en, en"))
        assert {segment["language"] for segment in done["segments"]} == {"en"}
        answer = await client.post("/api/v1/stream/create", json={"languages": "en,klingon"})
    assert answer.status_code == 400
    assert "klingon" in valid(answer.json(), "Error")["error"]["message"]


async def test_who_asks_for_it_is_told_what_may_still_change(served: Gateway):
    speech = pcm("single.flac")
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = (await client.post("/api/v1/stream/create")).json()["job_id"]
        kinds: dict[str, set[str]] = {}

        async def follow(include: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            path = f"{HERE}/stream-events/{job}"
            async with client.stream("GET", path, params={"include": include}) as response:
                task_status.started()
                kinds[include] = {kind async for kind, _, _ in events(response)}

        async with trio.open_nursery() as nursery:
            for include in ("", "transcript_partial"):
                await nursery.start(follow, include)
            async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
                await websocket.send_message(speech[: len(speech) // 2])
                while json.loads(await websocket.get_message())["type"] != "transcript_partial":
                    pass
                await websocket.send_message('{"type": "end"}')
    assert "transcript_partial" not in kinds[""]
    assert "transcript_partial" in kinds["transcript_partial"]


async def test_a_stream_that_stays_goes_on_where_its_connection_broke(served: Gateway):
    speech = pcm("single.flac")
    half = len(speech) // 2 // CHUNK * CHUNK
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = (await client.post("/api/v1/stream/create")).json()["job_id"]
        url = f"{served.websocket}/api/v1/stream/ws/{job}?resume=1"
        async with websocket_to(url) as websocket:
            first: dict[str, Any] = json.loads(await websocket.get_message())
            await websocket.send_message(speech[:half])
            while json.loads(await websocket.get_message())["type"] != "transcript_partial":
                pass
            await trio.aclose_forcefully(websocket._stream)
        async with websocket_to(url) as websocket:
            second: dict[str, Any] = json.loads(await websocket.get_message())
            assert (await client.get(f"{HERE}/result/{job}")).json()["status"] == "processing"
            await websocket.send_message(speech[second["offset"] :])
            await websocket.send_message('{"type": "end"}')
            while json.loads(await websocket.get_message())["type"] != "final_summary":
                pass
        done = await result(client, job)
    assert (first["offset"], second["offset"]) == (0, half)
    assert done["duration_s"] == pytest.approx(len(speech) / 32000, abs=0.05)
    assert word_error_rate(truth("single"), done["transcript"]) < 0.3


async def test_the_page_comes_with_rules_for_the_browser_and_is_asked_for_anew(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        page = await client.get("/")
        for path in ("app.js", "style.css", "icon.svg", "microphone.js"):
            file = await client.get(f"/page/{path}")
            assert file.status_code == 200, path
            assert file.headers["x-content-type-options"] == "nosniff"
        again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
        for path in ("/page/nothing.js", "/page/..%2fapp.py", "/page/%2e%2e/app.py"):
            assert (await client.get(path)).status_code == 404, path
    assert again.status_code == 304
    rules = page.headers["content-security-policy"]
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert " onclick=" not in page.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "{own}"}, 200),
        ({"origin": "{own}1"}, 403),
        ({"origin": "null"}, 403),
        # A name of somebody else that leads to this machine: there the page would be of one origin with the gateway.
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "evil.example:8766"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:1"}, 200),
        ({"host": "example.org", "origin": "https://example.org"}, 200),  # which is listed
    ],
)
async def test_the_gateways_own_page_comes_in_and_no_other_by_another_name(
    served: Gateway, headers: dict[str, str], status: int
):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        sent = {name: value.replace("{own}", served.url) for name, value in headers.items()}
        assert (await client.get(f"{HERE}/list", headers=sent)).status_code == status
