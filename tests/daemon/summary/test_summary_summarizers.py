"""The face of the room: who writes, why, and what happens when nobody can."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
import trio.testing

from convo.messages import Summary, SummaryOptions
from convod.summary import STYLES, Summarizers, SummarizerUnavailable, SummarySettings, Talk
from tests.fakes.ollama import running_ollama
from tests.fakes.openai import running_openai
from tests.fakes.talks import KOREAN, MEETING, talk

AUTO = SummaryOptions()
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVOD_OPENAI_KEY", raising=False)


async def gone() -> str:
    """An address where nobody listens any more."""
    async with running_ollama() as (_, url):
        return url


async def test_auto_takes_ollama_first() -> None:
    async with running_ollama() as (_, ollama_url), running_openai() as (openai, openai_url):
        summarizers = Summarizers(SummarySettings(ollama_url=ollama_url, openai_url=openai_url))
        status = await summarizers.choose(AUTO)
        assert (status.provider, status.model) == ("ollama", "llama3.2:latest")
        assert status.reason == f"auto found Ollama at {ollama_url}"
        assert not openai.paths
        await summarizers.aclose()


async def test_auto_takes_an_openai_compatible_server_next() -> None:
    url = await gone()
    async with running_openai() as (_, openai_url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, openai_url=openai_url))
        assert (await summarizers.choose(AUTO)).provider == "openai"
        summary = await summarizers.write(talk(), AUTO, lambda text: None)
        assert summary.provider == "openai"
        await summarizers.aclose()


async def test_auto_takes_the_extractive_summarizer_last() -> None:
    url = await gone()
    summarizers = Summarizers(SummarySettings(ollama_url=url, openai_url=f"{url}/v1"))
    status = await summarizers.choose(AUTO)
    assert (status.provider, status.model) == ("extractive", "")
    assert status.reason.startswith("auto found no language model (Ollama at http://127.0.0.1:")
    deltas: list[str] = []
    summary = await summarizers.write(talk(), AUTO, deltas.append)
    assert (summary.provider, summary.model, summary.language) == ("extractive", "", "en")
    assert deltas == [summary.summary]
    await summarizers.aclose()


async def test_auto_passes_over_what_is_no_summarizer() -> None:
    """Something else listens on Ollama's port, and the other server wants a key."""
    async with running_openai(key="sk") as (_, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url.removesuffix("/v1"), openai_url=url))
        assert (await summarizers.choose(AUTO)).provider == "extractive"
        await summarizers.aclose()


async def test_auto_wants_the_model_that_was_asked_for() -> None:
    async with running_ollama() as (_, ollama_url), running_openai(model="mine") as (_, openai_url):
        summarizers = Summarizers(SummarySettings(ollama_url=ollama_url, openai_url=openai_url))
        status = await summarizers.choose(SummaryOptions(model="mine"))
        assert (status.provider, status.model) == ("openai", "mine")
        await summarizers.aclose()


async def test_the_choice_is_remembered_for_a_minute(mock_clock: trio.testing.MockClock) -> None:
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, openai_url=NOBODY))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(summarizers.choose, AUTO)
        mock_clock.jump(59)
        await summarizers.choose(AUTO)
        assert ollama.paths == ["/api/tags"]
        mock_clock.jump(2)
        await summarizers.choose(AUTO)
        assert ollama.paths == ["/api/tags"] * 2
        await summarizers.aclose()


async def test_a_failure_in_the_middle_is_raised_and_the_choice_forgotten() -> None:
    async with running_ollama() as (ollama, url), running_openai() as (_, openai_url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, openai_url=openai_url))
        ollama.faults = ["die"]
        with pytest.raises(SummarizerUnavailable) as caught:
            await summarizers.write(talk(), AUTO, lambda text: None)
        assert caught.value.retry
        ollama.models.clear()
        assert (await summarizers.choose(AUTO)).provider == "openai"
        await summarizers.aclose()


async def test_away_and_back_again() -> None:
    summarizers = Summarizers(SummarySettings(provider="ollama", ollama_url=await gone()))
    with pytest.raises(SummarizerUnavailable):
        await summarizers.write(talk(), AUTO, lambda text: None)
    await summarizers.aclose()
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(provider="ollama", ollama_url=url))
        ollama.faults = ["error_500", "die", None]
        for _ in range(2):
            with pytest.raises(SummarizerUnavailable):
                await summarizers.write(talk(), AUTO, lambda text: None)
        assert (await summarizers.write(talk(), AUTO, lambda text: None)).provider == "ollama"
        await summarizers.aclose()


@pytest.mark.parametrize("texts", [[], [""], ["  ", "\n"]])
async def test_a_talk_without_words_asks_no_model(texts: list[str]) -> None:
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(provider="ollama", ollama_url=url))
        deltas: list[str] = []
        summary = await summarizers.write(talk(texts), AUTO, deltas.append)
        assert summary == Summary(
            provider="extractive",
            model="",
            title="",
            summary="",
            key_points=[],
            action_items=[],
            keywords=[],
            language="en",
        )
        assert not deltas
        assert not ollama.paths
        await summarizers.aclose()


@pytest.mark.parametrize(
    ("settings", "options", "of", "language"),
    [
        ("", None, talk(KOREAN, "ko"), "ko"),
        ("", None, Talk("", "", talk(KOREAN, "ko").segments), "ko"),
        ("de", None, talk(), "de"),
        ("de", "fr", talk(), "fr"),
    ],
)
async def test_language(settings: str, options: str | None, of: Talk, language: str) -> None:
    names = {"ko": "Korean", "de": "German", "fr": "French"}
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, language=settings))
        summary = await summarizers.write(of, SummaryOptions(language=options), lambda text: None)
        await summarizers.aclose()
    assert summary.language == language
    assert f"Write in {names[language]}." in ollama.chats[0]["messages"][0]["content"]


async def test_what_the_extractive_summarizer_writes_stays_in_the_language_of_the_talk() -> None:
    summarizers = Summarizers(SummarySettings(provider="extractive", language="de"))
    summary = await summarizers.write(talk(), SummaryOptions(language="fr"), lambda text: None)
    assert summary.language == "en"


@pytest.mark.parametrize("style", STYLES)
async def test_styles(style: str) -> None:
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url))
        await summarizers.write(talk(), SummaryOptions(style=style), lambda text: None)
        await summarizers.aclose()
    assert STYLES[style] in ollama.chats[0]["messages"][0]["content"]


async def test_options_that_cannot_work() -> None:
    summarizers = Summarizers(SummarySettings())
    summarizers.check(AUTO)
    with pytest.raises(ValueError, match="There is no summary style 'haiku': choose one of brief, minutes"):
        summarizers.check(SummaryOptions(style="haiku"))
    with pytest.raises(ValueError, match="There is no summarizer 'cloud': choose one of auto, ollama"):
        summarizers.check(SummaryOptions(provider="cloud"))
    with pytest.raises(SummarizerUnavailable, match="no summary style 'haiku'") as caught:
        await summarizers.write(talk(), SummaryOptions(style="haiku"), lambda text: None)
    assert not caught.value.retry


async def test_a_model_of_the_settings_belongs_to_their_provider() -> None:
    async with running_openai(model="theirs") as (_, url):
        summarizers = Summarizers(SummarySettings(provider="ollama", model="mine", openai_url=url))
        status = await summarizers.choose(SummaryOptions(provider="openai"))
        assert status.model == "theirs"
        await summarizers.aclose()


async def test_notes_survive_a_failure() -> None:
    async with running_ollama(context_length=4096) as (ollama, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url, openai_url=NOBODY))
        long = talk(MEETING * 60)
        ollama.faults = [None, None, "error_500"]
        with pytest.raises(SummarizerUnavailable):
            await summarizers.write(long, AUTO, lambda text: None)
        before = len(ollama.chats)
        await summarizers.write(long, AUTO, lambda text: None)
        assert ollama.chats[before]["messages"] == ollama.chats[2]["messages"]
        await summarizers.aclose()


async def test_eight_hours_end_in_one_summary() -> None:
    async with running_ollama() as (ollama, url):
        summarizers = Summarizers(SummarySettings(ollama_url=url))
        texts = [f"{text} Number {at}." for at, text in enumerate(MEETING * 625)]
        summary = await summarizers.write(talk(texts), AUTO, lambda text: None)
        await summarizers.aclose()
    assert summary.summary
    transcripts = "".join(chat["messages"][1]["content"] for chat in ollama.chats)
    assert all(f"Number {at}.\n" in transcripts for at in range(0, 10_000, 97))


async def test_nothing_is_opened_before_it_is_needed() -> None:
    made = 0

    def factory() -> None:
        nonlocal made
        made += 1

    summarizers = Summarizers(SummarySettings(provider="extractive"), client_factory=factory)  # type: ignore[arg-type]
    await summarizers.write(talk(), AUTO, lambda text: None)
    await summarizers.aclose()
    assert not made


def test_the_room_is_light() -> None:
    """The daemon's parent starts fast: no HTTP library, no numpy, before the first summary."""
    code = "import sys, convod.summary; print([m for m in ('httpx', 'httpcore', 'numpy') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True, text=True
    )
    assert result.stdout.strip() == "[]"
