from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.captions import Agreement, Caption
from convod.captions.interim import PROMISE, SHOW, agreed, pieces


@pytest.mark.parametrize(
    ("hypotheses", "caption"),
    [
        (["so we"], Caption("", "")),  # one hypothesis is a guess
        (["so we"] * SHOW, Caption("", "so we")),
        (["so me", "so we"], Caption("", "so")),
        (["no", "so we"], Caption("", "")),
        (["so we"] * (PROMISE - 1), Caption("", "so we")),
        (["so we"] * PROMISE, Caption("so", "we")),  # the newest word is held back
        (["so we go"] * PROMISE + ["so we go home"] * SHOW, Caption("so we go", "home")),
        (["so me"] + ["so we"] * (PROMISE - 1), Caption("so", "we")),
        (["no"] + ["so we"] * (PROMISE - 1), Caption("", "so we")),
        ([""] * PROMISE, Caption("", "")),
        (["a b c"] * PROMISE + ["a b"], Caption("a b", "")),  # a shorter one takes nothing back
        (["a b c"] * PROMISE + ["x y z w"] * SHOW, Caption("a b", "z w")),  # nor does one that disagrees
        (["今日は会議"] * PROMISE, Caption("今日は会", "議")),  # no spaces: each character counts
        (["今日は Convo の日"] * SHOW, Caption("", "今日は Convo の日")),
        (["はい。そうです、！"] * SHOW, Caption("", "はい。そうです、！")),  # nor around their punctuation
    ],
)
def test_what_several_hypotheses_in_a_row_begin_with_alike_is_shown_then_promised(hypotheses, caption):
    agreement = Agreement()
    for hypothesis in hypotheses:
        heard = agreement.hear(hypothesis)
    assert heard == caption


def test_a_gap_is_one_space_whatever_the_model_wrote():
    agreement = Agreement()
    for _ in range(SHOW):
        caption = agreement.hear("  so \n we\tgo ")
    assert caption == Caption("", "so we go")


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("so we go.", ["so", "we", "go."]),
        ("", []),
        ("会議です。", ["会", "議", "で", "す", "。"]),
        ("한국어 말", ["한국어", "말"]),
    ],
)
def test_words_are_counted_and_characters_where_there_are_no_spaces(text, counted):
    assert pieces(text) == counted


def test_nothing_agrees_with_nothing():
    assert agreed([]) == agreed([[], ["a"]]) == 0
    assert agreed([["a", "b"], ["a", "b", "c"]]) == 2


TEXTS = st.lists(st.sampled_from(["a", "b", "会"]), max_size=6).map(" ".join)


@given(st.lists(TEXTS, max_size=30))
def test_stable_words_are_never_taken_back(hypotheses):
    agreement = Agreement()
    before: list[str] = []
    for hypothesis in hypotheses:
        stable = pieces(agreement.hear(hypothesis).stable)
        assert stable[: len(before)] == before
        before = stable


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40))
def test_of_a_model_that_hears_right_every_word_is_shown_once_it_was_heard_twice(words):
    agreement = Agreement()
    for count in range(1, len(words) + 1):
        caption = agreement.hear(" ".join(words[:count]))
        assert " ".join(filter(None, (caption.stable, caption.tentative))) == " ".join(words[: count - SHOW + 1])
        assert len(caption.stable.split()) == max(0, count - PROMISE + 1)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=12), st.data())
def test_what_is_forgotten_changes_nothing_of_the_rest(hypotheses, data):
    """Hypotheses without their first stable words lead to the captions of the whole ones, without those words."""
    whole, rest = Agreement(), Agreement()
    gone: list[str] = []
    for hypothesis in hypotheses:
        if hypothesis[: len(gone)] != gone:
            continue  # its audio is not heard any more
        one, other = whole.hear(" ".join(hypothesis)), rest.hear(" ".join(hypothesis[len(gone) :]))
        assert one.stable.split() == [*gone, *other.stable.split()]
        assert one.tentative == other.tentative
        more = data.draw(st.integers(0, len(other.stable.split())))
        gone += other.stable.split()[:more]
        rest.forget(more)
