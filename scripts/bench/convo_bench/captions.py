"""What is shown of an interim and what is promised: policies side by side on the same hypotheses."""

from __future__ import annotations

import trio

from . import policies
from .daemon import Daemon
from .figures import Figures
from .options import Options
from .yardstick import Yardstick


async def bench(daemon: Daemon, options: Options) -> Figures:
    """Each policy's figures; the daemon is not used."""
    talks = options.load_talks()
    if not all(talk.timed for talk in talks):
        yardstick = await trio.to_thread.run_sync(Yardstick, options.model)
        talks = [await trio.to_thread.run_sync(yardstick.time_words, talk) for talk in talks]
    heard = await trio.to_thread.run_sync(policies.hypotheses, talks, options.model)
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
