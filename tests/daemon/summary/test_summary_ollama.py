"""Ollama's native interface over real sockets: what it is asked, and every way in which it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from convo.messages import Segment, Summary, SummaryOptions
from convod.summary import STYLES, Summarizers, SummarizerUnavailable, SummarySettings, Transcript
from convod.summary.prompt import schema
from tests.daemon.support.summaries import Shown, write
from tests.fakes.model import count_tokens
from tests.fakes.ollama import FakeOllama, running_ollama
from tests.fakes.talks import KOREAN, MEETING, talk

OPTIONS = SummaryOptions(provider="ollama")


@asynccontextmanager
async def with_ollama(
    settings: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[FakeOllama, Summarizers]]:
    async with running_ollama(**options) as (fake, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, **(settings or {})))
        yield fake, summarizers
        await summarizers.aclose()


async def written(summarizers: Summarizers, of: Transcript | None = None) -> tuple[Summary, str]:
    return await write(summarizers, OPTIONS, of)


async def test_a_summary_is_streamed() -> None:
    async with with_ollama() as (fake, summarizers):
        shown = Shown()
        summary = await summarizers.write(talk(), OPTIONS, shown)
    assert len(shown.pieces) > 5
    assert shown.text == summary.summary
    assert shown.begun == 1
    assert summary.summary.startswith("They said: Good morning everyone.")
    assert (summary.provider, summary.model, summary.language) == ("ollama", "llama3.2:latest", "en")
    assert fake.paths == ["/api/tags", "/api/show", "/api/chat"]
    asked = fake.questions[0]
    assert asked["format"] == schema(STYLES["brief"])
    assert asked["stream"] is True
    assert asked["truncate"] is False
    assert asked["keep_alive"]
    assert asked["options"]["num_ctx"] <= 8192
    assert asked["options"]["num_predict"] == 2048
    assert "think" not in asked
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
async def test_the_stream_may_be_cut_anywhere(chunk_bytes: int) -> None:
    async with with_ollama() as (fake, summarizers):
        fake.chunk_bytes = chunk_bytes
        summary, shown = await written(summarizers, talk(KOREAN, "ko"))
    assert shown == summary.summary
    assert "안녕하세요" in shown


async def test_thoughts_are_switched_off_where_a_model_has_them() -> None:
    async with with_ollama(capabilities=("completion", "thinking")) as (fake, summarizers):
        await written(summarizers)
    assert fake.questions[0]["think"] is False


async def test_the_context_grows_with_the_talk_and_no_further_than_is_comfortable() -> None:
    async with with_ollama() as (fake, summarizers):
        await written(summarizers, talk(MEETING * 40))
        await written(summarizers, talk(MEETING * 200))
    sizes = [chat["options"]["num_ctx"] for chat in fake.questions]
    assert 8192 < sizes[0] < 16384
    assert max(sizes) <= 16384
    assert len(sizes) > 3  # the longer talk took parts


@pytest.mark.parametrize(
    ("settings", "context_length", "largest"),
    [({}, 4096, 4096), ({"context_tokens": 6000}, 131072, 6000), ({"context_tokens": 99999}, 8192, 8192)],
)
async def test_the_context_has_limits(settings: dict[str, Any], context_length: int, largest: int) -> None:
    async with with_ollama(settings, context_length=context_length) as (fake, summarizers):
        summary, _ = await written(summarizers, talk(MEETING * 60))
    assert max(chat["options"]["num_ctx"] for chat in fake.questions) <= largest
    assert len(fake.questions) > 2
    assert summary.summary


async def test_a_prompt_that_was_cut_off_in_silence_is_asked_in_a_larger_context() -> None:
    async with with_ollama() as (fake, summarizers):
        fake.faults = ["truncated"]
        summary, shown = await written(summarizers)
    small, large = (chat["options"]["num_ctx"] for chat in fake.questions)
    assert large > small
    assert shown == summary.summary


async def test_a_prompt_that_stays_cut_off_goes_in_parts_and_ends_as_a_clear_error() -> None:
    async with with_ollama(fault="truncated") as (fake, summarizers):
        with pytest.raises(SummarizerUnavailable, match="context") as caught:
            await written(summarizers, talk(MEETING * 20))
    assert not caught.value.retry
    assert len(fake.questions) > 2


@pytest.mark.parametrize("honours_truncate", [True, False])
async def test_words_that_cost_more_tokens_than_was_estimated(honours_truncate: bool) -> None:
    """Letters with spaces between them: a token each, three times the estimate."""
    segments = [
        Segment(segment=at, start=at, end=at + 1, text="q z x " * 40 + f"#{at}", language="en", confidence=1)
        for at in range(60)
    ]
    async with with_ollama(context_length=8192, honours_truncate=honours_truncate) as (fake, summarizers):
        await written(summarizers, Transcript("", "en", segments))
    assert len(fake.questions) > 3
    # What the last questions saw was whole: their parts hold every segment.
    seen = "".join(chat["messages"][1]["content"] for chat in fake.questions)
    assert all(f"#{at}\n" in seen or f"#{at} " in seen for at in range(60))


async def test_the_count_of_the_first_answer_makes_the_parts_of_a_korean_talk_larger() -> None:
    long = talk(KOREAN * 450, "ko")
    async with with_ollama() as (fake, summarizers):
        fake.wide_tokens = 0.6
        await written(summarizers, long)
        first, seen = len(fake.questions), "".join(chat["messages"][1]["content"] for chat in fake.questions)
        await written(summarizers, long)
        second = len(fake.questions) - first
    assert all(seen.count(f"[{at}] {KOREAN[at % 7]}\n") == 1 for at in range(len(KOREAN) * 450))
    parts = [count_tokens(chat["messages"], 0.6) for chat in fake.questions[:first] if "<transcript>" in str(chat)]
    # What was cut before anything was known is half empty; the others fill what they were given.
    assert parts[0] < 0.5 * 16384
    assert max(parts) > 1.8 * parts[0]
    assert max(parts) + 2048 <= 16384
    assert len(parts) == 5  # by upper values it would be 9
    assert second == 1  # the notes of the parts are known still


async def test_a_count_that_leaves_out_the_cache_is_taken_for_more() -> None:
    """As of versions that count what is new to their cache, and do not say so."""
    async with with_ollama() as (fake, summarizers):
        fake.wide_tokens = 0.6
        fake.counts_cached = False
        await written(summarizers, talk(KOREAN * 150, "ko"))
        await written(summarizers, talk([f"{text} 또" for text in KOREAN * 150], "ko"))
    assert all(count_tokens(chat["messages"], 0.6) + 2048 <= 16384 for chat in fake.questions)


@pytest.mark.parametrize("honours_truncate", [True, False])
async def test_what_was_learned_of_one_talk_and_does_not_hold_for_another_costs_a_question(
    honours_truncate: bool,
) -> None:
    rare = talk([f"{text} {at}" for at, text in enumerate(KOREAN * 74)], "ko")
    async with with_ollama(honours_truncate=honours_truncate) as (fake, summarizers):
        fake.wide_tokens = 0.4
        await written(summarizers, talk(KOREAN * 450, "ko"))
        fake.wide_tokens = 1.6
        before = len(fake.questions)
        summary, _ = await written(summarizers, rare)
        asked = fake.questions[before:]
        sizes = [count_tokens(chat["messages"], 1.6) + 2048 for chat in asked]
        await written(summarizers, talk(KOREAN * 130, "ko"))
    assert summary.summary
    assert sizes[0] - 2048 > 16384
    # From then on, upper values: none is too long.
    assert all(size <= 16384 for size in sizes[1:])
    seen = "".join(chat["messages"][1]["content"] for chat in asked[1:])
    assert all(f"[{at}] " in seen for at in range(len(KOREAN) * 74))


async def test_a_prompt_that_is_refused_for_its_length() -> None:
    async with with_ollama() as (fake, summarizers):
        fake.faults = ["too_long", "too_long"]
        summary, _ = await written(summarizers)
    assert summary.summary
    assert len(fake.questions) == 3


async def test_ollama_is_not_there() -> None:
    async with running_ollama() as (_, url):
        pass
    summarizers = Summarizers(SummarySettings(ollama_url=url))
    with pytest.raises(SummarizerUnavailable, match=r"Ollama at http://127.0.0.1:\d+ cannot be reached: start it"):
        await written(summarizers)
    await summarizers.aclose()


async def test_which_model_is_taken() -> None:
    async with with_ollama() as (_fake, summarizers):
        # Neither the embedding model nor the one that runs in a cloud, though they are listed first.
        assert (await summarizers.choose(OPTIONS)).model == "llama3.2:latest"
        named = await summarizers.choose(SummaryOptions(provider="ollama", model="llama3.2"))
        assert named.model == "llama3.2"
        with pytest.raises(SummarizerUnavailable, match="run `ollama pull qwen3`") as caught:
            await summarizers.choose(SummaryOptions(provider="ollama", model="qwen3"))
        assert not caught.value.retry


async def test_no_model_at_all() -> None:
    async with with_ollama() as (fake, summarizers):
        fake.models = fake.models[:2]
        with pytest.raises(SummarizerUnavailable, match="no model that can chat"):
            await summarizers.choose(OPTIONS)
