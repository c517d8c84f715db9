"""Starts and ends a worker of Textual's: a coroutine that belongs to a screen or the app, and ends with it.

In: a function that makes the coroutine, so none is left unawaited if the screen goes away. Out: the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from textual.dom import DOMNode
from textual.worker import Worker, WorkerCancelled, WorkerFailed


def start(
    owner: DOMNode, work: Callable[[], Coroutine[Any, Any, None]], *, group: str = "default", exclusive: bool = False
) -> Worker[None]:
    """Run `work` for `owner`; `exclusive` cancels the others of its group. An error in it ends the app."""
    # Textual's own annotation has no room for functions of this kind.
    return cast("Worker[None]", owner.run_worker(cast("Any", work), group=group, exclusive=exclusive))


async def ended(worker: Worker[None] | None) -> None:
    """Cancel a worker and wait until it has tidied up."""
    if worker is not None and not worker.is_finished:
        worker.cancel()
        with suppress(WorkerCancelled, WorkerFailed):
            await worker.wait()
