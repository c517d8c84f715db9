"""`convo ask` against a scripted daemon: sentences with places, passages without a model, JSON."""

from __future__ import annotations

import json

from convo.messages import AnswerSentence, Ask, Error
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon


def talks(fake: FakeDaemon) -> None:
    fake.add("aaaa1111", "The budget is fine.", "See you.", title="Weekly")
    fake.add("bbbb2222", "Another \x1b[2Jbudget.", title="")


def test_each_sentence_says_where_it_comes_from(fake: FakeDaemon, run: Run) -> None:
    talks(fake)
    fake.answer = [
        AnswerSentence(text="It is\x1b[1m fine.", sources=[0, 1, 0]),
        AnswerSentence(text="Zoe says so.", sources=[2], unverified=["Zoe"]),
    ]
    result = run("ask", "What about the budget?")
    assert (result.code, result.out) == (
        0,
        "It is fine. [Weekly 00:00; Weekly 00:02]\nZoe says so. [bbbb2222 00:00] (not in the passages: Zoe)\n",
    )
    assert "1 more sentences are left out" in result.err
    run("ask", "What about the budget?", "aaaa", "--limit", "3")
    asked = [message for message in fake.asked if isinstance(message, Ask)]
    assert (asked[-1].sessions, asked[-1].limit) == (["aaaa1111"], 3)
    assert run("ask", "It?", "aaaa", "--json").out.count("\n") == 1


def test_without_a_model_the_passages_are_shown(fake: FakeDaemon, run: Run) -> None:
    talks(fake)
    result = run("ask", "What about the budget?")
    assert result.out.splitlines() == [
        "aaaa1111\t00:00\tWeekly\tThe budget is fine.",
        "aaaa1111\t00:02\tWeekly\tSee you.",
        "bbbb2222\t00:00\tbbbb2222\tAnother budget.",
    ]
    assert result.err == "convo: No language model answers questions.\n"
    assert json.loads(run("ask", "It?", "--json").out)["reason"] == "No language model answers questions."


def test_refusals(fake: FakeDaemon, run: Run) -> None:
    talks(fake)
    assert "No session" in run("ask", "It?", "zzzz").err or run("ask", "It?", "zzzz").code == 1
    fake.refuse[Ask] = Error(code="busy", message="Wait a moment.")
    assert (run("ask", "It?").code, run("ask", "It?").err) == (1, "convo: Wait a moment.\n")
    assert run("ask", "It?", "--limit", "41").code == 2
