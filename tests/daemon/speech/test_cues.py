"""A window's words to segments: a table of borders, and that no letter is lost whatever comes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.speech.agreement import joined
from convod.speech.cues import cues
from convod.speech.decoding import TimedWord


def timed(text: str, begin: float = 0.0) -> list[TimedWord]:
    """The words of a text, half a second each."""
    return [
        TimedWord(start=begin + i / 2, end=begin + (i + 1) / 2, word=word, probability=0.9)
        for i, word in enumerate(text.split())
    ]


def parts(text: str, words: list[TimedWord], ends: list[float]) -> list[tuple[int, str, int]]:
    return [(cue.utterance, cue.text, len(cue.words)) for cue in cues(text, words, ends)]


TWO = "We ship on Friday. Grace writes the notes."


@pytest.mark.parametrize(
    ("text", "ends", "expected"),
    [
        ("", [], []),
        ("", [1.0, 2.0], []),
        ("We ship on Friday", [], [(0, "We ship on Friday", 4)]),
        # At the ends of sentences.
        (TWO, [], [(0, "We ship on Friday.", 4), (0, "Grace writes the notes.", 4)]),
        ("We do. Grace writes the notes.", [], [(0, "We do. Grace writes the notes.", 6)]),  # a short one is no cue
        ("We asked our old Dr. Grace here.", [], [(0, "We asked our old Dr. Grace here.", 7)]),
        # At the ends of utterances, whatever is said there.
        ("We ship on Friday", [1.0], [(0, "We ship", 2), (1, "on Friday", 2)]),
        ("We ship on Friday", [0.5, 1.0, 1.5], [(0, "We", 1), (1, "ship", 1), (2, "on", 1), (3, "Friday", 1)]),
        ("We ship on Friday", [0.7], [(0, "We", 1), (1, "ship on Friday", 3)]),  # by a word's middle
        ("We ship on Friday", [0.8], [(0, "We ship", 2), (1, "on Friday", 2)]),
        # Nothing was said in one.
        ("We ship on Friday", [1.0, 1.1], [(0, "We ship", 2), (2, "on Friday", 2)]),
        ("We ship", [-1.0], [(1, "We ship", 2)]),
        ("We ship", [5.0, 6.0], [(0, "We ship", 2)]),
        (TWO, [2.0], [(0, "We ship on Friday.", 4), (1, "Grace writes the notes.", 4)]),  # one border, not two
    ],
)
def test_a_cue_ends_with_its_utterance_or_a_sentence_of_some_words(text, ends, expected):
    assert parts(text, timed(text), ends) == expected


@pytest.mark.parametrize(("pause_s", "texts"), [(0.9, ["We ship on Friday"]), (1.1, ["We ship", "on Friday"])])
def test_a_cue_ends_where_nobody_speaks_for_a_while(pause_s, texts):
    words = [*timed("We ship"), *timed("on Friday", 1.0 + pause_s)]
    assert [text for _, text, _ in parts("We ship on Friday", words, [])] == texts


def test_a_text_keeps_its_own_spaces():
    """Words of scripts without spaces are characters with their punctuation; a text may have spaces all the same."""
    characters = [*"今日は会", "議。", *"明日も", "だ。"]
    words = [TimedWord(start=i / 2, end=(i + 1) / 2, word=one, probability=0.9) for i, one in enumerate(characters)]
    assert parts("今日は会議。明日もだ。", words, []) == [(0, "今日は会議。", 5), (0, "明日もだ。", 4)]
    assert parts("今日は 会議。 明日もだ。", words, [1.0]) == [
        (0, "今日", 2), (1, "は 会議。 明日もだ。", 7),
    ]  # fmt: skip
    assert parts("今日は Convo", [*words[:3], *timed("Convo", 1.5)], [1.5]) == [(0, "今日は", 3), (1, "Convo", 1)]


def test_words_that_alignment_did_not_give_stay_with_the_last():
    assert parts("We ship on Friday. Yes, we do.", timed("We ship on Friday."), [1.0]) == [
        (0, "We ship", 2), (1, "on Friday. Yes, we do.", 2),
    ]  # fmt: skip


def test_a_word_that_goes_back_in_time_goes_back_to_no_utterance():
    words = timed("We ship", 2.0) + timed("on Friday")
    assert parts("We ship on Friday", words, [1.0]) == [(1, "We ship on Friday", 4)]


WORD = st.sampled_from(
    ["so", "we", "go.", "No!", "Dr.", "会", "議。", "は", "、", "「はい」", "e\u0301", "한국어", "..."]
)
TIMES = st.tuples(st.floats(-1.0, 30.0), st.floats(0.0, 3.0))


@given(
    st.lists(st.tuples(WORD, TIMES), min_size=1, max_size=25),
    st.lists(st.floats(0.0, 30.0), max_size=4).map(sorted),
    st.sampled_from(["", " ", "\n", "  "]),
    st.lists(WORD, max_size=3),
)
def test_no_letter_is_lost_and_no_word_whatever_was_heard(said, ends, space, unaligned):
    """The text has spaces where it likes, and more words at its end than alignment gave."""
    words = [TimedWord(start=start, end=start + length, word=word, probability=0.9) for word, (start, length) in said]
    written = [word for word, _ in said] + unaligned
    for text in (joined(written), space.join(written), f"{space}{' '.join(written)}{space}"):
        found = cues(text, words, ends)
        assert "".join("".join(cue.text for cue in found).split()) == "".join(text.split())
        assert [word for cue in found for word in cue.words] == words
        assert all(cue.text == cue.text.strip() != "" for cue in found)
        utterances = [cue.utterance for cue in found]
        assert utterances == sorted(utterances)
        assert all(0 <= utterance <= len(ends) for utterance in utterances)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_letter_is_lost_where_words_and_text_are_not_the_same(text, other):
    """Alignment may give other characters than the text has."""
    found = cues(text, timed(other), [0.7])
    if found:
        assert "".join("".join(cue.text for cue in found).split()) == "".join(text.split())


def test_a_segment_ends_where_another_one_speaks():
    words = timed("We ship on Friday Grace writes")
    words[4:] = [msgspec.structs.replace(word, turn=1) for word in words[4:]]
    assert parts("We ship on Friday Grace writes", words, []) == [(0, "We ship on Friday", 4), (0, "Grace writes", 2)]
