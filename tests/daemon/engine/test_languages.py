"""Which language is spoken where: tables of what a model finds probable, and what is made of it."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.engine.languages import Passage, Spoken, among, is_unclear, parts, spoken_in


def found(first: str, probability: float) -> dict[str, float]:
    """What a model finds that is so sure of a language."""
    others = [code for code in ("en", "de", "ko") if code != first]
    return {first: probability, **dict.fromkeys(others, (1.0 - probability) / 2)}


@pytest.mark.parametrize(
    ("language", "probability", "expected", "seconds", "chosen"),
    [
        ("de", 0.4, None, 0.5, ("de", 0.4)),  # nothing is known yet
        ("de", 0.3, "de", 0.5, ("de", 0.3)),
        ("de", 0.92, "en", 2.5, ("de", 0.92)),
        ("de", 0.9, "en", 9.0, ("en", 0.05)),  # not sure
        ("de", 0.99, "en", 1.0, ("en", 0.005)),  # a word or two
        ("de", 0.7, "fr", 0.9, ("de", 0.7)),  # it may not be spoken
    ],
)
def test_a_language_changes_when_another_is_so_much_more_probable_and_enough_is_heard(
    language: str, probability: float, expected: str | None, seconds: float, chosen: tuple[str, float]
) -> None:
    spoken = spoken_in([found(language, probability)], [(0.0, seconds)], expected)
    assert (spoken.language, spoken.passages) == (chosen[0], ())
    assert spoken.probability == pytest.approx(chosen[1])


@pytest.mark.parametrize(
    ("probability", "expected", "others"),
    [
        (0.4, None, [("en", 0.3), ("ko", 0.3)]),
        (0.4, "de", []),
        (0.65, None, []),  # sure
    ],
)
def test_what_else_an_unsure_language_may_be_is_told_where_nothing_is_expected(
    probability: float, expected: str | None, others: list[tuple[str, float]]
) -> None:
    spoken = spoken_in([found("de", probability)], [(0.0, 3.0)], expected)
    assert [language for language, _ in spoken.others] == [language for language, _ in others]
    assert [share for _, share in spoken.others] == pytest.approx([share for _, share in others])


@pytest.mark.parametrize(
    ("language", "expected", "seconds", "others"),
    [
        ("de", "en", 2.5, [("en", 0.02)]),
        ("de", "en", 3.5, []),  # enough is said
        ("de", "de", 2.5, []),
        ("de", "fr", 2.5, []),  # it may not be spoken
    ],
)
def test_a_brief_change_of_language_is_tried_in_the_expected_one(
    language: str, expected: str, seconds: float, others: list[tuple[str, float]]
) -> None:
    spoken = spoken_in([found(language, 0.96)], [(0.0, seconds)], expected)
    assert spoken.language == language
    assert [one for one, _ in spoken.others] == [one for one, _ in others]
    assert [share for _, share in spoken.others] == pytest.approx([share for _, share in others])


SPANS = [(0.0, 4.0), (4.0, 7.0), (7.0, 8.0), (8.0, 12.0)]


@pytest.mark.parametrize(
    ("languages", "expected", "passages"),
    [
        ("de de de de", None, ""),
        ("de de de de", "en", ""),
        ("de de en de", None, ""),  # a second of it: a guess
        ("de en en de", None, "de 0-4, en 4-8, de 8-12"),
        ("en ko ko de", None, "en 0-4, ko 4-8, de 8-12"),
        ("en en en ko", "en", "en 0-8, ko 8-12"),
    ],
)
def test_a_window_has_the_passages_that_are_most_probable_together(
    languages: str, expected: str | None, passages: str
) -> None:
    spoken = spoken_in([found(language, 0.99) for language in languages.split()], SPANS, expected)
    assert ", ".join(f"{one.language} {one.start:.0f}-{one.end:.0f}" for one in spoken.passages) == passages
    assert spoken.language == languages[:2]


def test_the_probability_of_a_language_is_that_of_its_own_utterances() -> None:
    spoken = spoken_in([found("de", 0.9), found("de", 0.6), found("ko", 0.99)], [(0, 6), (6, 9), (9, 13)], None)
    assert spoken == Spoken("de", pytest.approx(0.8), (Passage("de", 0, 9), Passage("ko", 9, 13)))


@given(
    st.lists(
        st.tuples(st.floats(0.01, 15), st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), min_size=1)),
        min_size=1,
    ),
    st.sampled_from(["a", "x", None]),
)
def test_passages_are_of_several_languages_and_leave_nothing_out(
    said: list[tuple[float, dict[str, float]]], expected: str | None
) -> None:
    ends = list(accumulate(seconds for seconds, _ in said))
    spans = list(pairwise([0.0, *ends]))
    passages = spoken_in([one for _, one in said], spans, expected).passages
    assert len(passages) != 1
    if passages:
        assert (passages[0].start, passages[-1].end) == (0, ends[-1])
        for one, following in pairwise(passages):
            assert one.end == following.start
            assert one.language != following.language


@pytest.mark.parametrize(
    ("phrases", "divided"),
    [
        ([], [(0.0, 9.0)]),
        ([(1.0, 8.0)], [(0.0, 9.0)]),
        ([(0.2, 2.8), (3.2, 5.0), (6.0, 8.0)], [(0.0, 3.0), (3.0, 5.5), (5.5, 9.0)]),
    ],
)
def test_a_window_may_be_divided_in_its_pauses(
    phrases: list[tuple[float, float]], divided: list[tuple[float, float]]
) -> None:
    assert parts(phrases, 9.0) == divided


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        (None, {"en": 0.75, "de": 0.25}),  # nobody speaks Latin who does not say so
        (("en", "de"), {"en": 0.75, "de": 0.25}),
        (("en", "la"), {"en": 1 / 3, "la": 2 / 3}),
        (("ko", "de"), {"ko": 0.0, "de": 1.0}),
        (("ko", "ja"), {"ko": 0.5, "ja": 0.5}),
    ],
)
def test_only_languages_that_may_be_spoken_are_found(allowed: tuple[str, ...] | None, left: dict[str, float]) -> None:
    assert among({"en": 0.3, "de": 0.1, "la": 0.6}, allowed) == pytest.approx(left)


@pytest.mark.parametrize(
    ("probability", "seconds", "unclear"), [(0.4, 2.0, True), (0.6, 2.0, False), (0.4, 0.7, False)]
)
def test_a_part_is_looked_at_by_itself_where_that_tells_more(probability: float, seconds: float, unclear: bool) -> None:
    assert is_unclear(found("de", probability), "de", seconds) is unclear
