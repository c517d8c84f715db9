from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convod.speech.agreement import COMMIT, Caption, joined, pieces
from convod.speech.decoding import Hypothesis, Interims, TimedWord
from convod.speech.partial import FIRST_INTERIM_MS, INTERIM_MS, RARER, SHORTER_S, TRIM_S, PartialHypothesis
from tests.daemon.support.talk import heard

RATE = 16000


def partial_hypothesis() -> PartialHypothesis:
    """An utterance from second 10 on, whose speech was seen at 10.3 s."""
    return PartialHypothesis(RATE, 10 * RATE, round(10.3 * RATE))


def timed(text: str, second: float = 0.5):
    """What is heard of a text whose words take half a second each; none is so probable as to be shown at once."""
    words = [
        TimedWord(start=second * i, end=second * (i + 1), word=word, probability=0.8)
        for i, word in enumerate(text.split())
    ]
    return heard(text, words=words)


def hear(
    utterance: PartialHypothesis, outcome: Hypothesis, start: int | None = None, *, seconds: float = 60.0, **more
) -> Caption:
    """The caption after an interim of so many seconds from sample `start` on, or where the next one is to begin."""
    start = utterance.begin if start is None else start
    return utterance.update(start, start + round(seconds * RATE), outcome, **more)


def pause(utterance: PartialHypothesis, outcome: Hypothesis, *, seconds: float = 60.0, **more) -> Caption:
    """The caption after a pause, so many seconds after the utterance's start."""
    return utterance.paused(10 * RATE, 10 * RATE + round(seconds * RATE), outcome, **more)


def test_the_first_interim_is_due_when_there_is_enough_speech_and_then_every_so_often():
    utterance = partial_hypothesis()
    first = round(10.3 * RATE) + FIRST_INTERIM_MS * RATE // 1000
    assert not utterance.is_due(first - 1)
    assert utterance.is_due(first)
    utterance.asked(first)
    assert not utterance.is_due(first + INTERIM_MS * RATE // 1000 - 1)
    assert utterance.is_due(first + INTERIM_MS * RATE // 1000)


def test_a_caption_without_words_and_the_same_again_are_never_shown():
    utterance = partial_hypothesis()
    assert not utterance.shows(Caption("", ""))
    assert utterance.shows(Caption("", "so"))
    assert not utterance.shows(Caption("", ""))
    assert not utterance.shows(Caption("", "so"))
    assert utterance.committed == ""
    assert utterance.shows(Caption("so", "we"))
    assert utterance.shows(Caption("so we", ""))  # the same words, now committed
    assert not utterance.shows(Caption("so we", ""))
    assert utterance.committed == "so we"


def test_what_is_shown_as_stable_is_promised():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        caption = hear(utterance, heard("so we go"))
    assert utterance.committed == ""
    assert utterance.shows(caption)
    assert utterance.committed == caption.stable == "so we"
    assert utterance.voiced


def test_a_word_is_as_old_as_its_time_in_the_window_says():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        caption = hear(utterance, timed("so we go home again"), seconds=4.0, trim=False)
    assert caption == Caption("so we go", "home again")  # 2.5 s old
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        caption = hear(utterance, timed("so we go home again"), seconds=2.5, trim=False)
    assert caption == Caption("", "so we go home")  # the last one ends with the audio
    assert pause(utterance, timed("so we go home again"), seconds=2.5) == Caption("", "so we go home again")


def test_a_long_utterance_begins_anew_after_its_stable_words():
    utterance = partial_hypothesis()
    begin = utterance.begin
    assert not utterance.is_long(begin + int(TRIM_S * RATE))
    assert utterance.is_long(begin + int(TRIM_S * RATE) + 1)
    for _ in range(COMMIT):
        caption = hear(utterance, timed("so we go home"), begin)
    assert caption == Caption("so we go", "home")
    # A border may cost the word behind it: that is one which is stable.
    assert utterance.begin == begin + round(0.5 * RATE)
    # "home" was heard often enough to be committed as soon as something follows it.
    assert hear(utterance, timed("we go home now")) == Caption("so we go home", "")
    assert utterance.begin == begin + round(1.0 * RATE)
    assert hear(utterance, timed("go home now")) == Caption("so we go home", "now")


@pytest.mark.parametrize("heard_of_it", ["we go home now", "go home now"])
def test_a_border_costs_no_word(heard_of_it):
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        hear(utterance, timed("so we go home"))
    assert utterance.begin == 10 * RATE + round(0.5 * RATE)
    for _ in range(2):
        caption = hear(utterance, timed(heard_of_it))
    assert caption == Caption("so we go home", "now")


def test_trimming_takes_no_word_from_the_screen():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        caption = hear(utterance, timed("so we go home to bed"))
    assert caption == Caption("so we go home to", "bed")
    assert utterance.begin > 10 * RATE
    assert hear(utterance, timed("bed")) == Caption("so we go home to", "bed")


def test_words_behind_a_place_where_it_may_yet_be_cut_are_shown_and_not_promised():
    utterance = partial_hypothesis()
    for _ in range(2 * COMMIT):
        caption = hear(utterance, timed("so we go home"), 10 * RATE, trim=False, safe=11 * RATE)
    assert caption == Caption("so we", "go home")
    assert pause(utterance, timed("so we go home"), safe=11 * RATE) == Caption("so we", "go home")
    # Without times nobody knows which words those are.
    caption = hear(utterance, heard("so we go home"), 10 * RATE, trim=False, safe=12 * RATE)
    assert caption == Caption("so we", "go home")
    assert hear(utterance, timed("so we go home"), 10 * RATE, trim=False) == Caption("so we go", "home")


def test_each_border_may_cost_a_word_so_there_is_none_before_it_is_time():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        hear(utterance, timed("so we go home"), 10 * RATE, trim=False)
    assert utterance.begin == 10 * RATE


@pytest.mark.parametrize(
    ("before", "after", "caption"),
    [
        ("so we go home", "So, we go home now", Caption("so we go home", "")),  # the border was put too early
        ("so we go home", "we go home now", Caption("so we go home", "")),
        ("no no no no", "no no no now", Caption("no no no no", "")),  # said twice, not heard twice
    ],
)
def test_a_word_before_the_border_that_is_heard_once_more_is_no_new_word(before, after, caption):
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        hear(utterance, timed(before))
    assert hear(utterance, timed(after)) == caption


def test_at_a_pause_all_words_are_shown_and_stay_when_the_speaker_goes_on():
    utterance = partial_hypothesis()
    assert hear(utterance, timed("so we")) == Caption("", "")
    assert pause(utterance, timed("so we go home")) == Caption("", "so we go home")
    assert utterance.voiced
    assert hear(utterance, timed("so we go home and")) == Caption("", "so we go home")
    assert hear(utterance, timed("so we")) == Caption("so", "we go home")


def test_at_a_pause_the_words_behind_those_that_were_trimmed_are_shown():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        hear(utterance, timed("so we go home"))
    assert utterance.begin > 10 * RATE
    assert pause(utterance, heard("so we go home to bed")) == Caption("so we go home", "to bed")
    # A text that disagrees takes no committed word back.
    assert pause(utterance, heard("no we go home to bed")) == Caption("so we go home", "to bed")
    assert pause(utterance, heard("no")) == Caption("so we go home", "")


def test_characters_are_trimmed_by_words_that_hold_their_punctuation():
    utterance = partial_hypothesis()
    characters = [*"今日は会", "議、", *"明日も"]
    words = [TimedWord(start=i / 4, end=(i + 1) / 4, word=one, probability=0.8) for i, one in enumerate(characters)]
    for _ in range(COMMIT):
        caption = hear(utterance, heard("今日は会議、明日も", words=words))
    assert caption == Caption("今日は会議、明日", "も")
    assert utterance.begin == 10 * RATE + round(1.25 * RATE)
    # A border inside a timed word: what is before that word goes.
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        caption = hear(utterance, heard("今日は会議、", words=words[:5]))
    assert caption == Caption("今日は会議", "、")
    assert utterance.begin == 10 * RATE + round(0.5 * RATE)
    assert hear(utterance, heard("は会議、")) == Caption("今日は会議", "、")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["so", "we", "go", "会", "議。"]), min_size=1, max_size=14),
    st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 5)), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.7, 3.0]),
)
def test_whatever_is_heard_stable_words_only_grow_and_the_audio_behind_them_is_still_heard(said, passes, late_s):
    """A model hears what was said so far, sometimes with a wrong last word; each word takes half a second.

    The audio goes on `late_s` seconds behind them.
    """
    utterance = partial_hypothesis()
    begin, stable, upto = utterance.begin, [], 0
    for more, wrong, asked in passes:
        upto = min(len(said), upto + more)
        skipped = round((utterance.begin - begin) / RATE / 0.5)
        hypothesis = said[skipped:upto]
        if wrong and hypothesis:
            hypothesis = [*hypothesis[:-1], "wrong"]
        words = [
            TimedWord(start=0.5 * i, end=0.5 * (i + 1), word=word, probability=0.9) for i, word in enumerate(hypothesis)
        ]
        text = joined(hypothesis)
        before = utterance.begin
        end = begin + round((0.5 * upto + late_s) * RATE)
        caption = utterance.update(before, end, heard(text, words=words if asked else None))
        now = pieces(caption.stable)
        assert now[: len(stable)] == stable, "a stable word changed"
        stable = now
        assert before <= utterance.begin <= begin + 0.5 * upto * RATE
        # What was trimmed is committed: nothing else may be left out of the next window.
        gone = round((utterance.begin - begin) / RATE / 0.5)
        if not any(broke for _, broke, _ in passes):
            assert pieces(joined(said[:gone])) == stable[: len(pieces(joined(said[:gone])))]


def test_without_times_nothing_is_trimmed():
    utterance = partial_hypothesis()
    for _ in range(2 * COMMIT):
        hear(utterance, heard("so we go home"))
    assert utterance.begin == 10 * RATE


def test_times_of_other_words_trim_nothing():
    utterance = partial_hypothesis()
    for _ in range(COMMIT):
        hear(utterance, timed("so we go home"), trim=False)
    assert hear(utterance, timed("no we go home")) == Caption("so we go", "home")
    assert utterance.begin == 10 * RATE
    hear(utterance, timed("so we go home"))
    assert utterance.begin == 10 * RATE + round(0.5 * RATE)


def test_under_pressure_it_is_heard_less_often_then_from_a_later_point_then_not_at_all():
    utterance = partial_hypothesis()
    first = round(10.3 * RATE) + FIRST_INTERIM_MS * RATE // 1000
    later = first + (RARER - 1) * INTERIM_MS * RATE // 1000
    for level in (Interims.RARER, Interims.SHORTER):
        assert not utterance.is_due(later - 1, level)
        assert utterance.is_due(later, level)
    assert not utterance.is_due(100 * later, Interims.NONE)
    # One that was renewed while it waited is no reason to ask for the next one later, unless that were at once.
    utterance.asked(first)
    again = first + RARER * INTERIM_MS * RATE // 1000
    utterance.asked(first + RATE // 4, renewed=True)
    assert not utterance.is_due(again - 1, Interims.RARER)
    assert utterance.is_due(again, Interims.RARER)
    utterance.asked(again, renewed=True)
    assert not utterance.is_due(again + 1, Interims.RARER)
    assert utterance.is_due(again + INTERIM_MS * RATE // 1000, Interims.RARER)
    short = utterance.begin + int(SHORTER_S * RATE) + 1
    assert [utterance.is_long(short, level) for level in (Interims.FULL, Interims.RARER, Interims.SHORTER)] == [
        False, False, True,
    ]  # fmt: skip
