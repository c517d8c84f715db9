"""Which engines of other models are given up for another one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from convod.engine import pool
from convod.engine.pool import EnginePool, NoRoomForModel
from convod.engine.supervisor import Engine, EngineSettings


@pytest.fixture
async def engines(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> EnginePool:
    """Models that are here, and engines that do nothing until they are cancelled."""

    async def run(engine: Engine) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(pool.models, "here", lambda: [SimpleNamespace(name=name) for name in "abcd"])
    monkeypatch.setattr(Engine, "run", run)
    engines = EnginePool(EngineSettings(model="builtin"))
    await nursery.start(engines.run)
    return engines


async def test_one_that_a_session_may_still_ask_is_not_given_up(engines: EnginePool) -> None:
    """A file that waits in the queue, a live session in which nobody speaks: what they ask would never be answered."""
    first, second = engines.get("a"), engines.get("b")
    for number, engine in enumerate((first, second)):
        engine.state = "unloaded"
        engine.join(f"s{number}", live=bool(number))
    with pytest.raises(NoRoomForModel, match="'a', 'b' are in use"):
        engines.get("c")
    second.forget("s1")
    third = engines.get("c")
    assert engines.get("a") is first
    with pytest.raises(NoRoomForModel, match="'a', 'c' are in use"):
        engines.get("b")  # the third is being loaded
    third.state = "unloaded"
    assert engines.get("b") is not second
