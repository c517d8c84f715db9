"""Progress bars on a terminal's standard error, each with its speed; nothing where there is no terminal.

In: how much is done of how much. Out: a line for each running task, removed when it is done. This module imports rich
only when there is a terminal to draw on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import on_screen
from .text import clean, tail

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LISTENING = "listening"
"""The label of a bar whose unit is seconds of audio."""

_NAME = 28  # columns for what a bar is about


class Bar:
    """The progress of one task."""

    def show(self, doing: str, done: float, total: float | None) -> None:
        """Show `done` of `total` (None if not known), in any one unit; `doing` is a word or two."""

    def close(self) -> None:
        """Remove the bar."""


class Bars:
    """The bars of all running tasks; this one shows nothing."""

    def add(self, name: str) -> Bar:
        """Add a bar for a task that starts now."""
        return Bar()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hide the bars while something is printed on the same terminal."""
        yield


@contextmanager
def bars() -> Iterator[Bars]:
    """Draw bars if standard error is a terminal; they are removed at the end."""
    if not on_screen(sys.stderr):
        yield Bars()
        return
    drawn = _RichBars()
    with drawn:
        yield drawn


class _RichBars(Bars):
    """Drawn ten times a second, but while something is printed beside them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[speed]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._live: Live | None = None
        self._asides = 0

    def __enter__(self) -> None:
        from rich.live import Live

        # A new one each time: one that starts again wipes off what was printed in between.
        self._live = Live(get_renderable=self._progress.get_renderable, console=self._console, transient=True)
        self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def add(self, name: str) -> Bar:
        task = self._progress.add_task("waiting", total=None, name=tail(clean(name), _NAME), speed="")
        return _RichBar(self._progress, task)

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._asides += 1
        self.__exit__()
        try:
            yield
        finally:
            self._asides -= 1
            if not self._asides:
                self.__enter__()


class _RichBar(Bar):
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._doing = "waiting"
        self._began = (0.0, 0.0)

    def show(self, doing: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        if doing != self._doing:
            # Another unit: the time left must not be guessed from the last one's speed, nor its total be kept.
            self._progress.reset(self._task)
            self._progress.tasks[self._progress.task_ids.index(self._task)].total = None
            self._doing, self._began = doing, (now, done)
        self._progress.update(
            self._task, description=doing, completed=done, total=total, speed=_speed(doing, done, now, *self._began)
        )

    def close(self) -> None:
        self._progress.remove_task(self._task)


def _speed(doing: str, done: float, now: float, began: float, first: float) -> str:
    """Return how many times faster than real time a recording is transcribed; nothing for other tasks."""
    passed = now - began
    return f"{(done - first) / passed:.1f}x" if doing == LISTENING and passed > 0.5 else ""
