"""Signals to stop: at the first one, what must not be lost is saved; the second one ends the process at once.

In: SIGINT, SIGTERM, SIGHUP. Out: one call of `act` in the trio thread, and the number of the signal. A signal that our
parent process had ignored (`nohup`, a job in the background of a script) stays ignored.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

from .errors import Interrupted

_before_leaving: list[Callable[[], None]] = []

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """The signal that came; `signum` is None before one does."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self.signum is not None:
            raise Interrupted(self.signum)


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[Interrupts]:
    """Call `act` at the first signal, in the trio thread; end the process at the second one."""
    token = trio.lowlevel.current_trio_token()
    interrupts = Interrupts()

    def handler(signum: int, frame: FrameType | None) -> None:
        if interrupts.signum is not None:
            _leave(signum)
        interrupts.signum = signum
        token.run_sync_soon(act)

    before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
    for signum, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(signum, handler)
    try:
        yield interrupts
    finally:
        for signum, old in before.items():
            signal.signal(signum, old)


@contextmanager
def before_leaving(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, a second signal calls `act` before it ends the process: for what must not be left behind."""
    _before_leaving.append(act)
    try:
        yield
    finally:
        _before_leaving.remove(act)


def _leave(signum: int) -> None:
    try:
        for act in _before_leaving:
            act()
        if sys.stderr.isatty():  # a progress bar may have hidden the cursor
            os.write(2, b"\x1b[?25h\n")
    finally:
        os._exit(128 + signum)
