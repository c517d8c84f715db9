from __future__ import annotations

import pytest

from convo.timeline import Timeline


def placed(timeline: Timeline, *frames: tuple[float | None, float]) -> list[float]:
    """The silence before each frame, given as its time stamp and its length."""
    silences = []
    for at, length in frames:
        silence = timeline.silence_before(at)
        silences.append(round(silence, 6))
        timeline.now += silence + length
    return silences


@pytest.mark.parametrize(
    ("zero", "frames", "silences"),
    [
        pytest.param(0.0, [(0.0, 1), (1.0, 1), (2.0, 1)], [0, 0, 0], id="one after the other"),
        pytest.param(0.0, [(4.0, 1), (5.0, 1)], [4, 0], id="sound that begins late"),
        pytest.param(0.0, [(0.03, 1), (1.03, 1)], [0.03, 0], id="and a little late"),
        pytest.param(1.4, [(1.4, 1), (2.4, 1)], [0, 0], id="a zero elsewhere"),
        pytest.param(0.0, [(0.0, 1), (8.0, 1), (9.0, 1)], [0, 7, 0], id="a gap"),
        pytest.param(0.0, [(0.0, 1), (1.09, 1), (1.95, 1), (3.04, 1)], [0, 0, 0, 0], id="rounded time stamps"),
        pytest.param(
            0.0, [(0.06 * i, 0.03) for i in range(9)], [0, 0, 0, 0, 0.12, 0, 0, 0, 0.12], id="many small gaps"
        ),
        pytest.param(0.0, [(None, 1), (None, 1), (4.0, 1)], [0, 0, 2], id="no time stamps"),
        pytest.param(0.0, [(0.0, 1), (5000.0, 1), (5001.0, 1)], [0, 0, 0], id="another clock"),
        pytest.param(0.0, [(-0.007, 1), (0.993, 1)], [0, 0], id="before the beginning"),
        pytest.param(0.0, [(50.0, 1), (1.0, 1), (2.0, 1), (5.0, 1)], [50, 0, 0, 2], id="back by more than an overlap"),
    ],
)
def test_silence_fills_what_the_time_stamps_leave(zero, frames, silences):
    assert placed(Timeline(zero, None, restarts=False), *frames) == pytest.approx(silences)


def test_a_gap_ends_before_the_announced_end():
    assert placed(Timeline(0.0, 10.0, restarts=False), (0.0, 1), (9.5, 1)) == [0, 8.5]
    assert placed(Timeline(0.0, 10.0, restarts=False), (0.0, 1), (90.0, 1), (91.0, 1)) == [0, 0, 0]


def test_silence_without_an_announced_end_has_one():
    frames = [(3000.0 * i, 1.0) for i in range(5)]
    assert sum(placed(Timeline(0.0, None, restarts=False), *frames)) < 3600


def test_joined_streams_go_on_where_the_first_one_ended():
    assert placed(Timeline(0.0, None, restarts=True), (0.0, 3), (0.0, 3), (3.0, 3), (8.0, 1)) == [0, 0, 0, 2]


def test_sound_that_overlaps_is_owed_until_the_next_time_stamp():
    timeline = Timeline(0.0, None, restarts=False)
    timeline.now = 3.0
    assert timeline.silence_before(2.5) == 0
    assert timeline.overlap == pytest.approx(0.5)
    assert timeline.silence_before(3.0) == 0
    assert timeline.overlap == 0
