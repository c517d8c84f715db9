"""Bodies have bounds, errors are sentences, and nothing of an address but its place is shown."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, aclosing

import httpx
import pytest
import trio
import trio.testing

from convod.summary import SummarizerUnavailable
from convod.summary.http import (
    chunks,
    client_factory,
    error_text,
    failures_named,
    get_json,
    loads,
    opened,
    place,
    stream,
)
from convod.summary.wire import Lines
from tests.fakes.httpserver import Reply, Request, serving


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:1234/v1?key=secret", "http://host:1234"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("http://host", "http://host"),
        ("http://host:99999999", "an address that cannot be read"),
    ],
)
def test_place(url: str, shown: str) -> None:
    assert place(url) == shown


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "plain"}, "plain"),
        ({"error": {"message": "nested\nlines \x1b[31mred"}}, "nested lines red"),
        ({"detail": "other"}, "other"),
        ({"error": "x" * 900}, "x" * 199 + "…"),
        ({"error": 5}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_error_text(body: object, text: str) -> None:
    assert error_text(body) == text


def test_loads() -> None:
    assert loads(b'{"a": 1}') == {"a": 1}
    assert loads(b"\xff\xfe") is None
    assert loads("[" * 100_000) is None


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "http://", "http://localhost:99999999/", "http://\x00/"])
async def test_an_address_that_is_none(url: str) -> None:
    async with client_factory(1.0)() as client:
        with pytest.raises(SummarizerUnavailable, match="has an invalid address"):
            await get_json(client, "GET", url, who="It", timeout_s=5)


async def read_lines(client: httpx.AsyncClient, url: str) -> list[bytes]:
    async with opened(client, "GET", url, who="It") as response, aclosing(stream(response, Lines())) as lines:
        return [line async for line in lines]


async def test_a_body_beyond_the_limit_is_left() -> None:
    left = trio.Event()

    async def endless(request: Request, reply: Reply) -> None:
        await reply.start(200, "application/json")
        try:
            while True:
                await reply.write(b"x" * 65536)
        finally:
            left.set()

    async with serving(endless) as url, client_factory(1.0)() as client:
        with pytest.raises(SummarizerUnavailable, match="sent more than 4 MiB"):
            await get_json(client, "GET", url, who="It", timeout_s=60)
        with pytest.raises(SummarizerUnavailable, match="line without end"):
            await read_lines(client, url)
        await left.wait()


async def test_leaving_a_stream_early_ends_every_generator_under_it() -> None:
    """httpx leaves some of them to the garbage collector, of which trio warns; warnings are errors here."""

    async def slow(request: Request, reply: Reply) -> None:
        await reply.start(200, "application/x-ndjson")
        await reply.write(b"one\ntwo\n")
        await reply.wait_hung_up()

    async with (
        serving(slow) as url,
        client_factory(1.0)() as client,
        opened(client, "GET", url, who="It") as response,
        aclosing(chunks(response, 1000)) as body,
    ):
        assert await anext(body) == b"one\ntwo\n"


async def test_a_server_that_accepts_and_says_nothing(mock_clock: trio.testing.MockClock) -> None:
    async def silent(request: Request, reply: Reply) -> None:
        mock_clock.jump(8)
        await reply.wait_hung_up()

    async with serving(silent) as url, client_factory(1.0)() as client:
        with pytest.raises(SummarizerUnavailable, match="does not answer"):
            await get_json(client, "GET", url, who="It", timeout_s=7)


async def test_a_server_to_which_no_connection_comes_about(
    mock_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """One that is busy beyond words: its queue is full, so that the system answers nobody."""
    with socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        nursery.start_soon(_jump_when_blocked, mock_clock, 2.5)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with client_factory(2.0)() as client:
            with pytest.raises(SummarizerUnavailable, match=r"It at http://127.0.0.1:\d+ cannot be reached: start it"):
                await get_json(client, "GET", url, who="It", timeout_s=100)


async def _jump_when_blocked(clock: trio.testing.MockClock, seconds: float) -> None:
    await trio.testing.wait_all_tasks_blocked(0.05)
    clock.jump(seconds)


async def test_redirects_and_proxies_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    seen: list[Request] = []

    async def away(request: Request, reply: Reply) -> None:
        seen.append(request)
        await reply.send(307, {"error": "elsewhere"})

    async with serving(away) as url, client_factory(1.0)() as client:
        status, body = await get_json(client, "POST", f"{url}/x", who="It", timeout_s=60, send={"a": "é"})
    assert (status, body) == (307, {"error": "elsewhere"})
    assert json.loads(seen[0].body) == {"a": "é"}
    assert seen[0].headers["accept-encoding"] == "identity"
    assert len(seen) == 1


async def test_what_is_not_of_the_network_passes() -> None:
    with pytest.raises(ZeroDivisionError), failures_named("It", "http://x"):
        _ = 1 / 0
