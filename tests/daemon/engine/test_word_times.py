"""Words go where the voice is: a table of both, and what must hold for any."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.engine.word_times import whole_words, within_voice
from convod.speech.decoding import CHUNK_S, TimedWord
from tests.daemon.engine.test_coverage import voice

Said = list[tuple[float, float, str]]


def words(said: Said) -> list[TimedWord]:
    return [TimedWord(start=start, end=end, word=word, probability=0.9) for start, end, word in said]


def spans(timed: list[TimedWord]) -> list[tuple[float, float]]:
    return [(pytest.approx(word.start, abs=CHUNK_S), pytest.approx(word.end, abs=CHUNK_S)) for word in timed]


@pytest.mark.parametrize(
    ("said", "voiced", "expected"),
    [
        # Times that are right stay.
        ([(1.0, 1.5, "we"), (1.5, 2.0, "ship")], [(1.0, 2.0)], [(1.0, 1.5), (1.5, 2.0)]),
        # Twelve seconds of music, and a blip in it that the detector took for a voice.
        ([(0.7, 13.3, "we"), (13.3, 14.0, "ship")], [(4.0, 4.06), (12.3, 14.0)], [(12.3, 13.3), (13.3, 14.0)]),
        ([(0.0, 12.8, "we"), (12.8, 14.0, "ship")], [(0.0, 0.2), (12.9, 14.0)], [(12.9, 13.25), (13.25, 14.0)]),
        # All of a sentence is spread over it.
        (
            [(0.0, 5.0, "we"), (5.0, 11.0, "ship"), (11.0, 14.0, "it")],
            [(12.0, 14.0)],
            [(12.0, 12.5), (12.5, 13.5), (13.5, 14.0)],
        ),
        # The silence behind a sentence was given to its last word, that before one to its first.
        ([(0.0, 0.5, "we"), (0.5, 3.0, "do.")], [(0.0, 1.0)], [(0.0, 0.5), (0.5, 1.0)]),
        (
            [(0.0, 0.5, "do."), (0.5, 3.5, "we"), (3.5, 4.0, "do")],
            [(0.0, 0.5), (3.0, 4.0)],
            [(0.0, 0.5), (3.0, 3.5), (3.5, 4.0)],
        ),
        # A word with voice on both sides of a pause belongs where most of it is, unless it ends a sentence.
        ([(0.0, 0.8, "we"), (0.8, 2.4, "ship")], [(0.0, 1.0), (2.0, 2.4)], [(0.0, 1.0), (2.0, 2.4)]),
        (
            [(0.0, 0.8, "we"), (0.8, 2.4, "do."), (2.4, 3.0, "it")],
            [(0.0, 1.0), (2.0, 3.0)],
            [(0.0, 0.8), (0.8, 1.0), (2.0, 3.0)],
        ),
        # A word without length in silence shares the time of the word beside it, by letters.
        (
            [(0.0, 2.0, "the"), (2.0, 2.0, "store."), (2.5, 3.0, "so")],
            [(0.0, 0.9), (2.4, 3.0)],
            [(0.0, 0.3), (0.3, 0.9), (2.4, 3.0)],
        ),
        (
            [(0.0, 1.0, "do."), (1.6, 1.6, "we"), (2.4, 3.0, "do")],
            [(0.0, 1.0), (2.2, 3.0)],
            [(0.0, 1.0), (2.2, 2.6), (2.6, 3.0)],
        ),
        # A word without length within a voice stays there, and so do the words behind it.
        (
            [(0.0, 1.0, "do."), (1.6, 1.6, "we"), (1.6, 2.0, "ship"), (2.0, 2.5, "it")],
            [(0.0, 1.0), (1.5, 2.5), (4.0, 5.0)],
            [(0.0, 1.0), (1.5, 1.6), (1.6, 2.0), (2.0, 2.5)],
        ),
        # A word in silence takes no word along that has a voice.
        (
            [(0.0, 1.0, "do."), (1.2, 1.4, "we"), (1.4, 1.9, "ship"), (1.9, 2.5, "it")],
            [(0.0, 1.0), (1.5, 2.5), (4.0, 5.0)],
            [(0.0, 1.0), (1.5, 1.64), (1.64, 1.9), (1.9, 2.5)],
        ),
        # The rest of the voice is that of a first or last word; more of it means that words are missing.
        ([(0.7, 1.0, "we"), (1.0, 1.3, "do")], [(0.0, 2.0)], [(0.0, 1.0), (1.0, 2.0)]),
        ([(1.2, 1.5, "we"), (1.5, 1.8, "do")], [(0.0, 3.0)], [(1.2, 1.5), (1.5, 1.8)]),
        # Whispers, and no voice at all.
        ([(0.0, 0.5, "we"), (0.5, 1.0, "do")], [], [(0.0, 0.5), (0.5, 1.0)]),
        ([(0.0, 0.5, "we"), (0.5, 1.0, "do")], [(3.0, 3.2)], [(0.0, 0.5), (0.5, 1.0)]),
        (
            [(0.0, 0.5, "one"), (0.5, 1.0, "or"), (1.0, 1.5, "two"), (4.0, 5.0, "loud")],
            [(4.0, 5.0)],
            [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (4.0, 5.0)],
        ),
        ([], [(0.0, 1.0)], []),
    ],
)
def test_words_are_moved_to_the_voice(said: Said, voiced, expected) -> None:
    assert spans(within_voice(words(said), voice(voiced, 15.0), 15.0)) == [(s, e) for s, e in expected]


TIMES = st.floats(0.0, 20.0)


@given(
    st.lists(st.tuples(TIMES, TIMES, st.sampled_from(["we", "ship", "it.", "今"])), max_size=12).map(sorted),
    st.lists(st.sampled_from([0, 1]), max_size=600).map(bytes),
)
def test_no_word_is_lost_and_none_goes_back(said: Said, voiced: bytes) -> None:
    given_words = [TimedWord(start=a, end=max(a, b), word=word, probability=0.9) for a, b, word in said]
    moved = within_voice(given_words, voiced, 15.0)
    assert [word.word for word in moved] == [word.word for word in given_words]
    assert all(word.start <= word.end for word in moved)
    assert all(one.start <= other.start for one, other in pairwise(moved))


@pytest.mark.parametrize(
    ("parts", "spaced", "words"),
    [
        ([" Il", " dit", " qu", "'on", " sait."], True, ["Il", "dit", "qu'on", "sait."]),
        (["A", " well", "-known", " one"], True, ["A", "well-known", "one"]),
        ([" rock", "-and", "-roll"], True, ["rock-and-roll"]),
        (["今日", "は", "会議"], False, ["今日", "は", "会議"]),
        ([" ", " We", "", " ship"], True, ["We", "ship"]),
        ([], True, []),
    ],
)
def test_a_word_that_the_tokenizer_parts_is_one(parts: list[str], spaced: bool, words: list[str]) -> None:
    timed = [
        TimedWord(start=i / 2, end=i / 2 + 0.4, word=word, probability=0.9 - i / 10) for i, word in enumerate(parts)
    ]
    whole = whole_words(timed, spaced=spaced)
    assert [word.word for word in whole] == words
    for word in whole:
        own = [one for one in timed if one.word.strip() and word.start <= one.start and one.end <= word.end]
        assert "".join(one.word.strip() for one in own) == word.word
        assert word.probability == min(one.probability for one in own)
