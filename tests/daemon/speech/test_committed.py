"""Segments keep the words that their captions committed to."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.speech.agreement import pieces
from convod.speech.committed import LETTERS, merge_committed
from convod.speech.decoding import TimedWord


@pytest.mark.parametrize(
    ("committed", "text", "whole"),
    [
        ("", "We ship on Friday.", "We ship on Friday."),
        ("We ship", "We ship on Friday.", "We ship on Friday."),
        ("We ship on Friday.", "We ship on Friday.", "We ship on Friday."),
        ("the plan is to wreck a nice", "the plan is to recognise speech", "the plan is to wreck a nice speech"),
        ("We shipped", "We ship on Friday.", "We shipped on Friday."),
        ("we ship, on", "We ship on Friday.", "we ship, on Friday."),
        ("We ship on Friday and", "We ship on Friday.", "We ship on Friday and"),
        ("and so", "So we ship.", "and so we ship."),
        ("Yes.", "", "Yes."),
        ("今日は会", "今日は会議があります", "今日は会議があります"),
        ("今日わ会", "今日は会議があります", "今日わ会議があります"),
    ],
)
def test_a_segment_begins_with_its_stable_words(committed: str, text: str, whole: str) -> None:
    assert merge_committed(committed, text, None) == (whole, None)


def timed(text: str) -> list[TimedWord]:
    return [
        TimedWord(start=float(i), end=i + 0.8, word=word, probability=0.5) for i, word in enumerate(text.split(), 1)
    ]


def test_its_words_have_times_still() -> None:
    text, words = merge_committed(
        "we will wreck a nice", "we will recognise speech now", timed("we will recognise speech now")
    )
    assert text == "we will wreck a nice speech now"
    assert words is not None
    assert [word.word for word in words] == text.split()
    assert [(word.start, word.end) for word in words][:2] == [(1.0, 1.8), (2.0, 2.8)]
    assert [(word.start, word.end) for word in words][2:5] == [(3.0, 3.4), (3.4, 3.48), (3.48, 3.8)]
    assert [(word.start, word.end) for word in words][5:] == [(4.0, 4.8), (5.0, 5.8)]


@pytest.mark.parametrize(
    ("committed", "languages"),
    [
        ("oh yah so", ["de", "de", "de", "en", "en"]),  # in the place of "Ja, so."
        ("Ja, so. we", ["de", "de", "en", "en"]),  # of "We"
        ("Ja, so. well", ["de", "de", "en", "en"]),
    ],
)
def test_a_promised_word_is_in_the_language_of_what_it_stands_for(committed: str, languages: list[str]) -> None:
    words = [
        msgspec.structs.replace(word, language=language)
        for word, language in zip(timed("Ja, so. We ship."), ["de", "de", "en", "en"], strict=True)
    ]
    _, out = merge_committed(committed, "Ja, so. We ship.", words)
    assert out is not None
    assert [word.language for word in out] == languages


WORDS = st.lists(st.sampled_from(["we", "ship", "shipped", "on", "a", "Friday.", "会", "議", "recognise"]), max_size=12)


@given(WORDS, WORDS)
def test_whatever_was_heard_the_promise_is_kept_and_the_rest_is_what_was_heard(before, after) -> None:
    committed, text = " ".join(before), " ".join(after)
    words = timed(text)
    whole, out = merge_committed(committed, text, words)
    said = pieces(whole)
    assert said[: len(pieces(committed))] == pieces(committed)
    rest = said[len(pieces(committed)) :]
    assert rest == pieces(text)[len(pieces(text)) - len(rest) :]
    assert out is not None
    assert "".join(word.word for word in out).replace(" ", "") == "".join(said)
    ends = [time for word in out for time in (word.start, word.end)]
    assert ends == sorted(ends)


def test_a_long_promise_is_compared_in_words() -> None:
    committed = " ".join(["promise"] * LETTERS)
    whole, _ = merge_committed(committed, " ".join(["heard"] * (LETTERS + 2)), None)
    assert whole == f"{committed} heard heard"
