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
    figures: Figures = {
        f"shown after {show}, promised after {passes} passes": policies.judge(
            heard, show=show, promise=policies.agreement(passes)
        )
        for show in (1, 2, 3)
        for passes in (2, 3, 4)
        if passes >= show
    }
    for show in (1, 2):
        for seconds in (0.3, 0.6, 1.0, 1.5):
            figures[f"shown after {show}, promised {seconds} s behind the audio's end"] = policies.judge(
                heard, show=show, promise=policies.margin(seconds)
            )
    return figures
