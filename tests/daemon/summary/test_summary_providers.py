"""A provider is one entry; others may add theirs, and take nobody's place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convo.messages import SummaryOptions
from convod.summary import Summarizers, SummarizerUnavailable, SummarySettings, providers
from convod.summary.base import EXTRACTIVE
from convod.summary.openai import KEY_VARIABLE
from convod.summary.providers import BUILT_IN, GROUP
from tests.daemon.support.summaries import write


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with summarizers, as pip leaves it behind: its metadata is what entry points are read from."""
    about = tmp_path / "parrots-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
    things = {"parrot": "Parrot", "broken": "broken", "gone": "Gone", "ollama": "Parrot"} | {
        "sick": "Sick",
        "dead": "Dead",
    }
    points = [f"{name} = tests.fakes.parrot:{thing}" for name, thing in things.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{providers.GROUP}]", *points, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))


async def test_a_provider_of_another_package() -> None:
    summarizers = Summarizers(SummarySettings())
    options = SummaryOptions(provider="parrot")
    summary, shown = await write(summarizers, options)
    assert (summary.provider, summary.model) == ("parrot", "grey")
    assert shown == summary.summary
    status = await summarizers.choose(options)
    assert status.reason == "chosen by name, a parrot on the shoulder"
    await summarizers.aclose()


def test_names() -> None:
    assert providers.names() == ["auto", "ollama", "openai", "extractive", "broken", "dead", "gone", "parrot", "sick"]


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


def test_the_readme_has_a_row_for_each_and_says_where_it_is_looked_for() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    table = readme.split("| provider | needs | found |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    rows = {row.split("|")[1].strip(" `"): row for row in table.splitlines()}
    assert list(rows) == [*BUILT_IN, EXTRACTIVE, "another"]
    settings = SummarySettings()
    assert f"`{settings.ollama_url}`" in rows["ollama"]
    assert f"`{settings.openai_url}`" in rows["openai"]
    assert f"`{KEY_VARIABLE}`" in rows["openai"]
    assert f"`{GROUP}`" in rows["another"]
    named = {name for row in rows.values() for name in re.findall(r"`summary\.(\w+)`", row)}
    assert named == {"ollama_url", "openai_url", "openai_key_file"} <= set(SummarySettings.__struct_fields__)


def test_a_built_in_name_cannot_be_taken() -> None:
    assert "ollama" not in providers.added()


async def test_a_fault_of_another_package_is_that_of_a_summarizer_and_not_of_the_session() -> None:
    summarizers = Summarizers(SummarySettings())
    with pytest.raises(SummarizerUnavailable, match=r"The summarizer 'sick' failed \(KeyError\)") as caught:
        await write(summarizers, SummaryOptions(provider="sick"))
    assert caught.value.retry
    with pytest.raises(SummarizerUnavailable, match=r"The summarizer 'dead' failed \(ZeroDivisionError\)"):
        await summarizers.choose(SummaryOptions(provider="dead"))
    await summarizers.aclose()
