from __future__ import annotations

from collections import Counter

import pytest
import trio

from convod.sessions.acks import GATHER_S, Acks


async def test_many_pieces_of_a_session_are_acknowledged_once_and_soon(autojump_clock, nursery):
    acks, calls = Acks(), Counter()
    nursery.start_soon(acks.run)
    for _ in range(50):
        for session in ("a", "b"):
            acks.soon(session, lambda session=session: calls.update([session]))
    began = trio.current_time()
    assert not calls
    await trio.sleep(2 * GATHER_S)
    assert calls == {"a": 1, "b": 1}
    assert trio.current_time() - began == pytest.approx(2 * GATHER_S)


async def test_what_comes_after_an_acknowledgement_gets_another(autojump_clock, nursery):
    acks, calls = Acks(), []
    nursery.start_soon(acks.run)
    for number in range(3):
        acks.soon("a", lambda number=number: calls.append(number))
        await trio.sleep(2 * GATHER_S)
    assert calls == [0, 1, 2]


async def test_of_several_only_the_newest_is_said(autojump_clock, nursery):
    acks, calls = Acks(), []
    nursery.start_soon(acks.run)
    for number in range(3):
        acks.soon("a", lambda number=number: calls.append(number))
    await trio.sleep(1)
    assert calls == [2]
