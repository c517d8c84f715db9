"""`convo mcp` in a process of its own, driven by the protocol's own SDK in both of its eras."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

import convo
from convo.messages import SummaryOptions
from convo_cli.mcp_tools import TOOLS, schema
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon
from tests.support.daemon import Daemon
from tests.support.speech import pcm

if TYPE_CHECKING:
    from mcp import Client  # which takes a second to import: only who runs these tests does

WAIT_S = 60.0


@asynccontextmanager
async def assistant(url: str, **options: Any) -> AsyncIterator[Client]:
    from mcp import Client, StdioServerParameters

    server = StdioServerParameters(command=sys.executable, args=["-m", "convo_cli", "mcp", "--connect", url])
    with trio.fail_after(WAIT_S):
        async with Client(server, **options) as client:
            yield client


def refused(match: str) -> Any:
    from mcp import MCPError

    return pytest.raises(MCPError, match=match)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    found: dict[str, Any] = result.structured_content
    return found


async def complaint(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    text: str = result.content[0].text
    assert "\n" not in text
    return text


async def spoken(url: str, title: str) -> str:
    """Id of a talk that is over, with its summary."""
    async with convo.open_link(url) as link, convo.LiveStream(link, title=title) as stream:
        await stream.send(pcm("single.flac"))
        await stream.end()
        async for _ in stream:
            pass
        return stream.session


async def test_what_an_assistant_may_ask(real: Daemon) -> None:
    talk = await spoken(real.url, "Evil \x1b[2Jtitle")
    async with assistant(real.url) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == set(TOOLS)

        listed = await call(client, "list_talks", limit=1)
        (one,) = listed["talks"]
        assert (one["talk"], one["state"]) == (talk, "completed")
        assert one["title"].isprintable()
        assert one["title"].endswith("title")

        page = await call(client, "read_talk", talk=talk[:6])
        words = " ".join(line["text"] for line in page["segments"])
        assert words
        assert page["next"] is None

        first = words.split()[0].strip(".,!?")
        assert talk in {hit["talk"] for hit in (await call(client, "search_talks", query=first))["hits"]}

        answer = await call(client, "ask_talks", question=f"Who said {first}?", talks=[talk[:6]])
        assert answer["sentences"] == []
        assert (answer["written_by"], answer["reason"].split(" (")[0]) == (
            "extractive", "No language model answers questions",
        )  # fmt: skip
        assert {place["talk"] for place in answer["places"]} == {talk}

        old = await call(client, "summarize_talk", talk=talk)
        new = await call(client, "summarize_talk", talk=talk, style="bullets")
        assert old["written_by"].startswith("extractive")
        assert new["summary"] or new["key_points"]

        whole = await client.read_resource(f"convo://talks/{talk}")
        assert words.split()[-1] in whole.contents[0].text
        assert "\x1b" not in whole.contents[0].text
        resources = (await client.list_resources()).resources
        assert [str(one.uri) for one in resources[:2]] == ["convo://live", f"convo://talks/{talk}"]


async def test_pages_of_a_transcript(real: Daemon) -> None:
    async with (
        convo.open_link(real.url) as link,
        convo.LiveStream(link, summary=SummaryOptions(mode="off")) as stream,
    ):
        await stream.send(pcm("talk.flac"))
        await stream.end()
        segments = [event async for event in stream if isinstance(event, convo.TranscriptSegment)]
    async with assistant(real.url) as client:
        texts, after = [], None
        for _ in range(len(segments)):
            page = await call(client, "read_talk", talk=stream.session, limit=3, after_segment=after)
            texts += [line["text"] for line in page["segments"]]
            after = page["next"]
            if after is None:
                break
    assert texts == [segment.text for segment in segments]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_live_talk_is_followed(real: Daemon, mode: str) -> None:
    changed, receive = trio.open_memory_channel[str](1000)

    async def message(received: Any) -> None:
        if getattr(received, "method", "") == "notifications/resources/updated":
            changed.send_nowait(str(received.params.uri))

    async with assistant(real.url, mode=mode, message_handler=message) as client, trio.open_nursery() as nursery:
        if mode == "legacy":
            from mcp.shared.exceptions import MCPDeprecationWarning

            with pytest.warns(MCPDeprecationWarning):
                await client.subscribe_resource("convo://live")
        else:

            async def listen(*, task_status: trio.TaskStatus[None]) -> None:
                async with client.listen(resource_subscriptions=["convo://live"]) as events:
                    task_status.started()
                    async for event in events:
                        changed.send_nowait(str(event.uri))

            await nursery.start(listen)
        with refused(match="No talk is live now"):
            await client.read_resource("convo://live")
        async with (
            convo.open_link(real.url) as link,
            convo.LiveStream(link, summary=SummaryOptions(mode="off"), interim=False) as stream,
        ):
            await stream.send(pcm("single.flac"))
            await stream.finalize()
            text = ""
            while not text:
                assert await receive.receive() == "convo://live"
                text = (await client.read_resource("convo://live")).contents[0].text
            page = await call(client, "read_talk", talk="live")
            assert page["talk"] == stream.session
            assert page["segments"][0]["text"] in text
            await stream.end()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("list_talks", {"limit": 0}, "Expected `int` >= 1 - at `$.limit`"),
        ("list_talks", {"limit": 201}, "Expected `int` <= 200 - at `$.limit`"),
        ("list_talks", {"state": "asleep"}, "Invalid enum value 'asleep' - at `$.state`"),
        ("search_talks", {"query": ""}, "Expected `str` of length >= 1 - at `$.query`"),
        ("search_talks", {}, "missing required field `query`"),
        ("search_talks", {"query": "budget", "owner": "root"}, "unknown field `owner`"),
        ("read_talk", {"talk": "x" * 65}, "Expected `str` of length <= 64 - at `$.talk`"),
        ("read_talk", {"talk": "zzzz"}, "No session begins with 'zzzz'"),
        ("read_talk", {"talk": "live"}, "No talk is live now"),
        ("read_talk", {"talk": 7}, "Expected `str`, got `int` - at `$.talk`"),
    ],
)
async def test_wrong_arguments(mcp_client: Client, tool: str, arguments: dict[str, Any], sentence: str) -> None:
    assert sentence in await complaint(mcp_client, tool, **arguments)


async def test_wrong_names(mcp_client: Client) -> None:
    with refused(match="There is no tool 'delete_talk'"):
        await mcp_client.call_tool("delete_talk", {})
    for uri in ("convo://talks/", "convo://talks/../x", "file:///etc/passwd", "convo://talks/live"):
        with refused(match="There is no resource"):
            await mcp_client.read_resource(uri)


@pytest.fixture
async def mcp_client(real: Daemon) -> AsyncIterator[Client]:
    async with assistant(real.url) as client:
        yield client


def test_schemas_say_what_is_taken() -> None:
    for tool in TOOLS.values():
        takes = schema(tool.takes)
        assert takes["type"] == "object"
        assert takes["additionalProperties"] is False
        assert tool.description
        assert set(takes["properties"]) == {field.encode_name for field in msgspec.structs.fields(tool.takes)}
    assert schema(TOOLS["list_talks"].takes)["properties"]["limit"]["maximum"] == 200


def test_without_a_daemon(run: Run, tmp_path: Any) -> None:
    result = run("mcp", "--connect", f"unix:{tmp_path / 'none.sock'}")
    assert result.code == 3
    assert "convod" in result.err


def test_without_the_token(fake: FakeDaemon, run: Run) -> None:
    fake.token = "right"
    result = run("mcp")
    assert result.code == 5
    assert "CONVO_TOKEN" in result.err


def test_it_ends_with_its_input_and_at_a_signal(real: Daemon) -> None:
    for end in ("input", "signal"):
        child = subprocess.Popen(
            [sys.executable, "-m", "convo_cli", "mcp", "--connect", real.url],
            env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        with child:
            child.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["id"] == 1
            if end == "input":
                child.stdin.close()
            else:
                child.send_signal(signal.SIGTERM)
            assert child.wait(WAIT_S) == (0 if end == "input" else 128 + signal.SIGTERM)
