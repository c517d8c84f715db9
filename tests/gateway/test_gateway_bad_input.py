"""What clients do wrong: each gets its dialect's own error in one sentence, and the daemon serves the others."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest
import trio
import trio_websocket
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from starlette.requests import Request
from starlette.responses import Response

import convo
from convo.messages import ListSessions, PauseQueue, ResumeQueue
from convo_gateway.app import refusal
from convo_gateway.errors import Refused
from convo_gateway.limits import Places
from convo_gateway.metrics import Metrics
from convo_gateway.web import Guard, body_of
from convo_gateway.wyoming_wire import Event, Parser
from convod.listen.tokens import TokenFile
from tests.support.daemon import Daemon, running
from tests.support.gateway import Gateway, gateway, websocket_to
from tests.support.speech import DATA, pcm

BOUNDARY = {"content-type": "multipart/form-data; boundary=x"}
UPLOADS = ("/api/v1/conversation/request", "/v1/audio/transcriptions")


def told(answer: httpx.Response) -> dict[str, Any]:
    """An error, in whichever dialect."""
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"].endswith(".")
    return error


async def numbers(served: Gateway) -> list[Sample]:
    """What the gateway counts."""
    async with httpx.AsyncClient(base_url=served.url) as client:
        text = (await client.get("/metrics")).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


async def wait_closed(served: Gateway) -> None:
    """Until nothing is being served but the question for it."""
    while sum(each.value for each in await numbers(served) if each.name == "convo_gateway_open") > 1:  # noqa: ASYNC110
        await trio.sleep(0.05)


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"content-type": "application/json"}, b"{}", "multipart/form-data"),
        ({"content-type": "multipart/form-data"}, b"--x--", "multipart/form-data"),
        (BOUNDARY, b"", "ends too early"),
        (BOUNDARY, b"nonsense", "broken"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc', "ends too early"),
        (BOUNDARY, b"--x\r\n\r\nabc\r\n--x--\r\n", "Content-Disposition"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--x--\r\n', ""),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a" * 70000, "longer than"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n', "UTF-8"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n' * 70, "more than"),
        (BOUNDARY, b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--x--\r\n', "`file`"),
    ],
)
async def test_a_form_that_is_none_is_refused(served: Gateway, path: str, headers: Any, body: bytes, said: str):
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    assert said in told(answer)["message"]
    assert ("type" in told(answer)) is path.startswith("/v1/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", "xml"),
        ("temperature", "hot"),
        ("temperature", "nan"),
        ("stream", "maybe"),
        ("timestamp_granularities[]", "letter"),
        ("timestamp_granularities[]", "word"),
        ("model", ""),
    ],
)
async def test_a_wrong_field_is_named(served: Gateway, field: str, value: str):
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post(
            "/v1/audio/transcriptions", data={"model": "whisper-1", field: value}, files={"file": b"x"}
        )
    assert answer.status_code == 400
    assert told(answer)["param"] == field.removesuffix("[]")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/conversation/result/s_nobody", 404),
        ("GET", "/api/v1/conversation/stream-events/s_nobody", 404),
        ("GET", "/api/v1/conversation/stream-events/s_nobody?last_event_id=x", 400),
        ("GET", "/v1/models/none", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/audio/transcriptions", 405),
        ("PUT", "/api/v1/stream/create", 405),
    ],
)
async def test_what_is_not_there_is_told(served: Gateway, method: str, path: str, status: int):
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert told(answer)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"language": 7}', b"\xff", b'{"language": "' + b"e" * 70000 + b'"}'])
async def test_a_stream_is_made_of_a_json_object_or_nothing(served: Gateway, body: bytes):
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post("/api/v1/stream/create", content=body)
    assert answer.status_code in (400, 413)
    assert told(answer)


async def test_fields_behind_the_file_are_refused_and_leave_no_session(served: Gateway, daemon: Daemon):
    part = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    body = part.format("file", '; filename="late"', "abcd") + part.format("language", "", "en") + "--x--\r\n"
    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post(UPLOADS[0], content=body.encode(), headers=BOUNDARY)
    assert told(answer)["message"] == "Send the field language before the file."
    async with convo.connect(daemon.web) as direct:
        assert not [s for s in (await direct.request(ListSessions())).sessions if s.title == "late"]


@pytest.mark.parametrize("path", UPLOADS)
async def test_an_upload_that_stalls_is_given_up(served: Gateway, path: str):
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    async with stream:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: 1000\r\nContent-Type: {BOUNDARY['content-type']}\r\n"
        )
        await stream.send_all(head.encode() + b"\r\n--x\r\n")
        answer = await stream.receive_some(1 << 16)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("rate", "whole"), [(1000, False), (2000, True)])
async def test_a_slow_upload_is_given_up_long_before_its_end(autojump_clock: Any, rate: int, whole: bool):
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        await trio.sleep(0.1)
        sent += rate // 10
        return {"type": "http.request", "body": bytes(rate // 10), "more_body": sent < 100_000}

    body = body_of(Request({"type": "http", "method": "POST", "headers": []}, receive), stall_s=1)
    said = ""
    async with aclosing(body):
        try:
            async for _ in body:
                pass
        except Refused as error:
            said = f"{error.status} {error.message}"
    assert said == ("" if whole else "408 Send at least 1024 bytes a second.")


async def test_an_answer_is_seen_by_a_client_that_still_sends(served: Gateway):
    async def endless() -> Any:
        for _ in range(200):
            yield bytes(1 << 16)

    async with httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post(UPLOADS[1], content=endless(), headers=BOUNDARY)
    assert answer.status_code == 400


async def test_a_client_that_reads_nothing_is_dropped_and_nothing_piles_up(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        job = (await client.post("/api/v1/stream/create")).json()["job_id"]
        before = served.memory()
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", served.port))
            raw.sendall(f"GET /api/v1/conversation/stream-events/{job} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
                await websocket.send_message(pcm("single.flac"))
                await websocket.send_message('{"type": "end"}')
                kinds = []
                while "final_summary" not in kinds:
                    kinds.append(json.loads(await websocket.get_message())["type"])
        assert served.memory() - before < 20 << 20


def unread(test):
    """Mark of a test that leaves sockets to the garbage collector: httpx does so with an answer not read to its
    end, trio-websocket with a connection that was refused. They are collected before another test begins.
    """
    ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return pytest.mark.usefixtures("_collected")(ignored(test))


@pytest.fixture
def _collected():
    yield
    gc.collect()


async def test_a_client_that_goes_while_its_recording_is_transcribed_leaves_no_session(served: Gateway, daemon: Daemon):
    async with convo.connect(daemon.web) as direct:

        async def there() -> bool:
            return any(each.title == "left.flac" for each in (await direct.request(ListSessions())).sessions)

        await direct.request(PauseQueue())
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client, trio.open_nursery() as nursery:

            async def ask() -> None:
                files = {"file": ("left.flac", (DATA / "single.flac").read_bytes())}
                await client.post(UPLOADS[1], data={"model": "whisper-1"}, files=files)

            nursery.start_soon(ask)
            while not await there():  # noqa: ASYNC110
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
        while await there():  # noqa: ASYNC110
            await trio.sleep(0.02)
        await direct.request(ResumeQueue())


async def test_an_upload_that_breaks_off_leaves_no_session(served: Gateway, daemon: Daemon):
    async with convo.connect(daemon.web) as direct:

        async def there() -> bool:
            return any(each.title == "broken" for each in (await direct.request(ListSessions())).sessions)

        part = "--x\r\nContent-Disposition: form-data; name={}\r\n\r\n{}"
        body = part.format("title", "broken\r\n") + part.format('file; filename="broken.wav"', "RIFF" * 1000)
        head = f"POST {UPLOADS[0]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
            await stream.send_all(f"{head}Content-Type: {BOUNDARY['content-type']}\r\n\r\n{body}".encode())
            while not await there():  # noqa: ASYNC110
                await trio.sleep(0.02)
        while await there():  # noqa: ASYNC110
            await trio.sleep(0.02)


@pytest.mark.parametrize("path", UPLOADS)
async def test_a_large_upload_is_never_in_memory(served: Gateway, path: str):
    size = 48 << 20

    async def body() -> AsyncIterator[bytes]:
        if path.startswith("/v1/"):
            yield b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="noise.wav"\r\n\r\n'
        for _ in range(size >> 18):
            yield bytes(1 << 18)
        yield b"\r\n--x--\r\n"

    before = served.memory()
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        answer = await client.post(path, content=body(), headers=BOUNDARY)
    assert answer.status_code == (400 if path.startswith("/v1/") else 202)  # it is no audio
    assert served.peak_memory() - before < size / 2


async def test_a_connection_that_takes_nothing_is_cut(served: Gateway):
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", served.port))
        raw.setblocking(False)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reset = False
        while not reset:  # more answers than buffers hold, none of them read
            try:
                raw.send(asked * 100)
            except BlockingIOError:
                await trio.sleep(0.05)
            except OSError:
                reset = True
            reset = reset or raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    await wait_closed(served)


@unread
async def test_many_streams_of_one_job_are_bounded(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client, AsyncExitStack() as stack:
        job = (await client.post("/api/v1/stream/create")).json()["job_id"]
        path = f"/api/v1/conversation/stream-events/{job}"
        for _ in range(3):
            response = await stack.enter_async_context(client.stream("GET", path))
            assert response.status_code == 200
            lines = await stack.enter_async_context(aclosing(response.aiter_lines()))
            await anext(lines)  # it has begun
        refused = 0

        async def come() -> None:
            nonlocal refused
            stream = await trio.open_tcp_stream("127.0.0.1", served.port)
            async with stream:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join([data async for data in stream])
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"This job has 3 event streams; close one first." in answer
            refused += 1

        before = served.memory()
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(come)
        assert refused == 300
        assert served.memory() - before < 20 << 20
        assert (await client.get("/healthz")).text == "ok\n"


@pytest.mark.parametrize(
    ("path", "form"), [("/api/v1/conversation/result/x", {"code", "message"}), ("/v1/models", {"type", "param"})]
)
async def test_what_is_too_much_at_once_is_told_in_each_dialect_and_monitors_still_come_in(path: str, form: set[str]):
    open_at_once = trio.Event()

    async def stays(scope: Any, receive: Any, send: Any) -> None:
        open_at_once.set()
        if scope["path"] != "/healthz":
            await trio.sleep_forever()
        await Response("ok")(scope, receive, send)

    places = Places(1, "The gateway is serving too many requests; try again later.")
    guard = Guard(stays, refuse=refusal, origins=(), local=False, places=places, metrics=Metrics())
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.get, path)
        await open_at_once.wait()
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert form <= set(told(answer))
        assert (await client.get("/healthz")).text == "ok"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "message", [b"\0" * 960, "Hello?", "[]", '{"type": 7}', '{"type": "input_audio_buffer.append"}']
)
async def test_what_is_no_message_of_a_realtime_session_is_refused_and_the_session_goes_on(
    served: Gateway, message: bytes | str
):
    async with websocket_to(f"{served.websocket}/v1/realtime") as websocket:
        assert json.loads(await websocket.get_message())["type"] == "session.created"
        for _ in range(2):
            await websocket.send_message(message)
            error = json.loads(await websocket.get_message())
            assert error["type"] == "error"
            assert error["error"]["type"] == "invalid_request_error"
            assert error["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    ("path", "said"),
    [("/api/v1/stream/ws/s_nobody", "unknown_session"), ("/v1/realtime?intent=conversation", "bad_request")],
)
async def test_a_websocket_is_told_why_it_is_closed(served: Gateway, path: str, said: str):
    async with websocket_to(served.websocket + path) as websocket:
        error = json.loads(await websocket.get_message())
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await websocket.get_message()
    assert error["type"] == "error"
    assert error.get("code") == said or error["error"]["code"] == said
    assert closed.value.reason.code == 1008


async def test_audio_for_a_recording_is_refused(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        with (DATA / "short.wav").open("rb") as file:
            job = (await client.post(UPLOADS[0], files={"file": file})).json()["job_id"]
    async with websocket_to(f"{served.websocket}/api/v1/stream/ws/{job}") as websocket:
        assert json.loads(await websocket.get_message())["code"] == "bad_state"
        with pytest.raises(trio_websocket.ConnectionClosed):
            await websocket.get_message()


async def test_web_pages_come_in_only_from_the_origins_that_are_listed(served: Gateway):
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with httpx.AsyncClient(base_url=served.url) as client:
        foreign = await client.post("/api/v1/stream/create", headers={"origin": "https://evil.example"})
        known = await client.get("/v1/models", headers={"origin": "https://example.org"})
        asked = await client.options("/v1/models", headers={"origin": "https://example.org", **preflight})
    assert foreign.status_code == 403
    assert told(foreign)
    assert known.headers["access-control-allow-origin"] == "https://example.org"
    assert asked.status_code == 200
    with pytest.raises(trio_websocket.HandshakeError):
        async with trio_websocket.open_websocket_url(
            f"{served.websocket}/v1/realtime", extra_headers=[("origin", "https://evil.example")]
        ):
            pass


@unread
async def test_tokens_and_owners_are_the_daemons_and_no_token_is_logged(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    book = TokenFile(state)
    mine, other = book.add("mine"), book.add("other")
    (tmp_path / "wrong").write_text("0" * 43)
    wyoming = ("--wyoming", "tcp://127.0.0.1:0", "--wyoming-token-file", str(tmp_path / "wrong"))
    with running(tmp_path) as daemon, gateway(daemon.web, *wyoming) as served:
        assert (await wyoming_answer(served))["code"] == "unauthorized"
        listen = f"{served.websocket}/v1/listen?encoding=linear16&sample_rate=16000"
        with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
            async with trio_websocket.open_websocket_url(listen):
                pass
        assert rejected.value.status_code == 401
        assert json.loads(rejected.value.body)["err_code"] == "UNAUTHORIZED"
        async with trio_websocket.open_websocket_url(listen, extra_headers=[("authorization", f"Token {mine}")]):
            pass
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            nobody = await client.post("/api/v1/stream/create")
            assert nobody.status_code == 401
            assert nobody.headers["www-authenticate"] == "Bearer"
            assert (await client.get("/v1/models", headers={"authorization": "Basic x"})).status_code == 401
            created = await client.post("/api/v1/stream/create", headers={"authorization": f"Bearer {mine}"})
            job = created.json()["job_id"]
            for path in (f"/api/v1/conversation/result/{job}", f"/api/v1/conversation/stream-events/{job}"):
                theirs = await client.get(path, headers={"authorization": f"Bearer {other}"})
                assert theirs.status_code == 404
                async with client.stream("GET", f"{path}?token={mine}") as response:
                    assert response.status_code == 200
            assert (await client.get("/healthz")).text == "ok\n"
            url = f"{served.websocket}/api/v1/stream/ws/{job}?token="
            async with websocket_to(url + other) as websocket:
                assert json.loads(await websocket.get_message())["code"] == "unknown_session"
                with pytest.raises(trio_websocket.ConnectionClosed):
                    await websocket.get_message()
            async with websocket_to(url + mine) as websocket:
                assert json.loads(await websocket.get_message())["type"] == "connection_success"
        log = "".join([*daemon.log, *served.log])
    assert mine not in log
    assert other not in log


async def wyoming_answer(served: Gateway) -> dict[str, Any]:
    """What a Wyoming client is told that asks what there is."""
    host, _, port = served.wyoming.removeprefix("tcp://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(Event("describe").encoded())
        data = b"".join([bytes(piece) async for piece in stream])
    (event,) = Parser().feed(data)
    assert event.type == "error"
    return event.data


@unread
async def test_a_daemon_that_is_not_there_is_told_in_each_dialect():
    with gateway("ws://127.0.0.1:9", "--open-loopback", "--wyoming", "tcp://127.0.0.1:0") as served:
        assert (await wyoming_answer(served))["code"] == "unavailable"
        with pytest.raises(trio_websocket.ConnectionRejected) as rejected:
            async with trio_websocket.open_websocket_url(
                f"{served.websocket}/v1/listen?encoding=linear16&sample_rate=16000"
            ):
                pass
        assert (rejected.value.status_code, json.loads(rejected.value.body)["err_code"]) == (503, "UNAVAILABLE")
        async with httpx.AsyncClient(base_url=served.url) as client:
            for path in ("/api/v1/conversation/result/x", "/v1/models"):
                answer = await client.get(path)
                assert answer.status_code == 503
                assert told(answer)["code"] == "unavailable"
            assert (await client.get("/healthz")).status_code == 503


async def test_the_numbers_are_told_and_all_that_was_opened_is_closed_again(served: Gateway):
    async with httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/openapi.json")).status_code == 200
    await wait_closed(served)
    samples = await numbers(served)
    answered = [s.labels for s in samples if s.name == "convo_gateway_requests_total"]
    assert {"route": "/openapi.json", "status": "200"} in answered
    assert next(s.value for s in samples if s.name == "convo_gateway_spool_bytes") == 0
