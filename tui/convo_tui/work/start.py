"""Starts and ends Textual workers: coroutines that belong to a screen or the app, and end with it.

In: a function that makes the coroutine, so that none is left unawaited if the screen closes. Out: the worker.
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
    """Run `work` for `owner`; `exclusive` cancels others of its group. An error in it ends the app."""
    # Textual's annotation does not accept such functions.
    return cast("Worker[None]", owner.run_worker(cast("Any", work), group=group, exclusive=exclusive))


async def ended(worker: Worker[None] | None) -> None:
    """Cancel a worker and wait until it has cleaned up."""
    if worker is not None and not worker.is_finished:
        worker.cancel()
        with suppress(WorkerCancelled, WorkerFailed):
            await worker.wait()
