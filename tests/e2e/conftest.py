"""Every test here is async, and ends in time: what is waited for and never comes fails the test, not the run."""

from __future__ import annotations

import pytest
import trio

from tests.support.sessions import LIMIT_S


@pytest.fixture(autouse=True)
async def time_limit(nursery: trio.Nursery) -> None:
    async def expire() -> None:
        await trio.sleep(LIMIT_S)
        raise AssertionError(f"nothing more happened within {LIMIT_S:.0f} s")

    nursery.start_soon(expire)
