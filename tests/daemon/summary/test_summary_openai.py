"""OpenAI's chat completions over real sockets: servers that differ, and every way in which they fail."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from convo.messages import Summary, SummaryOptions
from convod.summary import STYLES, Summarizers, SummarizerUnavailable, SummarySettings, Transcript
from convod.summary.prompt import schema
from tests.daemon.support.summaries import Shown, write
from tests.fakes.model import count_tokens
from tests.fakes.openai import FakeOpenAi, running_openai
from tests.fakes.talks import KOREAN, MEETING, talk

OPTIONS = SummaryOptions(provider="openai")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVOD_OPENAI_KEY", raising=False)


@asynccontextmanager
async def with_openai(
    settings: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[FakeOpenAi, Summarizers]]:
    async with running_openai(**options) as (fake, url):
        summarizers = Summarizers(SummarySettings(openai_url=url, **(settings or {})))
        yield fake, summarizers
        await summarizers.aclose()


async def written(summarizers: Summarizers, of: Transcript | None = None) -> tuple[Summary, str]:
    return await write(summarizers, OPTIONS, of)


async def test_a_summary_is_streamed() -> None:
    async with with_openai() as (fake, summarizers):
        shown = Shown()
        summary = await summarizers.write(talk(), OPTIONS, shown)
    assert len(shown.pieces) > 5
    assert shown.text == summary.summary
    assert shown.begun == 1
    assert summary.summary.startswith("They said: Good morning everyone.")
    assert (summary.provider, summary.model) == ("openai", "qwen2.5-7b-instruct")
    asked = fake.questions[0]
    assert asked["stream"] is True
    assert asked["response_format"]["type"] == "json_schema"
    assert asked["response_format"]["json_schema"]["schema"] == schema(STYLES["brief"])
    assert "authorization" not in fake.headers[-1]


@pytest.mark.parametrize("chunk_bytes", [3, 7, 100_000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_the_stream_may_be_cut_anywhere(chunk_bytes: int, line_end: str) -> None:
    async with with_openai() as (fake, summarizers):
        fake.chunk_bytes, fake.line_end = chunk_bytes, line_end
        summary, shown = await written(summarizers, talk(KOREAN, "ko"))
    assert shown == summary.summary
    assert "안녕하세요" in shown


async def test_a_server_that_does_not_say_done() -> None:
    async with with_openai() as (fake, summarizers):
        fake.says_done = False
        assert (await written(summarizers))[0].summary


async def test_a_server_that_does_not_stream() -> None:
    async with with_openai() as (fake, summarizers):
        fake.streams = False
        summary, shown = await written(summarizers)
    assert shown == summary.summary


async def test_an_answer_that_was_cut_and_is_called_an_error_is_asked_again() -> None:
    async with with_openai() as (fake, summarizers):
        fake.faults = ["cut_as_error"]
        summary, shown = await written(summarizers)
    assert len(fake.questions) == 2
    assert summary.summary == shown
    assert summary.key_points


@pytest.mark.parametrize("fault", ["no_response_format", "bad_grammar"])
async def test_a_server_that_refuses_the_schema_is_asked_without_from_then_on(fault: str) -> None:
    async with with_openai(fault=fault) as (fake, summarizers):
        first, _ = await written(summarizers)
        second, _ = await written(summarizers)
    assert first.summary == second.summary
    assert ["response_format" in asked for asked in fake.questions] == [True, False, False]
    assert '"key_points"' in fake.questions[1]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("fault", "schema_sent"),
    [("no_stream_options", [True, True, True]), ("unknown_field", [True, False, False, False])],
)
async def test_a_server_that_refuses_to_count_is_asked_without_from_then_on(
    fault: str, schema_sent: list[bool]
) -> None:
    async with with_openai(fault=fault) as (fake, summarizers):
        first, _ = await written(summarizers)
        second, _ = await written(summarizers)
    assert first.summary == second.summary
    assert ["response_format" in asked for asked in fake.questions] == schema_sent
    assert ["stream_options" in asked for asked in fake.questions][-2:] == [False, False]


@pytest.mark.parametrize("streams", [True, False])
async def test_the_count_of_the_first_answer_makes_the_parts_of_a_korean_talk_larger(streams: bool) -> None:
    async with with_openai(context_length=8192) as (fake, summarizers):
        fake.wide_tokens, fake.streams = 0.6, streams
        await written(summarizers, talk(KOREAN * 250, "ko"))
    parts = [count_tokens(asked["messages"], 0.6) for asked in fake.questions if "<transcript>" in str(asked)]
    assert parts[0] < 0.5 * 8192
    assert max(parts) > 1.6 * parts[0]
    assert all(size + 2048 <= 8192 for size in parts)


@pytest.mark.parametrize("flavour", ["lmstudio", "llamacpp", "vllm"])
async def test_servers_say_their_context_in_different_places(flavour: str) -> None:
    async with with_openai(flavour=flavour, context_length=8192) as (fake, summarizers):
        await written(summarizers, talk(MEETING * 15))
    # In 4096 tokens, which is what is assumed where nothing is said, it would have taken parts.
    assert len(fake.questions) == 1


async def test_a_server_that_says_nothing_of_its_context() -> None:
    async with with_openai(flavour="none", context_length=4096) as (fake, summarizers):
        await written(summarizers, talk(MEETING * 30))
    assert len(fake.questions) > 2


async def test_a_long_talk_goes_in_parts() -> None:
    async with with_openai(context_length=4096) as (fake, summarizers):
        summary, shown = await written(summarizers, talk(MEETING * 60))
    assert len(fake.questions) > 3
    assert shown == summary.summary  # of the merge, and of nothing before it


async def test_a_prompt_that_is_refused_for_its_length() -> None:
    """The settings claim more than the server has."""
    async with with_openai({"context_tokens": 16384}, context_length=4096) as (fake, summarizers):
        summary, _ = await written(summarizers, talk(MEETING * 60))
    assert summary.summary
    assert "<notes>" in fake.questions[-1]["messages"][1]["content"]


async def test_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with with_openai(key="sk-secret") as (fake, summarizers):
        with pytest.raises(SummarizerUnavailable, match="refused the key: set CONVOD_OPENAI_KEY") as caught:
            await written(summarizers)
        assert not caught.value.retry
        monkeypatch.setenv("CONVOD_OPENAI_KEY", "sk-secret\n")
        await written(summarizers)
    assert fake.headers[-1]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in caplog.text


async def test_a_key_that_the_server_quotes_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVOD_OPENAI_KEY", "sk-secret")
    async with with_openai() as (fake, summarizers):
        fake.fault = "quotes_the_key"
        with pytest.raises(SummarizerUnavailable, match=r"answered 429 \(Slow down, Bearer …\.\)") as caught:
            await written(summarizers)
    assert "sk-secret" not in str(caught.value)


async def test_a_key_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVOD_OPENAI_KEY", "another")
    file = tmp_path / "key"
    async with with_openai({"openai_key_file": str(file)}, key="sk-secret") as (_fake, summarizers):
        with pytest.raises(SummarizerUnavailable, match="cannot be read"):
            await written(summarizers)
        file.write_text("two words")
        with pytest.raises(SummarizerUnavailable, match="must be one word") as caught:
            await written(summarizers)
        assert "two words" not in str(caught.value)
        file.write_text("sk-secret\n")
        await written(summarizers)


async def test_which_model_is_taken() -> None:
    async with with_openai() as (_fake, summarizers):
        assert (await summarizers.choose(OPTIONS)).model == "qwen2.5-7b-instruct"
        with pytest.raises(SummarizerUnavailable, match="has no model gpt-9"):
            await summarizers.choose(SummaryOptions(provider="openai", model="gpt-9"))
