from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.speech.agreement import (
    COMMIT,
    COMMIT_S,
    SHOW,
    SHOW_PROBABILITY,
    SHOW_S,
    SURE_PROBABILITY,
    SURE_S,
    Caption,
    HypothesisWord,
    LocalAgreement,
    agreed,
    begins_wide,
    pieces,
)

LIKELY = 0.8
"""A word so probable needs a second hypothesis before it is shown."""


def guesses(text: str, age_s: float = 60.0, probability: float = LIKELY) -> list[HypothesisWord]:
    """The words of a text, all of them long past."""
    return [HypothesisWord(piece, age_s, probability) for piece in pieces(text)]


@pytest.mark.parametrize(
    ("hypotheses", "caption"),
    [
        (["so we"], Caption("", "")),  # one hypothesis is a guess
        (["so we"] * SHOW, Caption("", "so we")),
        (["so me", "so we"], Caption("", "so")),
        (["no", "so we"], Caption("", "")),
        (["so we"] * (COMMIT - 1), Caption("", "so we")),
        (["so we"] * COMMIT, Caption("so", "we")),  # the newest word is held back
        (["so we go"] * COMMIT + ["so we go home"] * SHOW, Caption("so we go", "home")),
        (["so me"] + ["so we"] * (COMMIT - 1), Caption("so", "we")),
        (["no"] + ["so we"] * (COMMIT - 1), Caption("", "so we")),
        ([""] * COMMIT, Caption("", "")),
        (["a b c"] * COMMIT + ["a b"], Caption("a b", "c")),  # a shorter one takes nothing back
        (["a b c"] * COMMIT + ["a b"] * COMMIT, Caption("a b", "c")),  # it does not contradict
        (["a b c"] * COMMIT + ["a b x"], Caption("a b", "c")),  # one that contradicts is a guess, too
        (["a b c"] * COMMIT + ["a b x"] * SHOW, Caption("a b", "x")),
        (["a b c"] * COMMIT + ["x y z w"] * SHOW, Caption("a b", "z w")),  # what is stable stays all the same
        (["今日は会議"] * COMMIT, Caption("今日は会", "議")),  # no spaces: each character counts
        (["今日は Convo の日"] * SHOW, Caption("", "今日は Convo の日")),
        (["はい。そうです、！"] * SHOW, Caption("", "はい。そうです、！")),  # nor around their punctuation
    ],
)
def test_what_several_hypotheses_in_a_row_begin_with_alike_is_shown_then_promised(hypotheses, caption):
    agreement = LocalAgreement()
    for hypothesis in hypotheses:
        heard = agreement.update(guesses(hypothesis))
    assert heard == caption


@pytest.mark.parametrize(
    ("age_s", "probability", "passes", "shown"),
    [
        (SURE_S, SURE_PROBABILITY, 1, True),  # sure enough at once
        (SURE_S - 0.01, SURE_PROBABILITY, 1, False),
        (SURE_S, SURE_PROBABILITY - 0.01, 1, False),
        (SHOW_S, SHOW_PROBABILITY, SHOW, True),  # two agree
        (SHOW_S - 0.01, SURE_PROBABILITY, SHOW, False),  # too near the end of the audio
        (60.0, SHOW_PROBABILITY - 0.01, SHOW, False),  # a guess, though the same one twice
        (-0.1, 1.0, SHOW, False),  # alignment may put an end behind the audio's
    ],
)
def test_a_word_is_shown_that_two_agree_on_or_one_is_sure_of_once_it_has_ended(age_s, probability, passes, shown):
    agreement = LocalAgreement()
    for _ in range(passes):
        caption = agreement.update(guesses("so", age_s, probability))
    assert caption == Caption("", "so" if shown else "")


@pytest.mark.parametrize(
    ("text", "wide"), [("中文", True), ("「は」", True), ("한국어", False), ("A 中", False), ("", False)]
)
def test_a_text_in_a_script_without_spaces_is_told_by_its_first_character(text, wide):
    assert begins_wide(text) is wide


def test_no_word_is_shown_behind_one_that_is_not():
    agreement = LocalAgreement()
    for _ in range(COMMIT):
        caption = agreement.update(
            [HypothesisWord("so", 60.0, 0.9), HypothesisWord("me", 60.0, 0.05), HypothesisWord("go", 60.0, 0.9)]
        )
    assert caption.tentative == ""


@pytest.mark.parametrize(
    ("ages", "stable"),
    [
        ([9.0, 8.0, 7.0, 6.0], "so we go"),
        ([9.0, COMMIT_S, COMMIT_S - 0.01, 1.0], "so we"),
        ([COMMIT_S - 0.01, 9.0, 9.0, 9.0], ""),  # the first that is young ends it
    ],
)
def test_a_word_is_promised_when_it_is_old(ages, stable):
    agreement = LocalAgreement()
    for _ in range(COMMIT):
        caption = agreement.update(
            [HypothesisWord(word, age_s) for word, age_s in zip(["so", "we", "go", "home"], ages, strict=True)]
        )
    assert caption.stable == stable
    assert f"{caption.stable} {caption.tentative}".split() == ["so", "we", "go", "home"]


def test_at_a_pause_all_words_are_shown_however_young_or_unlikely():
    agreement = LocalAgreement()
    assert agreement.update(guesses("so we")) == Caption("", "")
    assert agreement.update_at_pause(guesses("so we go", 0.0, 0.1)) == Caption("", "so we go")
    assert agreement.update(guesses("so we")) == Caption("", "so we go")


def test_behind_as_many_words_as_may_be_promised_none_is():
    agreement = LocalAgreement()
    for _ in range(COMMIT):
        assert agreement.update(guesses("so we go home"), 1).stable in ("", "so")
    assert agreement.update_at_pause(guesses("so we go home"), 1) == Caption("so", "we go home")
    assert agreement.update(guesses("so we go home")) == Caption("so we go", "home")


def test_a_gap_is_one_space_whatever_the_model_wrote():
    agreement = LocalAgreement()
    for _ in range(SHOW):
        caption = agreement.update(guesses("  so \n we\tgo "))
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


WORD = st.builds(
    HypothesisWord,
    st.sampled_from(["a", "b", "会"]),
    st.sampled_from([0.0, SHOW_S, SURE_S, COMMIT_S, 60.0]),
    st.sampled_from([0.1, 0.5, 0.95]),
)
HYPOTHESES = st.lists(st.lists(WORD, max_size=6), max_size=30)


@given(HYPOTHESES)
def test_stable_words_are_never_taken_back(hypotheses):
    agreement = LocalAgreement()
    before: list[str] = []
    for hypothesis in hypotheses:
        stable = pieces(agreement.update(hypothesis).stable)
        assert stable[: len(before)] == before
        before = stable


@given(HYPOTHESES)
def test_what_is_shown_goes_away_only_for_what_two_hypotheses_say(hypotheses):
    agreement = LocalAgreement()
    before: list[str] = []
    last: list[str] = []
    for hypothesis in hypotheses:
        words = [guess.text for guess in hypothesis]
        caption = agreement.update(hypothesis)
        shown = pieces(caption.stable) + pieces(caption.tentative)
        if shown[: len(before)] != before:
            assert agreed([last, words]) > agreed([before, shown])
        before, last = shown, words


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40))
def test_of_a_model_that_hears_right_every_word_is_shown_once_it_was_heard_twice(words):
    agreement = LocalAgreement()
    for count in range(1, len(words) + 1):
        caption = agreement.update(guesses(" ".join(words[:count])))
        assert " ".join(filter(None, (caption.stable, caption.tentative))) == " ".join(words[: count - SHOW + 1])
        assert len(caption.stable.split()) == max(0, count - COMMIT + 1)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=12), st.data())
def test_what_is_forgotten_changes_nothing_of_the_rest(hypotheses, data):
    """Hypotheses without their first stable words lead to the captions of the whole ones, without those words."""
    whole, rest = LocalAgreement(), LocalAgreement()
    gone: list[str] = []
    for hypothesis in hypotheses:
        if hypothesis[: len(gone)] != gone:
            continue  # its audio is not heard any more
        one = whole.update(guesses(" ".join(hypothesis)))
        other = rest.update(guesses(" ".join(hypothesis[len(gone) :])))
        assert one.stable.split() == [*gone, *other.stable.split()]
        assert one.tentative == other.tentative
        more = data.draw(st.integers(0, len(other.stable.split())))
        gone += other.stable.split()[:more]
        rest.forget(more)
