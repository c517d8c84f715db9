"""Summaries over the wire of a real OpenAI-compatible server: llama.cpp's, with a model that talks nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from convo.messages import SummaryOptions
from convod.summary import STYLES, Summarizers, SummarizerUnavailable, SummarySettings
from convod.summary.base import Question
from convod.summary.prompt import Wanted, for_whole, schema
from tests.daemon.support.summaries import Shown, write
from tests.fakes.talks import KOREAN, MEETING, talk
from tests.support import llama
from tests.support.daemon import running
from tests.support.sessions import assert_whole, of, talk_live
from tests.support.speech import excerpt

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(llama.MISSING), reason=llama.REASON)]

OPTIONS = SummaryOptions(provider="openai")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llama.serving(tmp_path_factory.mktemp("llama")) as url:
        yield url


@pytest.mark.parametrize("style", STYLES)
async def test_a_summary_in_every_style(server: str, style: str) -> None:
    summarizers = Summarizers(SummarySettings(openai_url=server))
    status = await summarizers.choose(OPTIONS)
    assert (status.model, status.reason) == ("tiny", f"chosen by name, an OpenAI-compatible server at {server[:-3]}")
    shown = Shown()
    summary = await summarizers.write(talk(), SummaryOptions(provider="openai", style=style), shown)
    await summarizers.aclose()
    assert len(shown.pieces) > 5
    assert shown.text == summary.summary
    assert "the sound" in summary.summary
    fields = [part.name for part in STYLES[style].fields]
    assert [section.name for section in summary.sections or []] == fields
    # The grammar of the schema holds for a model that knows nothing: every point has its sources.
    assert summary.key_points
    assert summary.key_point_sources == [[1]] * len(summary.key_points)
    assert summary.action_items[0].sources == [1]


async def test_the_server_says_what_a_prompt_did_cost(server: str) -> None:
    """Also of the same prompt again, which it has in its cache by then."""
    summarizers = Summarizers(SummarySettings(openai_url=server))
    counts: list[int] = []
    for _ in range(2):
        question = Question(
            messages=for_whole(MEETING, Wanted(style=STYLES["brief"], language="en")),
            schema=schema(STYLES["brief"]),
            model="tiny",
            context_tokens=8192,
            answer_tokens=512,
            counted=counts.append,
        )
        async with aclosing(summarizers.chooser.provider("openai").complete(question)) as answer:
            assert [piece async for piece in answer]
    await summarizers.aclose()
    # A token a character, and the marks of the chat template.
    letters = sum(len(message["content"]) for message in question.messages)
    assert counts[0] == counts[1]
    assert letters < counts[0] < 1.2 * letters


async def test_a_talk_beyond_the_context_goes_in_parts(server: str) -> None:
    """A token a character: the server refuses what was thought to fit, and says so in its own words."""
    summarizers = Summarizers(SummarySettings(openai_url=server))
    summary, shown = await write(summarizers, OPTIONS, talk(MEETING * 5))
    korean, _ = await write(summarizers, OPTIONS, talk(KOREAN * 9, "ko"))
    await summarizers.aclose()
    assert summary.summary == shown
    assert korean.summary


async def test_a_context_too_small_for_a_talk(tmp_path: Path) -> None:
    """The server refuses every size that is tried; the reason is said."""
    with llama.serving(tmp_path, context=2048) as url:
        summarizers = Summarizers(SummarySettings(openai_url=url))
        with pytest.raises(SummarizerUnavailable, match="cuts the transcript off at any length") as caught:
            await write(summarizers, OPTIONS, talk(MEETING))
        assert not caught.value.retry
        await summarizers.aclose()


async def test_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVOD_OPENAI_KEY", raising=False)
    key = tmp_path / "key"
    key.write_text("sk-real\n")
    with llama.serving(tmp_path, key="sk-real") as url:
        summarizers = Summarizers(SummarySettings(openai_url=url, openai_key_file=str(key)))
        summary, _ = await write(summarizers, OPTIONS)
        assert summary.provider == "openai"
        key.write_text("sk-wrong\n")
        with pytest.raises(SummarizerUnavailable, match="refused the key") as caught:
            await write(summarizers, OPTIONS)
        assert not caught.value.retry
        assert "sk-wrong" not in str(caught.value)
        await summarizers.aclose()


async def test_cancelling_leaves_the_server_free(server: str) -> None:
    summarizers = Summarizers(SummarySettings(openai_url=server))
    begun = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(summarizers.write, talk(MEETING * 4), OPTIONS, lambda *_: begun.set())
        await begun.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(30):  # it has one slot
        assert (await write(summarizers, OPTIONS))[0].summary
    await summarizers.aclose()


async def test_the_whole_daemon(server: str, tmp_path: Path) -> None:
    environment = {"CONVOD_SUMMARY_OPENAI_URL": server, "CONVOD_SESSIONS_ROLLING_S": "4"}
    with running(tmp_path, environment=environment) as daemon:
        async with convo.connect(daemon.url) as client:
            status = await client.request(messages.Status())
            assert status.summarizer is not None
            assert (status.summarizer.provider, status.summarizer.model) == ("openai", "tiny")
            options = SummaryOptions(mode="rolling", style="minutes")
            events = await talk_live(client, excerpt("talk", 16.3)[0], summary=options)
    assert_whole(events)
    (summary,) = of(messages.FinalSummary, events)
    assert (summary.provider, summary.model) == ("openai", "tiny")
    assert [section.name for section in summary.sections or []] == ["discussion", "decisions", "open_questions"]
