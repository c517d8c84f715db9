"""A new summary of an old session, and the ones that were written before."""

from __future__ import annotations

import json

import pytest

from convo.messages import Error, Summarize
from tests.cli.conftest import Run
from tests.cli.fake import SUMMARY, TRUSTED, FakeDaemon


@pytest.fixture
def history(fake: FakeDaemon) -> FakeDaemon:
    fake.add("aaaa1111", "The budget is fine.", "See you.", title="Budget", created=5.0, summary=SUMMARY)
    fake.add("bbbb3333", "Hello.", title="", created=3.0)
    return fake


def test_summarize_prints_the_new_summary_only(history: FakeDaemon, run: Run) -> None:
    result = run("summarize", "aaaa1", "--provider", "ollama", "--style", "brief")
    assert result.code == 0
    assert result.out.count("They made a plan.") == 1
    (request,) = history.of(Summarize)
    assert (request.provider, request.style) == ("ollama", "brief")
    assert json.loads(run("summarize", "bbbb", "--json").out.splitlines()[-1])["type"] == "final_summary"


def test_summarize_that_is_refused(history: FakeDaemon, run: Run) -> None:
    history.refuse[Summarize] = Error(code="summarizer_unavailable", message="Start Ollama.")
    result = run("summarize", "aaaa1")
    assert (result.code, result.err) == (1, "convo: Start Ollama.\n")


def test_summarize_says_what_each_point_rests_on(history: FakeDaemon, run: Run) -> None:
    history.writes = TRUSTED
    result = run("summarize", "aaaa1")
    assert result.code == 0
    assert result.err == "convo: Look it up: Ada\n"
    assert result.out == (
        "The plan\n\nThey made a plan.\n\n"
        "Key points\n  - A plan was made. [00:02, 00:00]\n  - It is a good one. [no source]\n\n"
        "Action items\n  - Write it down. (Ada, today) [00:02]\n\n"
        "Keywords: plan\n\nNot in the transcript: Ada\n"
    )


def test_summarize_ends_when_nothing_is_written(history: FakeDaemon, run: Run) -> None:
    history.fails_to_write = "Ollama broke off in the middle"
    result = run("summarize", "aaaa1")
    assert result.code == 1
    assert result.err == (
        "convo: Ollama broke off in the middle\nconvo: No summary was written; the earlier ones are kept.\n"
    )
    assert not result.out


def test_a_summarizer_that_was_added_may_be_named(history: FakeDaemon, run: Run) -> None:
    assert run("summarize", "aaaa1", "--provider", "parrot", "--model", "grey", "--language", "ko").code == 0
    (request,) = history.of(Summarize)
    assert (request.provider, request.model, request.language) == ("parrot", "grey", "ko")


def test_older_summaries_are_listed(history: FakeDaemon, run: Run) -> None:
    history.writes = TRUSTED
    run("summarize", "aaaa1")
    rows = [line.split("\t") for line in run("summaries", "aaaa1").out.splitlines()]
    assert [[row[0], *row[2:]] for row in rows] == [
        ["9", "extractive", "minutes", "en", "The plan"],
        ["6", "extractive", "?", "en", "The plan"],
    ]
    assert rows[0][1].startswith("1970-01-1")
    lines = [json.loads(line) for line in run("summaries", "aaaa1", "--json").out.splitlines()]
    assert [(line["seq"], line["summary"]["key_points"]) for line in lines] == [
        (9, ["A plan was made.", "It is a good one."]),
        (6, ["A plan was made."]),
    ]
    assert run("summaries", "bbbb").out == ""


def test_an_older_summary_is_printed(history: FakeDaemon, run: Run) -> None:
    history.writes = TRUSTED
    run("summarize", "aaaa1")
    assert "[no source]" not in run("summaries", "aaaa1", "6").out
    assert "[no source]" in run("summaries", "aaaa1", "9").out
    assert json.loads(run("summaries", "aaaa1", "9", "--json").out)["unverified"] == ["Ada"]
    result = run("summaries", "aaaa1", "7")
    assert (result.code, result.out) == (1, "")
    assert result.err == "convo: There is no summary 7; `convo summaries aaaa1111` lists them.\n"
