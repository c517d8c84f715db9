"""What is shown of an interim and what is promised: policies side by side on the same hypotheses."""

from __future__ import annotations

import trio

from . import policies
from .daemon import Daemon
from .figures import Figures
from .talk import load


async def bench(daemon: Daemon, model: str) -> Figures:
    """Each policy's figures; the daemon is not used."""
    heard = await trio.to_thread.run_sync(policies.hypotheses, [load("talk"), load("minutes")], model)
    return {
        f"shown after {show}, promised after {promise} passes": policies.judge(
            heard, show=show, promise=promise, hold=1
        )
        for show in (1, 2, 3)
        for promise in (2, 3, 4)
        if promise >= show
    }
