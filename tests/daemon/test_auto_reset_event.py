from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from convod.auto_reset_event import AutoResetEvent


async def test_sets_before_a_wait_count_as_one(autojump_clock):
    event = AutoResetEvent()
    for _ in range(3):
        event.set()
    await event.wait()
    with trio.move_on_after(1) as scope:
        await event.wait()
    assert scope.cancelled_caught


async def test_it_wakes_who_waits_and_nobody_twice(autojump_clock):
    event, woken = AutoResetEvent(), []

    async def own() -> None:
        while True:
            await event.wait()
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(own)
        await wait_all_tasks_blocked()
        for time in (1.0, 2.0):
            await trio.sleep(1)
            event.set()
            event.set()
            await wait_all_tasks_blocked()
            assert len(woken) == time
        nursery.cancel_scope.cancel()


async def test_a_set_that_comes_with_a_cancellation_is_not_lost(autojump_clock):
    event = AutoResetEvent()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(event.wait)
            await wait_all_tasks_blocked()
            scope.cancel()
    event.set()
    with trio.fail_after(1):
        await event.wait()


async def test_to_wait_is_to_let_others_run_and_to_be_cancelled():
    event = AutoResetEvent()
    event.set()
    with trio.CancelScope() as scope:
        scope.cancel()
        await event.wait()
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await event.wait()  # it is still there


async def test_only_one_task_may_wait():
    event = AutoResetEvent()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(event.wait)
        await wait_all_tasks_blocked()
        with pytest.raises(AssertionError, match="only one task"):
            await event.wait()
        event.set()
