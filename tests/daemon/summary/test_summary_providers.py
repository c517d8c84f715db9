"""A provider is one entry; others may add theirs, and take nobody's place."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from convo.messages import SummaryOptions
from convod.summary import Summarizers, SummarizerUnavailable, SummarySettings, providers
from tests.fakes.talks import talk


@pytest.fixture(autouse=True)
def _entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        EntryPoint(name=name, value=f"tests.fakes.parrot:{thing}", group=providers.GROUP)
        for name, thing in [("parrot", "Parrot"), ("broken", "broken"), ("gone", "Gone"), ("ollama", "Parrot")]
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.select(group=group))


async def test_a_provider_of_another_package() -> None:
    deltas: list[str] = []
    summarizers = Summarizers(SummarySettings())
    options = SummaryOptions(provider="parrot")
    summary = await summarizers.write(talk(), options, deltas.append)
    assert (summary.provider, summary.model) == ("parrot", "grey")
    assert "".join(deltas) == summary.summary
    status = await summarizers.choose(options)
    assert status.reason == "chosen by name, a parrot on the shoulder"
    await summarizers.aclose()


def test_names() -> None:
    assert providers.names() == ["auto", "ollama", "openai", "extractive", "broken", "gone", "parrot"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"The summarizer 'broken' cannot be loaded \(no cage\)"),
        ("gone", "The summarizer 'gone' cannot be loaded"),
        ("nobody", "There is no summarizer 'nobody': choose one of auto, ollama"),
    ],
)
async def test_what_cannot_be_had(name: str, message: str) -> None:
    summarizers = Summarizers(SummarySettings())
    with pytest.raises(SummarizerUnavailable, match=message) as caught:
        await summarizers.choose(SummaryOptions(provider=name))
    assert not caught.value.retry


def test_a_built_in_name_cannot_be_taken() -> None:
    assert "ollama" not in providers.added()
