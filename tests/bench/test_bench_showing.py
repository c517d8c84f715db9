"""Latencies and steadiness of captions, from what came when."""

from __future__ import annotations

import pytest

from convo.messages import TranscriptPartial, TranscriptSegment
from convo_bench.showing import Showing
from convo_bench.talk import Talk, TimedWord, Utterance

WORDS = (TimedWord("one", 1.0), TimedWord("two", 2.0), TimedWord("three", 3.0))


def talk(*utterances: Utterance) -> Talk:
    return Talk("made", b"", utterances or (Utterance(0.5, 3.0, WORDS),))


def partial(stable: str, tentative: str, segment: int = 0, start: float = 0.5) -> TranscriptPartial:
    return TranscriptPartial(
        session="s", segment=segment, start=start, end=start + 1, stable=stable, tentative=tentative
    )


def final(text: str, segment: int = 0, start: float = 0.5, end: float = 3.2) -> TranscriptSegment:
    return TranscriptSegment(
        session="s", seq=1, segment=segment, start=start, end=end, text=text, language="en", confidence=1, lag_ms=0
    )


def steadiness(*partials: TranscriptPartial, text: str = "") -> list[tuple[bool, bool, bool]]:
    """(tentative, stable, kept) of each word that was shown."""
    segments = [(9.0, final(text))] if text else []
    showing = Showing(talk(), segments, [(float(i), one) for i, one in enumerate(partials)])
    return [(word.tentative, word.stable, word.kept) for word in showing.shown_words()]


def test_a_word_is_late_until_it_first_appears_right() -> None:
    showing = Showing(
        talk(),
        [(4.0, final("one two three"))],
        [(1.5, partial("", "one")), (2.3, partial("one", "too")), (2.6, partial("one", "two"))],
    )
    assert showing.word_latencies() == pytest.approx([0.5, 0.6, 1.0])


def test_a_word_that_is_not_yet_said_has_not_appeared() -> None:
    showing = Showing(talk(), [], [(1.5, partial("", "one three"))])
    assert showing.word_latencies() == pytest.approx([0.5])


def test_a_segment_is_late_by_its_own_times_and_by_the_truth() -> None:
    showing = Showing(talk(), [(4.0, final("one two three", end=3.4))])
    assert showing.final_latencies(0.5) == pytest.approx([0.3])
    assert showing.final_latencies_of_truth(0.5) == pytest.approx([0.5])


def test_an_utterance_soon_followed_by_another_may_wait_for_it() -> None:
    second = Utterance(3.6, 5.0, (TimedWord("four", 5.0),))
    showing = Showing(talk(Utterance(0.5, 3.0, WORDS), second), [(6.0, final("one two three four", end=5.2))])
    assert showing.final_latencies_of_truth(0.5) == pytest.approx([0.5])


def test_words_that_stay_are_kept() -> None:
    shown = steadiness(partial("", "one"), partial("one", "two"), text="one two three")
    assert shown == [(True, True, True), (True, False, True)]


def test_a_word_that_another_pushes_aside_has_not_gone() -> None:
    assert steadiness(partial("", "two"), partial("", "one two"), text="one two") == [(True, False, True)] * 2


def test_a_word_that_is_replaced_has_vanished() -> None:
    shown = steadiness(partial("", "one to"), partial("", "one two"), text="one two")
    assert sorted(shown) == [(True, False, False), (True, False, True), (True, False, True)]


def test_a_word_that_comes_back_in_the_end_has_not_vanished() -> None:
    assert steadiness(partial("", "one two"), partial("", "one"), text="one two") == [(True, False, True)] * 2


def test_all_words_of_a_segment_that_is_thrown_away_vanish() -> None:
    assert steadiness(partial("one", "two")) == [(False, True, False), (True, False, False)]


def test_a_caption_is_blank_when_its_words_go() -> None:
    partials = [partial("", ""), partial("", "one"), partial("", ""), partial("", ""), partial("", "two", segment=1)]
    showing = Showing(talk(), [], [(float(i), one) for i, one in enumerate(partials)])
    assert showing.blanks() == 1
