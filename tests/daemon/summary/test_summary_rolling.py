"""A talk that goes on: each summary is built on the last, whoever writes it, also after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from convo.messages import Segment, Summary, SummaryOptions
from convod.summary import Summarizers, SummarizerUnavailable, SummarySettings, Transcript
from convod.summary.rolling import Rolling
from tests.daemon.support.summaries import Shown
from tests.fakes.ollama import FakeOllama, running_ollama
from tests.fakes.talks import MEETING, talk

TEXTS = [f"{text[:-1]} in round {at}." for at, text in enumerate(MEETING * 40)]
OPTIONS = SummaryOptions(mode="rolling")
NOBODY = "http://127.0.0.1:9"


class Store:
    """A session's segments, as many as were said by now; remembers what was read of them."""

    def __init__(self) -> None:
        self.segments = list(talk(TEXTS).segments)
        self.said = 0
        self.read: list[int] = []

    async def load(self, after: int) -> Sequence[Segment]:
        found = [segment for segment in self.segments[: self.said] if segment.segment > after]
        self.read.append(len(found))
        return found


async def rolled(summarizers: Summarizers, rolling: Rolling, store: Store, said: int) -> tuple[Summary, str]:
    store.said = said
    shown = Shown()
    summary = await summarizers.roll(rolling, Transcript("Stand-up", "en", ()), store.load, OPTIONS, shown)
    return summary, shown.text


def prompts(fake: FakeOllama) -> list[str]:
    return [chat["messages"][1]["content"] for chat in fake.questions]


def settings(url: str, **more: Any) -> SummarySettings:
    return SummarySettings(ollama_url=url, openai_url=f"{NOBODY}/v1", **more)


async def test_each_question_holds_the_last_summary_and_what_is_new() -> None:
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url))
        rolling, store = summarizers.rolling("Stand-up", None), Store()
        first, shown = await rolled(summarizers, rolling, store, 20)
        assert shown == first.summary
        assert first.origin is not None
        assert first.origin.through == 19
        second, shown = await rolled(summarizers, rolling, store, 30)
        assert shown == second.summary
        await summarizers.aclose()
    before, after = prompts(fake)
    assert "[19] See" not in after
    assert "[0] Good morning" in before
    assert "[0] Good morning" not in after
    assert f"So far: {first.title}" in after
    assert "[20] " in after
    assert "[29] " in after
    assert store.read == [20, 10]
    assert rolling.through == 29
    # What was cited before may be cited again, and nothing that was never shown.
    assert second.key_point_sources is not None
    assert {at for sources in second.key_point_sources for at in sources} <= set(range(30))


async def test_the_cost_is_that_of_the_new_talk() -> None:
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url))
        rolling, store = summarizers.rolling("Stand-up", None), Store()
        for said in range(20, 640, 20):
            await rolled(summarizers, rolling, store, said)
        await summarizers.aclose()
    sizes = [len(prompt) for prompt in prompts(fake)]
    assert len(sizes) == 31  # one question each
    assert max(sizes[1:]) < 1.3 * min(sizes[1:])
    assert store.read == [20] * 31


async def test_after_a_restart_it_goes_on_from_what_was_stored() -> None:
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url))
        store = Store()
        first, _ = await rolled(summarizers, summarizers.rolling("Stand-up", None), store, 20)
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=Summary)
        rolling = summarizers.rolling("Stand-up", stored)
        assert rolling.through == 19
        second, _ = await rolled(summarizers, rolling, store, 30)
        await summarizers.aclose()
    assert "[0] Good" not in prompts(fake)[1]
    assert "So far: " in prompts(fake)[1]
    # The words of the beginning are known all the same: "Good morning everyone" was said.
    assert second.unverified == []


async def test_a_failure_loses_nothing() -> None:
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url, provider="ollama"))
        rolling, store = summarizers.rolling("Stand-up", None), Store()
        await rolled(summarizers, rolling, store, 20)
        fake.faults = ["die"]
        with pytest.raises(SummarizerUnavailable):
            await rolled(summarizers, rolling, store, 30)
        assert rolling.through == 19
        await rolled(summarizers, rolling, store, 40)
        await summarizers.aclose()
    assert "[20] " in prompts(fake)[2]
    assert "[39] " in prompts(fake)[2]
    assert rolling.through == 39


async def test_without_a_language_model() -> None:
    summarizers = Summarizers(SummarySettings(provider="extractive"))
    rolling, store = summarizers.rolling("Stand-up", None), Store()
    for said in range(20, 640, 20):
        summary, shown = await rolled(summarizers, rolling, store, said)
        assert summary.provider == "extractive"
        assert shown == summary.summary
        assert summary.origin is not None
        assert summary.origin.through == said - 1
    assert store.read == [20] * 31
    cited = [at for sources in summary.key_point_sources or [] for at in sources]
    assert all(point in TEXTS[at] for point, at in zip(summary.key_points, cited, strict=True))


async def test_the_language_model_comes_and_goes() -> None:
    """The extractive summarizer reads for itself what it has not heard, and goes on with the talk's own words."""
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url))
        rolling, store = summarizers.rolling("Stand-up", None), Store()
        first, _ = await rolled(summarizers, rolling, store, 20)
        fake.models.clear()
        fake.faults = ["die"]
        with pytest.raises(SummarizerUnavailable):
            await rolled(summarizers, rolling, store, 30)
        second, _ = await rolled(summarizers, rolling, store, 30)
        third, _ = await rolled(summarizers, rolling, store, 40)
        await summarizers.aclose()
    assert [first.provider, second.provider, third.provider] == ["ollama", "extractive", "extractive"]
    assert store.read == [20, 10, 30, 10]
    assert "They said" not in second.summary


async def test_what_nobody_said_is_marked() -> None:
    async with running_ollama() as (fake, url):
        summarizers = Summarizers(settings(url))
        rolling, store = summarizers.rolling("Stand-up", None), Store()
        await rolled(summarizers, rolling, store, 20)
        fake.faults = ["made_up"]
        summary, _ = await rolled(summarizers, rolling, store, 30)
        await summarizers.aclose()
    assert summary.unverified == ["4711", "Zebedee"]
    assert summary.key_point_sources == [[]]
