"""What benches and tests of real speech count as an error."""

from __future__ import annotations

import pytest

from convo_bench.comparison import compare, ends, lost_utterances
from convo_bench.scoring import Score, align, characters, unit, units
from convo_bench.talk import Talk, Utterance, guess_ends


def talk_of(*texts: str, language: str = "en") -> Talk:
    """Utterances of a second each, a second apart."""
    utterances = [
        Utterance(2.0 * i, 2.0 * i + 1, tuple(guess_ends(units(text, language), 2.0 * i, 2.0 * i + 1)))
        for i, text in enumerate(texts)
    ]
    return Talk("made", b"", tuple(utterances), language, timed=False)


@pytest.mark.parametrize(
    ("language", "text", "counted"),
    [
        ("en", "Mister O\u2019Neill's well-known \u2018song\u2019 \u2013 okay?", "mr o'neill's well known song ok"),
        ("en", "It cost 3.50, twice.", "it cost 350 twice"),
        ("de", "\u00dcber-gro\u00dfe \u201eÄpfel\u201c", "\u00fcber gro\u00dfe äpfel"),
        ("ko", "그는, 길로 갔다.", "그는 길로 갔다"),
        ("ja", "「Ｋは、きた。」", "k は き た"),
        ("zh", "15 米。", "1 5 米"),
        ("hi", "हिन्दी।", "हिन्दी"),
    ],
)
def test_both_sides_are_counted_without_case_and_punctuation(language: str, text: str, counted: str) -> None:
    assert units(text, language) == counted.split()


def test_characters_are_counted_where_there_are_no_spaces() -> None:
    assert [unit(language) for language in ("en", "ko", "ja", "zh")] == ["word", "word", "character", "character"]
    assert characters(["그는", "길"]) == ["그", "는", "길"]


def test_an_alignment_tells_what_became_of_each_word() -> None:
    found = align(["the", "cat", "sat", "on", "a", "mat"], ["the", "the", "cat", "set", "on", "mat"])
    assert found.score == Score(said=6, substitutions=1, deletions=1, insertions=1)
    assert [place is not None for place in found.places] == [True, True, False, True, False, True]
    assert found.deleted == (False, False, False, False, True, False)
    assert found.score.percent == pytest.approx(50)
    assert found.score + found.score == Score(12, 2, 2, 2)


def test_nothing_heard_is_everything_missing_and_nothing_said_all_added() -> None:
    assert align(["a", "b"], []).score == Score(2, 0, 2, 0)
    assert align([], ["a", "b"]).score == Score(0, 0, 0, 2)


def test_utterances_that_are_lost_and_ends_that_are_cut() -> None:
    talk = talk_of("one two three", "yes", "four five six seven", "eight nine ten")
    heard = align(talk.said, ["one", "two", "tree", "four", "five", "six", "eight", "nine", "ten"])
    assert lost_utterances(talk, heard) == 1
    # An utterance of one word has no end to be cut.
    assert ends(talk, heard) == ["misheard", "missing", "there"]


def test_a_cut_end_counts_only_where_the_other_side_has_it() -> None:
    talk = talk_of("one two three", "four five six", "seven eight nine")
    figures = compare(
        [talk],
        [
            {
                "convo": ["one", "two", "four", "five", "seven", "eight", "nine"],
                "plain": ["one", "two", "three", "four", "five", "sick", "seven", "eight", "nine"],
            }
        ],
    )
    assert figures["ends missing / misheard of 2 that plain has"] == [1, 0]
    assert figures["words missing of 9"] == [2, 0]
    assert figures["word error rate: convo / plain, %"] == [22.22, 11.11]
    assert figures["utterances lost of 3"] == [0, 0]


def test_korean_is_counted_both_ways() -> None:
    talk = talk_of("그는 길로 갔다", language="ko")
    figures = compare([talk], [{"convo": units("그는 길 로 갔다", "ko")}])
    assert figures["word error rate: convo, %"] == [66.67]
    assert figures["character error rate: convo, %"] == [0.0]
