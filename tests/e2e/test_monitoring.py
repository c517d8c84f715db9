"""What a monitor and a log reader see of a daemon at work: numbers that add up, no word of what was said."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, segments, talk_live
from tests.support.speech import pcm, truth


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def metrics(daemon: Daemon) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    async with convo.connect(daemon.url) as client:
        reply = await client.request(messages.Metrics())
    assert reply.content_type.startswith("text/plain; version=0.0.4")
    return parsed(reply.content)


async def test_the_numbers_are_those_of_what_happened(tmp_path: Path) -> None:
    with running(tmp_path, "--log-level", "debug", "--log-format", "json") as daemon:
        audio = pcm("single.flac")
        async with convo.connect(daemon.web) as client:
            events = await talk_live(client, audio)
            open_one = await client.create_session("live", summary=OFF)
            during = await metrics(daemon)
            await open_one.cancel()
        for worker in daemon.workers():
            daemon.send(signal.SIGKILL, worker)
        await daemon.wait_log("a worker was lost")
        after = await metrics(daemon)
        program = await trio.run_process(
            [sys.executable, "-m", "convo_cli", "metrics", "--connect", daemon.url], capture_stdout=True
        )
        assert parsed(program.stdout.decode()).keys() == after.keys()
    heard = segments(events)
    assert during["convo_sessions", (("kind", "live"),)] == 1
    assert during["convo_segment_lag_seconds_count", ()] == len(heard)
    assert during["convo_audio_bytes_total", ()] == len(audio)
    assert during["convo_connections", (("state", "greeted"),)] == 2
    assert during["convo_summaries_total", (("outcome", "written"),)] == 1
    assert during["convo_summary_seconds_count", ()] == 1
    assert during["convo_summarizer_up", (("provider", "extractive"),)] == 1
    assert during["convo_queue_wait_seconds_count", (("kind", "final"),)] >= len(heard)
    assert during["convo_decoding_seconds_total", ()] > 0
    assert during["convo_decoded_audio_seconds_total", ()] > 1
    assert during["convo_memory_bytes", (("process", "convod"),)] > 10e6
    assert during["convo_memory_bytes", (("process", "workers"),)] > 10e6
    assert during["convo_disk_free_bytes", ()] > 0
    assert during["convo_database_bytes", ()] > 0
    assert after["convo_engine_restarts_total", ()] >= 1
    # One event a line, with what it is about, and nothing of what was said.
    logged = [json.loads(line) for line in daemon.log]
    assert {"time", "level", "logger", "message"} <= logged[0].keys()
    assert any(event.get("session") == heard[0].session for event in logged)
    assert any(event["message"] == "connection open" and event["connection"] == 1 for event in logged)
    everything = "".join(daemon.log).lower()
    assert not [word for word in truth("single").lower().strip(".").split() if len(word) > 5 and word in everything]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


async def test_the_http_listener_tells_metrics_health_and_readiness(tmp_path: Path, port: int) -> None:
    environment = {"CONVOD_METRICS_HTTP": f"127.0.0.1:{port}"}
    with running(tmp_path, environment=environment) as daemon:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert (await http.get("/healthz")).text == "ok\n"
            while (answer := await http.get("/readyz")).status_code == 503:
                assert "loading" in answer.text
                await trio.sleep(0.02)
            assert answer.text == "ok\n"
            shown = await http.get("/metrics")
            assert shown.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert ("convo_uptime_seconds", ()) in parsed(shown.text)
            assert (await http.get("/nonsense")).status_code == 404
            assert (await http.post("/metrics")).status_code == 405
            assert (await http.head("/metrics")).text == ""
            # Who says nothing holds nobody up, nor the end.
            async with await trio.open_tcp_stream("127.0.0.1", port) as silent:
                await silent.send_all(b"GET /metrics HT")
                assert (await http.get("/healthz")).status_code == 200
                async with convo.connect(daemon.url) as client:
                    await client.request(messages.Ping())
                begun = trio.current_time()
                assert await trio.to_thread.run_sync(daemon.stop) == 0
                assert trio.current_time() - begun < 10


async def test_the_http_listener_stays_on_this_machine(tmp_path: Path) -> None:
    done = await trio.run_process(
        [sys.executable, "-m", "convod", "--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state")],
        env={"CONVOD_METRICS_HTTP": "0.0.0.0:9464", "PATH": "/usr/bin", "HOME": str(tmp_path)},
        check=False, capture_stderr=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "metrics.insecure" in done.stderr.decode()
