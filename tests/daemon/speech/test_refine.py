"""Which windows are heard again, and what is made of their text: tables, no audio."""

from __future__ import annotations

import pytest

from convod.speech.decoding import TimedWord
from convod.speech.hallucination import HallucinationFilter
from convod.speech.refine import LONGEST_S, MARGIN_S, RefineWindow, Said, corrections, plan
from tests.daemon.support.talk import heard


def said(*spans: tuple[float, float, float], texts=(), channel: int = 0, language: str = "en") -> list[Said]:
    """Segments by start, end and confidence."""
    return [
        Said(number, start, end, texts[number] if texts else f"text {number}", language, confidence, channel)
        for number, (start, end, confidence) in enumerate(spans)
    ]


@pytest.mark.parametrize(
    ("spans", "numbers"),
    [
        ([], []),
        ([(0, 2, 0.9), (3, 5, 0.75)], []),  # sure enough
        ([(0, 2, 0.5), (3, 5, 0.9), (6, 8, 0.5)], [[0], [2]]),
        ([(0, 2, 0.5), (3, 5, 0.6)], [[0, 1]]),  # a row is one window
        ([(0, 2, 0.5), (8, 9, 0.6)], [[0], [1]]),  # unless it falls silent
        ([(0, 20, 0.5), (20, 30, 0.6)], [[0], [1]]),  # or is too long
        ([(0, LONGEST_S + 1, 0.5), (40, 41, 0.5), (42, 42, 0.1)], [[1]]),  # what no model can hear at once is left
    ],
)
def test_windows_are_rows_of_doubtful_segments(spans, numbers):
    windows = plan(said(*spans), 0.75)
    assert [[one.segment for one in window.said] for window in windows] == numbers


def test_a_window_has_a_margin_as_far_as_nobody_else_speaks_in_it():
    (first, second) = plan(said((0.1, 2, 0.5), (2.1, 4, 0.9), (4.0, 5, 0.5)), 0.75)
    assert (first.begin, first.end) == (0.0, 2.1)
    assert (second.begin, second.end) == (4.0, 5 + MARGIN_S)


def test_channels_and_languages_are_heard_by_themselves_in_the_order_of_their_times():
    one, two = said((0, 2, 0.5), (4, 6, 0.5), channel=1), said((1, 3, 0.5), channel=2)
    assert [(window.channel, window.begin) for window in plan([*one, *two], 0.75)] == [(1, 0.0), (2, 0.7)]
    mixed = [*said((0, 2, 0.5)), *said((2, 4, 0.5), language="de")]
    assert [window.language for window in plan(mixed, 0.75)] == ["en", "de"]


# --- what becomes of the text -----------------------------------------------------------------------------


def window(*texts: str, seconds: float = 2.0, confidence: float = 0.5) -> RefineWindow:
    """Segments that follow each other without a pause."""
    spans = [(seconds * at, seconds * (at + 1), confidence) for at in range(len(texts))]
    return RefineWindow(0.0, seconds * len(texts), tuple(said(*spans, texts=texts)))


def timed(text: str, times: str) -> list[TimedWord]:
    """Each word of a text, half a second long, from the second that is given for it."""
    return [
        TimedWord(start=float(at), end=float(at) + 0.5, word=word, probability=0.9)
        for word, at in zip(text.split(), times.split(), strict=True)
    ]


def corrected(row: RefineWindow, text: str, times: str = "", **figures):
    words = timed(text, times) if times else None
    return corrections(row, heard(text, words=words, **figures), HallucinationFilter())


def test_other_words_correct_a_segment_and_other_commas_do_not():
    row = window("we ship on freddy")
    assert corrected(row, "We ship on Friday.") == {0: "We ship on Friday."}
    assert corrected(row, "We ship, on Freddy.") == {}


@pytest.mark.parametrize(
    "figures",
    [
        {"avg_logprob": -0.8},  # less sure than the first model was
        {"avg_logprob": -0.3, "no_speech_prob": 0.95, "voice_s": 0.0},  # a text of silence
    ],
)
def test_a_doubtful_text_corrects_nothing(figures):
    assert corrected(window("we ship on freddy"), "We ship on Friday.", **figures) == {}


def test_nothing_is_hidden():
    assert corrected(window("we ship on freddy"), "") == {}


@pytest.mark.parametrize(
    ("new", "times", "wanted"),
    [
        # The words that both have say where a segment begins, whatever the times are.
        ("we shipped on freddy the budget is fine", "0 1 2 2.4 2.8 3 3.4 3.8", ("we shipped on freddy", None)),
        ("we ship on Friday the budget is ok", "0 0.5 1 1.5 2 2.5 3 3.5", ("we ship on Friday", "the budget is ok")),
        # Where they differ around the border, the pause does.
        ("we ship on Friday our budget is ok", "0 0.5 1 1.4 2.1 2.5 3 3.5", ("we ship on Friday", "our budget is ok")),
        ("we ship on Friday our budget is ok", "0 0.5 1 2.1 2.5 3 3.4 3.6", ("we ship on", "Friday our budget is ok")),
        # What is heard for one of them alone leaves the other as it was.
        ("the budget is fine", "2 2.5 3 3.5", (None, None)),
    ],
)  # fmt: skip
def test_a_text_is_divided_where_the_first_one_was(new, times, wanted):
    texts = corrected(window("we ship on freddy", "the budget is fine"), new, times)
    assert (texts.get(0), texts.get(1)) == wanted


def test_a_language_without_spaces_is_divided_by_time():
    row = window("今日は雨", "明日は晴")
    words = timed("今日 は 雪 明日 は 晴", "0 0.5 1 2.2 2.7 3.2")
    text = "今日は雪明日は晴"
    assert corrections(row, heard(text, words=words), HallucinationFilter()) == {0: "今日は雪"}


def test_a_row_without_times_is_left_alone():
    assert corrected(window("one", "two"), "three four") == {}
