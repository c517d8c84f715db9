from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.captions import Agreement, Caption
from convod.captions.interim import (
    PROMISE,
    PROMISE_S,
    SHOW,
    SHOW_PROBABILITY,
    SHOW_S,
    SURE_PROBABILITY,
    SURE_S,
    Guess,
    agreed,
    begins_wide,
    pieces,
)

LIKELY = 0.8
"""A word so probable needs a second hypothesis before it is shown."""


def guesses(text: str, age_s: float = 60.0, probability: float = LIKELY) -> list[Guess]:
    """The words of a text, all of them long past."""
    return [Guess(piece, age_s, probability) for piece in pieces(text)]


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
        (["a b c"] * PROMISE + ["a b"], Caption("a b", "c")),  # a shorter one takes nothing back
        (["a b c"] * PROMISE + ["a b"] * PROMISE, Caption("a b", "c")),  # it does not contradict
        (["a b c"] * PROMISE + ["a b x"], Caption("a b", "c")),  # one that contradicts is a guess, too
        (["a b c"] * PROMISE + ["a b x"] * SHOW, Caption("a b", "x")),
        (["a b c"] * PROMISE + ["x y z w"] * SHOW, Caption("a b", "z w")),  # what is stable stays all the same
        (["今日は会議"] * PROMISE, Caption("今日は会", "議")),  # no spaces: each character counts
        (["今日は Convo の日"] * SHOW, Caption("", "今日は Convo の日")),
        (["はい。そうです、！"] * SHOW, Caption("", "はい。そうです、！")),  # nor around their punctuation
    ],
)
def test_what_several_hypotheses_in_a_row_begin_with_alike_is_shown_then_promised(hypotheses, caption):
    agreement = Agreement()
    for hypothesis in hypotheses:
        heard = agreement.hear(guesses(hypothesis))
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
    agreement = Agreement()
    for _ in range(passes):
        caption = agreement.hear(guesses("so", age_s, probability))
    assert caption == Caption("", "so" if shown else "")


@pytest.mark.parametrize(
    ("text", "wide"), [("中文", True), ("「は」", True), ("한국어", False), ("A 中", False), ("", False)]
)
def test_a_text_in_a_script_without_spaces_is_told_by_its_first_character(text, wide):
    assert begins_wide(text) is wide


def test_no_word_is_shown_behind_one_that_is_not():
    agreement = Agreement()
    for _ in range(PROMISE):
        caption = agreement.hear([Guess("so", 60.0, 0.9), Guess("me", 60.0, 0.05), Guess("go", 60.0, 0.9)])
    assert caption.tentative == ""


@pytest.mark.parametrize(
    ("ages", "stable"),
    [
        ([9.0, 8.0, 7.0, 6.0], "so we go"),
        ([9.0, PROMISE_S, PROMISE_S - 0.01, 1.0], "so we"),
        ([PROMISE_S - 0.01, 9.0, 9.0, 9.0], ""),  # the first that is young ends it
    ],
)
def test_a_word_is_promised_when_it_is_old(ages, stable):
    agreement = Agreement()
    for _ in range(PROMISE):
        caption = agreement.hear(
            [Guess(word, age_s) for word, age_s in zip(["so", "we", "go", "home"], ages, strict=True)]
        )
    assert caption.stable == stable
    assert f"{caption.stable} {caption.tentative}".split() == ["so", "we", "go", "home"]


def test_at_a_pause_all_words_are_shown_however_young_or_unlikely():
    agreement = Agreement()
    assert agreement.hear(guesses("so we")) == Caption("", "")
    assert agreement.hear_all(guesses("so we go", 0.0, 0.1)) == Caption("", "so we go")
    assert agreement.hear(guesses("so we")) == Caption("", "so we go")


def test_behind_as_many_words_as_may_be_promised_none_is():
    agreement = Agreement()
    for _ in range(PROMISE):
        assert agreement.hear(guesses("so we go home"), 1).stable in ("", "so")
    assert agreement.hear_all(guesses("so we go home"), 1) == Caption("so", "we go home")
    assert agreement.hear(guesses("so we go home")) == Caption("so we go", "home")


def test_a_gap_is_one_space_whatever_the_model_wrote():
    agreement = Agreement()
    for _ in range(SHOW):
        caption = agreement.hear(guesses("  so \n we\tgo "))
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
    Guess,
    st.sampled_from(["a", "b", "会"]),
    st.sampled_from([0.0, SHOW_S, SURE_S, PROMISE_S, 60.0]),
    st.sampled_from([0.1, 0.5, 0.95]),
)
HYPOTHESES = st.lists(st.lists(WORD, max_size=6), max_size=30)


@given(HYPOTHESES)
def test_stable_words_are_never_taken_back(hypotheses):
    agreement = Agreement()
    before: list[str] = []
    for hypothesis in hypotheses:
        stable = pieces(agreement.hear(hypothesis).stable)
        assert stable[: len(before)] == before
        before = stable


@given(HYPOTHESES)
def test_what_is_shown_goes_away_only_for_what_two_hypotheses_say(hypotheses):
    agreement = Agreement()
    before: list[str] = []
    last: list[str] = []
    for hypothesis in hypotheses:
        words = [guess.text for guess in hypothesis]
        caption = agreement.hear(hypothesis)
        shown = pieces(caption.stable) + pieces(caption.tentative)
        if shown[: len(before)] != before:
            assert agreed([last, words]) > agreed([before, shown])
        before, last = shown, words


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40))
def test_of_a_model_that_hears_right_every_word_is_shown_once_it_was_heard_twice(words):
    agreement = Agreement()
    for count in range(1, len(words) + 1):
        caption = agreement.hear(guesses(" ".join(words[:count])))
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
        one = whole.hear(guesses(" ".join(hypothesis)))
        other = rest.hear(guesses(" ".join(hypothesis[len(gone) :])))
        assert one.stable.split() == [*gone, *other.stable.split()]
        assert one.tentative == other.tentative
        more = data.draw(st.integers(0, len(other.stable.split())))
        gone += other.stable.split()[:more]
        rest.forget(more)
