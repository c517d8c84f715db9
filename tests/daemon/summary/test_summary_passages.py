"""Which words a question is about, and which texts have them."""

from __future__ import annotations

import pytest

from convod.summary.passages import TERMS, matches, queries, rank, terms_of


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("What did we decide about the budget?", ["decid", "budge"]),
        ("Was haben wir über das Budget beschlossen?", ["budge", "beschloss"]),
        ("예산에 대해 뭐라고 했나요?", ["예산"]),
        ("予算はどうなりましたか", ["予算", "算は"]),
        ("budget BUDGET budgets", ["budge"]),
        ("What was that?", ["what", "was", "that"]),
        ("?! …", []),
    ],
)
def test_terms(question: str, terms: list[str]) -> None:
    found = terms_of(question)
    assert [term for term in terms if term not in found] == []
    assert len(found) <= len(terms) + 2


def test_a_long_question_keeps_its_longest_words() -> None:
    terms = terms_of(" ".join("abcdefghijklmnopqrstuvwxyz"[: 3 + at] + chr(98 + at) for at in range(20)))
    assert len(terms) == TERMS


def test_queries_go_from_narrow_to_wide() -> None:
    assert queries(["a", "b", "c"]) == ["a b c", "b c", "a c", "a b", "a", "b", "c"]
    assert queries(["a", "b"]) == ["a b", "a", "b"]
    assert queries(["a"]) == ["a"]
    assert len(queries([str(at) for at in range(TERMS)])) == TERMS + 1


def test_rare_words_and_several_of_them_come_first() -> None:
    terms = ["decid", "budge"]
    texts = [
        "Let us talk about the budget.",
        "The budget is tight.",
        "We decided on the budget: forty thousand.",
        "Nothing of it.",
        "They were decidedly late.",
        "Budgets again.",
    ]
    masks = matches(terms, texts)
    assert masks == [2, 2, 3, 0, 0, 2]
    assert rank(masks, 2) == [2, 0, 1, 5]
    assert rank(matches(terms, ["we decided", "the budget", "a budget", "budgets"]), 2)[0] == 0
    assert rank([], 2) == []
    assert rank([0, 0], 0) == []
