"""A clock that jumps ahead deletes nothing that is not as old as it says."""

from __future__ import annotations

import os
import time

import pytest

from convo.messages import CreateSession, State
from convod.sessions.clock import DAY_S, HOLD_S, ClockNote, judge
from convod.sessions.limits import RetentionSettings
from convod.sessions.retention import Retention
from convod.store import Record
from tests.daemon.support.house import House, house

NOW = 1_800_000_000.0
YEAR_S = 365 * DAY_S


@pytest.mark.parametrize(
    ("later", "elapsed", "held"),
    [
        (3600, 3600, 0.0),
        (30 * DAY_S, 30 * DAY_S, 0.0),  # asleep, or simply running
        (14 * 3600, 0, 0.0),  # off overnight
        (2.5 * DAY_S, 0, 2.5 * DAY_S),  # off for a weekend, or wrong
        (YEAR_S, 0, HOLD_S),
        (YEAR_S + 3600, 3600, HOLD_S),
        (-YEAR_S, 0, 0.0),
    ],
)
def test_time_that_nobody_saw_pass_is_waited_for(later, elapsed, held):
    note = judge(ClockNote(NOW), NOW + later, elapsed)
    assert note.seen == NOW + later
    assert note.hold_until == (pytest.approx(NOW + later + held) if held else 0.0)


def test_a_clock_that_goes_back_is_trusted_again():
    note = judge(ClockNote(NOW), NOW + YEAR_S, 0)
    assert note.holds(NOW + YEAR_S)
    assert not judge(note, NOW + 60, 60).holds(NOW + 60)


def test_a_machine_that_is_off_each_weekend_deletes_something_each_week():
    note = ClockNote(NOW)
    trusted = 0
    for week in range(1, 5):
        monday = NOW + week * 7 * DAY_S
        note = judge(note, monday, 0)  # since Friday evening
        for day in range(5):
            for hour in range(10):
                now = monday + day * DAY_S + hour * 3600
                note = judge(note, now, now - note.seen if hour else 0)
                trusted += not note.holds(now)
        note = ClockNote(monday + 4.4 * DAY_S, note.hold_until)
    assert trusted > 40


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now
        self.running = 0.0

    def retention(self, home: House, **settings) -> Retention:
        return Retention(
            home.store, home.spool, RetentionSettings(**{"failed_audio_days": 0.0} | settings), home.manager.forget,
            home.manager.remove_audio, (lambda: self.now, lambda: self.running),
        )  # fmt: skip

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.running += seconds


async def stored(home: House, name: str, created: float, state: State = State.COMPLETED) -> str:
    record = Record(
        id=f"00000000{name}", owner="me", kind="file", title="", state=state, created=created,
        config=CreateSession(kind="file", keep_audio=True), ended=True,
    )  # fmt: skip
    await home.store.create(record)
    file = home.spool.open(record.id)
    file.append(b"audio")
    file.close()
    os.utime(home.spool.path(record.id), (created, created))
    return record.id


async def test_a_year_ahead_loses_nothing_and_back_again_nothing_happened(tmp_path, autojump_clock, caplog):
    async with house(tmp_path, retention=RetentionSettings(failed_audio_days=0.0)) as home:
        clock = Clock(NOW)
        session = await stored(home, "one", NOW - DAY_S)
        failed = await stored(home, "two", NOW - DAY_S, State.FAILED)
        settings = {"bytes": 10_000, "days": 30.0, "audio_days": 10.0, "failed_audio_days": 7.0}
        retention = clock.retention(home, **settings)
        await retention.look()
        clock.now += YEAR_S
        for again in (retention, clock.retention(home, **settings)):  # the same daemon, and after a restart
            await again.look()
            assert "jumped ahead" in (again.message or "")
            assert {one.id for one in await home.store.finished()} == {session, failed}
            assert set(home.spool.sessions()) == {session, failed}
        clock.now -= YEAR_S
        await retention.look()
        assert retention.message is None
        assert set(home.spool.sessions()) == {session, failed}
    assert caplog.text.count("jumped ahead") == 1


async def test_after_a_while_what_is_old_by_that_clock_is_deleted(tmp_path, autojump_clock):
    async with house(tmp_path, retention=RetentionSettings(failed_audio_days=0.0)) as home:
        clock = Clock(NOW)
        await stored(home, "one", NOW - DAY_S)
        retention = clock.retention(home, days=30.0)
        await retention.look()
        clock.now += YEAR_S
        await retention.look()
        for _ in range(7):
            clock.pass_(DAY_S)
            await retention.look()
        assert await home.store.finished() == []


async def test_a_backup_of_a_year_ago_is_not_emptied_when_it_is_restored(tmp_path, autojump_clock):
    async with house(tmp_path, retention=RetentionSettings(failed_audio_days=0.0)) as home:
        session = await stored(home, "one", NOW - YEAR_S)  # of a version that remembered no clock
        await Clock(NOW).retention(home, days=30.0).look()
        assert [one.id for one in await home.store.finished()] == [session]


async def test_audio_that_cannot_be_removed_holds_up_no_other(tmp_path, autojump_clock, caplog, monkeypatch):
    async with house(tmp_path) as home:
        clock = Clock(time.time())
        first, second = [await stored(home, name, clock.now - 7200) for name in ("a", "b")]
        monkeypatch.setattr(home.spool, "sessions", lambda: iter([first, second]))
        home.spool.path(first).unlink()
        home.spool.path(first).mkdir()
        os.utime(home.spool.path(first), (0, 0))
        await clock.retention(home, audio_days=0.01).look()
        assert home.spool.path(first).exists()
        assert not home.spool.path(second).exists()
        assert "could not be removed" in caplog.text
