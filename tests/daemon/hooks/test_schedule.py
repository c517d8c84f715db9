from __future__ import annotations

import pytest

from convod.hooks.schedule import FIRST_PAUSE_S, LONGEST_PAUSE_S, Schedule

DAY = 86400.0


def test_deliveries_are_tried_at_once_and_the_oldest_first():
    schedule = Schedule(DAY)
    schedule.add("b", 1.0)
    schedule.add("a", 2.0)
    schedule.add("old", 3.0, since=-100.0)
    assert [schedule.take(3.0) for _ in range(4)] == ["old", "b", "a", None]
    assert len(schedule) == 3


def test_one_that_is_tried_is_not_tried_beside_that():
    schedule = Schedule(DAY)
    schedule.add("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.add("a", 0.0)
    assert schedule.take(0.0) is None
    schedule.done("a")
    assert "a" not in schedule
    assert schedule.next_due() == float("inf")


def test_pauses_grow_up_to_an_hour():
    schedule, now, pauses = Schedule(10 * DAY), 0.0, []
    schedule.add("a", now)
    for _ in range(14):
        assert schedule.take(now) == "a"
        assert schedule.failed("a", now)
        pauses.append(schedule.next_due() - now)
        assert schedule.take(schedule.next_due() - 0.001) is None
        now = schedule.next_due()
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-2:] == [LONGEST_PAUSE_S, LONGEST_PAUSE_S]


@pytest.mark.parametrize(("since", "again"), [(0.0, True), (-DAY + FIRST_PAUSE_S, True), (-DAY, False)])
def test_one_that_fails_for_too_long_is_given_up(since, again):
    schedule = Schedule(DAY)
    schedule.add("a", 0.0, since=since)
    assert schedule.take(0.0) == "a"
    assert schedule.failed("a", 0.0) is again
    assert ("a" in schedule) is again


def test_a_new_end_of_the_session_shortens_the_pause():
    schedule = Schedule(DAY)
    schedule.add("a", 0.0)
    schedule.take(0.0)
    schedule.failed("a", 0.0)
    assert schedule.take(1.0) is None
    schedule.add("a", 1.0)
    assert schedule.take(1.0) == "a"
