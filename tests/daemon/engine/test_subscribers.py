from __future__ import annotations

import trio

from convod.engine.pressure import RELIEF_S, STEP_S, STRAINED_S
from convod.engine.subscribers import Subscribers
from convod.speech.commands import LoadChanged, News
from convod.speech.decoding import DecodeJob, Interims, Kind, Options, Window

LATE = 4 * max(STRAINED_S.values())


def job(owner: str) -> DecodeJob:
    return DecodeJob("s", Kind.FINAL, Window(audio=b""), 16000, Options(), owner=owner)


async def test_sessions_are_told_of_their_owners_pressure_and_of_its_end_without_asking(autojump_clock):
    subscribers = Subscribers()
    mine: list[News] = []
    others: list[News] = []
    subscribers.add("mine", "me", mine.append)
    subscribers.add("theirs", "they", others.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscribers.run)
        for _ in range(30):
            subscribers.waited(job("me"), LATE)
            await trio.sleep(STEP_S / 2)
        down = [Interims.RARER, Interims.SHORTER, Interims.NONE]
        assert mine == list(map(LoadChanged, down))
        late: list[News] = []
        subscribers.add("late", "me", late.append)
        assert late == [LoadChanged(Interims.NONE)], "what holds already"
        subscribers.remove("late")
        # Nothing waits any more, so nothing happens but time.
        await trio.sleep(3 * RELIEF_S + 0.1)
        assert mine == list(map(LoadChanged, [*down, Interims.SHORTER, Interims.RARER, Interims.FULL]))
        assert (late, others) == ([LoadChanged(Interims.NONE)], [])
        nursery.cancel_scope.cancel()


async def test_where_no_interims_are_possible_sessions_are_told_once_whatever_the_pressure(autojump_clock):
    subscribers = Subscribers(Interims.NONE)
    told: list[News] = []
    subscribers.add("mine", "me", told.append)
    await trio.sleep(STEP_S)
    for _ in range(10):
        subscribers.waited(job("me"), LATE)
    await trio.sleep(2 * RELIEF_S)
    assert subscribers.interims("me") is subscribers.interims() is Interims.NONE
    assert told == [LoadChanged(Interims.NONE)]


async def test_the_pressure_of_an_owner_who_left_is_forgotten(autojump_clock):
    subscribers = Subscribers()
    await trio.sleep(STEP_S)
    for _ in range(10):
        subscribers.waited(job("me"), LATE)
    assert subscribers.interims("me") is subscribers.interims() is Interims.RARER
    subscribers.owner_gone("me")
    assert subscribers.interims("me") is subscribers.interims() is Interims.FULL
