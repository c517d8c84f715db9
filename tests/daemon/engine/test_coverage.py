"""Where a window has a voice and no words: tables of both, and what must hold for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.engine.coverage import Gap, uncovered
from convod.engine.voice import CHUNK
from convod.engine.wire import RATE
from convod.speech.decoding import CHUNK_S, TimedWord

Spans = list[tuple[float, float]]


def words(spans: Spans) -> list[TimedWord]:
    return [TimedWord(start=start, end=end, word=f"w{start}", probability=0.9) for start, end in spans]


def voice(spans: Spans, seconds: float) -> bytes:
    """A byte for each chunk of so many seconds, 1 within the spans."""
    count = round(seconds / CHUNK_S)
    return bytes(any(start <= (i + 0.5) * CHUNK_S < end for start, end in spans) for i in range(count))


def test_a_chunk_is_what_the_detector_judges_at_a_time():
    assert CHUNK / RATE == CHUNK_S


EACH_HALF: Spans = [(i / 2, (i + 1) / 2) for i in range(8)]
"""Words from the beginning of a window to its fourth second."""


@pytest.mark.parametrize(
    ("said", "voiced", "seconds", "gap"),
    [
        (EACH_HALF, [(0.0, 4.0)], 4.0, None),
        (EACH_HALF, [], 10.0, None),  # a whisper, perhaps
        ([], [], 4.0, None),
        ([], [], 0.0, None),
        # The text ends early.
        (EACH_HALF, [(0.0, 6.0)], 6.4, (4.0, 6.4, 8, 8)),
        (EACH_HALF, [(0.0, 4.0), (8.0, 9.0)], 9.0, (4.0, 9.0, 8, 8)),
        (EACH_HALF, [(0.0, 4.9)], 6.4, None),  # a long vowel
        (EACH_HALF, [(0.0, 4.0), (5.0, 5.7)], 6.4, None),  # a breath
        ([], [(0.0, 2.0)], 3.2, (0.0, 3.2, 0, 0)),
        ([], [(0.0, 0.7)], 3.2, None),
        # It begins late.
        ([(2.0, 2.5), (2.5, 3.0)], [(0.0, 3.0)], 3.0, (0.0, 2.0, 0, 0)),
        ([(1.0, 1.5), (1.5, 3.0)], [(0.0, 3.0)], 3.0, None),  # but for a breath
        # A word lasts longer than any.
        ([(0.0, 0.5), (0.5, 3.2), (3.2, 3.6)], [(0.0, 3.6)], 3.6, (0.5, 3.2, 1, 2)),
        ([(0.0, 0.5), (0.5, 2.8), (2.8, 3.6)], [(0.0, 3.6)], 3.6, None),
        ([(0.0, 0.5), (0.5, 6.0), (6.0, 6.4)], [(0.0, 1.0), (6.0, 6.4)], 6.4, None),  # of a pause nobody is missing
        # A word has a pause in it.
        ([(0.0, 0.5), (0.5, 2.5), (2.5, 3.0)], [(0.0, 1.2), (1.6, 3.0)], 3.0, (0.5, 2.5, 1, 2)),
        ([(0.0, 0.5), (0.5, 2.5), (2.5, 3.0)], [(0.0, 1.3), (1.5, 3.0)], 3.0, None),  # a short one
        ([(0.0, 0.5), (0.5, 2.0), (2.0, 3.0)], [(0.0, 1.0), (1.4, 3.0)], 3.0, None),  # a short word
        (
            [(0.0, 0.5), (0.5, 2.5), (2.5, 3.0)],
            [(0.0, 0.5), (0.9, 3.0)],
            3.0,
            None,
        ),  # before it: alignment gave it that
    ],
)
def test_a_gap_is_where_a_voice_has_no_words_of_its_own(said, voiced, seconds, gap):
    found = uncovered(words(said), voice(voiced, seconds))
    if gap is None:
        assert found is None
    else:
        assert found == Gap(pytest.approx(gap[0]), pytest.approx(gap[1], abs=CHUNK_S), *gap[2:])


def test_of_several_gaps_the_last_comes_first():
    """What is put in its place leaves the numbers of the words before it as they were."""
    said = words([(2.0, 2.5), (2.5, 6.0), (6.0, 6.5)])
    tail = uncovered(said, voice([(0.0, 9.0)], 9.0))
    assert tail == Gap(6.5, pytest.approx(9.0, abs=CHUNK_S), 3, 3)
    assert uncovered(said, voice([(0.0, 6.5)], 6.5)) == Gap(2.5, 6.0, 1, 2)
    assert uncovered([said[0], said[2]], voice([(0.0, 2.5), (6.0, 6.5)], 6.5)) == Gap(0.0, 2.0, 0, 0)


RUNS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.05, 4.0)), max_size=6)


@given(RUNS, st.floats(0.05, 1.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_words_that_cover_every_voice_within_half_a_second_leave_no_gap(runs, word_s, early, late):
    """Silence and voice by turns, each voice full of words that begin and end a little off."""
    at, voiced, said = 0.0, [], []
    for silence, speech in runs:
        start, end = at + silence, at + silence + speech
        voiced.append((start, end))
        begin, finish = max(0.0, start + early), max(0.0, end + late)
        while begin < finish:
            said.append((begin, min(finish, begin + word_s)))
            begin += word_s
        if not said or said[-1][1] < end - 0.5:
            said.append((end - 0.5, end))  # a voice so short that it would have no word
        at = end
    said.sort()
    assert uncovered(words(said), voice(voiced, at + 0.5)) is None


@given(RUNS, RUNS)
def test_whatever_is_said_a_gap_lies_in_the_window_and_holds_a_voice(runs, voices):
    def spans(of: Spans) -> Spans:
        at, found = 0.0, []
        for silence, length in of:
            found.append((at + silence, at + silence + length))
            at += silence + length
        return found

    said, voiced = spans(runs), spans(voices)
    seconds = max([end for _, end in said + voiced], default=0.0)
    chunks = voice(voiced, seconds)
    gap = uncovered(words(said), chunks)
    if gap is not None:
        assert 0.0 <= gap.start < gap.end <= seconds + CHUNK_S
        assert 0 <= gap.first <= gap.last <= len(said)
        assert gap.last - gap.first <= 1
        inside = chunks[round(gap.start / CHUNK_S) : round(gap.end / CHUNK_S)]
        assert inside.count(1) * CHUNK_S >= 0.8
