from __future__ import annotations

from convod.captions import Caption, Growing
from convod.captions.growing import FIRST_INTERIM_MS, INTERIM_MS, RARER, SHORTER_S, TRIM_S
from convod.captions.interim import PROMISE, SHOW
from convod.engine.pressure import Interims
from convod.engine.wire import HeardWord
from tests.daemon.support.talk import heard

RATE = 16000


def growing() -> Growing:
    """An utterance from second 10 on, whose speech was seen at 10.3 s."""
    return Growing(RATE, 10 * RATE, round(10.3 * RATE))


def timed(text: str, second: float = 0.5):
    """What is heard of a text whose words take half a second each."""
    words = [
        HeardWord(start=second * i, end=second * (i + 1), word=word, probability=0.9)
        for i, word in enumerate(text.split())
    ]
    return heard(text, words=words)


def test_the_first_interim_is_due_when_there_is_enough_speech_and_then_every_so_often():
    utterance = growing()
    first = round(10.3 * RATE) + FIRST_INTERIM_MS * RATE // 1000
    assert not utterance.is_due(first - 1)
    assert utterance.is_due(first)
    utterance.asked(first)
    assert not utterance.is_due(first + INTERIM_MS * RATE // 1000 - 1)
    assert utterance.is_due(first + INTERIM_MS * RATE // 1000)


def test_nothing_is_shown_before_there_is_something_and_then_it_may_be_taken_back():
    utterance = growing()
    assert not utterance.shows(Caption("", ""))
    assert utterance.shows(Caption("", "so"))
    assert utterance.shows(Caption("", ""))
    assert utterance.promised == ""


def test_what_is_shown_as_stable_is_promised():
    utterance = growing()
    for _ in range(PROMISE):
        caption = utterance.heard(utterance.begin, heard("so we go"))
    assert utterance.promised == ""
    assert utterance.shows(caption)
    assert utterance.promised == caption.stable == "so we"
    assert utterance.voiced


def test_a_long_utterance_asks_for_times_and_begins_anew_after_its_stable_words():
    utterance = growing()
    begin = utterance.begin
    assert not utterance.is_long(begin + int(TRIM_S * RATE))
    assert utterance.is_long(begin + int(TRIM_S * RATE) + 1)
    for _ in range(PROMISE):
        caption = utterance.heard(begin, timed("so we go home"))
    assert caption == Caption("so we go", "home")
    assert utterance.begin == begin + round(1.5 * RATE)
    for _ in range(SHOW):
        caption = utterance.heard(utterance.begin, timed("home now"))
    assert caption == Caption("so we go", "home now")
    for _ in range(PROMISE - SHOW):
        caption = utterance.heard(utterance.begin, timed("home now"))
    assert caption == Caption("so we go home", "now")


def test_without_times_nothing_is_trimmed():
    utterance = growing()
    for _ in range(2 * PROMISE):
        utterance.heard(utterance.begin, heard("so we go home"))
    assert utterance.begin == 10 * RATE


def test_times_of_other_words_trim_nothing():
    utterance = growing()
    for _ in range(PROMISE):
        utterance.heard(utterance.begin, heard("so we go home", words=timed("no we go home").words))
    assert utterance.begin == 10 * RATE


def test_under_pressure_it_is_heard_less_often_then_from_a_later_point_then_not_at_all():
    utterance = growing()
    first = round(10.3 * RATE) + FIRST_INTERIM_MS * RATE // 1000
    later = first + (RARER - 1) * INTERIM_MS * RATE // 1000
    for level in (Interims.RARER, Interims.SHORTER):
        assert not utterance.is_due(later - 1, level)
        assert utterance.is_due(later, level)
    assert not utterance.is_due(100 * later, Interims.NONE)
    short = utterance.begin + int(SHORTER_S * RATE) + 1
    assert [utterance.is_long(short, level) for level in (Interims.FULL, Interims.RARER, Interims.SHORTER)] == [
        False, False, True,
    ]  # fmt: skip
