from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.engine.pressure import CALM_S, RELIEF_S, STEP_S, STRAINED_S, Pressure
from convod.speech.decoding import Interims, Kind

LATE, EARLY = 4 * max(STRAINED_S.values()), CALM_S / 4


def strain(pressure: Pressure, kind: Kind, begin: float, span: float, wait: float = LATE) -> float:
    """Windows of a kind wait `wait` each, ten a second, for `span` seconds of the clock; the time after it."""
    now = begin
    for i in range(round(10 * span)):
        now = begin + i / 10
        pressure.waited(kind, wait, now)
    return now


def test_a_machine_at_ease_gives_all():
    pressure = Pressure()
    strain(pressure, Kind.FINAL, 0.0, 60.0, EARLY)
    strain(pressure, Kind.INTERIM, 60.0, 60.0, EARLY)
    assert pressure.interims is Interims.FULL


def test_late_interims_make_interims_rarer_then_shorter_and_no_less():
    pressure = Pressure()
    seen = []
    now = 10.0
    for _ in range(600):
        now += 0.1
        pressure.waited(Kind.INTERIM, LATE, now)
        if not seen or pressure.interims is not seen[-1]:
            seen.append(pressure.interims)
    assert seen == [Interims.FULL, Interims.RARER, Interims.SHORTER]


def test_late_finals_end_interims_one_step_at_a_time():
    pressure = Pressure()
    steps = []
    now = 10.0
    for _ in range(600):
        now += 0.1
        before = pressure.interims
        pressure.waited(Kind.FINAL, LATE, now)
        if pressure.interims is not before:
            steps.append((pressure.interims, now))
    assert [level for level, _ in steps] == [Interims.RARER, Interims.SHORTER, Interims.NONE]
    times = [time for _, time in steps]
    assert all(later - earlier >= STEP_S for earlier, later in pairwise(times))


def test_relief_comes_step_by_step_and_by_time_alone():
    pressure = Pressure()
    now = strain(pressure, Kind.FINAL, 10.0, 10.0)
    assert pressure.interims is Interims.NONE
    levels = [pressure.look(now + i / 10) for i in range(round(10 * 4 * RELIEF_S))]
    changes = [level for i, level in enumerate(levels) if i and level is not levels[i - 1]]
    assert changes == [Interims.SHORTER, Interims.RARER, Interims.FULL]


def test_one_late_window_changes_nothing():
    pressure = Pressure()
    pressure.waited(Kind.INTERIM, STRAINED_S[Kind.INTERIM], 100.0)
    pressure.waited(Kind.FINAL, STRAINED_S[Kind.FINAL], 100.1)
    assert pressure.look(102.0) is Interims.FULL


@pytest.mark.parametrize(("kind", "level"), [(Kind.INTERIM, Interims.FULL), (Kind.FINAL, Interims.NONE)])
def test_an_interim_may_wait_longer_than_a_final_for_it_is_renewed_meanwhile(kind, level):
    pressure = Pressure()
    strain(pressure, kind, 10.0, 60.0, 0.4)
    assert pressure.interims is level


def test_files_may_wait_as_long_as_they_must():
    pressure = Pressure()
    strain(pressure, Kind.FILE, 10.0, 60.0, 100.0)
    assert pressure.interims is Interims.FULL


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Kind)), st.floats(0, 5), st.floats(0, 3)),
        max_size=200,
    )
)
def test_whatever_comes_levels_move_one_step_at_a_time_and_pressure_ends(happenings):
    pressure = Pressure()
    now, level, changed = 0.0, Interims.FULL, 0.0
    for kind, wait, pause in happenings:
        now += pause
        pressure.waited(kind, wait, now)
        if pressure.interims is not level:
            assert abs(pressure.interims - level) == 1
            assert now - changed >= STEP_S
            level, changed = pressure.interims, now
    for _ in range(200):
        now += RELIEF_S / 10
        pressure.look(now)
    assert pressure.interims is Interims.FULL


@pytest.mark.parametrize("level", list(Interims))
def test_its_names_are_those_of_the_contract(level):
    assert level.name.lower() in ("full", "rarer", "shorter", "none")
