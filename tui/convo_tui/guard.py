"""Restores the terminal whatever happens to the app: an error, a signal, a crash in a library, SIGKILL.

In: a function that runs the app. Out: its exit status. The app runs in a child process. This one only waits, and resets
the terminal if the child dies without cleaning up. What libraries such as ALSA write to standard error stays off the
screen.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RESET = (
    "\x1b[?2026l"  # synchronised output
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    "\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[?2048l"  # focus, bracketed paste, keyboard, resize reports
    "\x1b[?1049l\x1b[?25h\x1b[0m\x1b]22;default\x1b\\"  # alternate screen, cursor, colours, pointer
)
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def guarded(run: Callable[[], int]) -> int:
    """Run the app in a child process. Returns its exit status, or 128 plus the number of the signal that killed it."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with quiet_libraries():
                status = run()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    old = {number: signal.signal(number, lambda got, frame: _pass_on(child, got)) for number in _FORWARDED}
    try:
        status = _wait(child)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if os.WIFSIGNALED(status):
        with suppress(OSError, termios.error):  # the terminal itself may be gone
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
            os.write(sys.stdout.fileno(), _RESET.encode())
        killer = signal.Signals(os.WTERMSIG(status))
        print(f"convo-tui was killed by {killer.name}; sessions go on in the daemon.", file=sys.stderr)
        return 128 + killer
    return os.WEXITSTATUS(status)


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _wait(child: int) -> int:
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return status
        # Ctrl-Z: the shell waits for this process, so it stops too, and continues with the child.
        os.kill(os.getpid(), signal.SIGSTOP)
        _pass_on(child, signal.SIGCONT)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Give the app its own descriptor to draw on, and discard what others write to standard error."""
    screen = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    error = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    kept = sys.stderr, sys.__stderr__
    sys.stderr = sys.__stderr__ = screen  # type: ignore[misc]
    try:
        yield
    finally:
        screen.flush()
        sys.stderr, sys.__stderr__ = kept  # type: ignore[misc]
        os.dup2(error, 2)
        os.close(nowhere)
        os.close(error)
