"""A client that asks without a pause, in a process of its own: what it costs the client, nobody else pays.

In, line by line as JSON: what to ask, over and over, until an empty line comes. Out: a line when it has begun, and one
with how many answers there were, by kind; those that do not come at once are not
waited for. `"$new"` in a request stands for the session of the last answer that named one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import trio

from tests.support.wire import Map, Wire, wired

PATIENCE_S = 0.1
WORKERS = 16
"""Requests that wait for their answer on each connection."""


class Flood:
    """The process, as a test has it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the flood has ended"
        return json.loads(line)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    async def begin(self, token: str, requests: list[Map], connections: int) -> None:
        """Ask these in turn."""
        self._send(json.dumps({"token": token, "requests": requests, "connections": connections}))
        await trio.to_thread.run_sync(self._line)

    async def end(self) -> Counter[str]:
        """Ask no more; how many answers there were, "ok" or by the code of their error."""
        self._send("")
        return Counter(await trio.to_thread.run_sync(self._line))


@contextmanager
def flooding(url: str) -> Iterator[Flood]:
    """A flood of the daemon at that url, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Flood(process)
        finally:
            process.kill()


class _Asker:
    """One connection on which several requests wait at once."""

    def __init__(self, wire: Wire, answers: Counter[str]) -> None:
        self._wire = wire
        self._answers = answers
        self._number = 0
        self._waiting: dict[int, tuple[trio.Event, list[Map]]] = {}
        self._sending = trio.Lock()

    async def receive(self) -> None:
        while (message := await self._wire.receive()) is not None:
            if (waiting := self._waiting.pop(message.get("id", 0), None)) is not None:
                waiting[1].append(message)
                waiting[0].set()

    async def work(self, requests: list[Map], over: trio.Event) -> None:
        new = ""
        while not over.is_set():
            for request in requests:
                if over.is_set():
                    return
                self._number += 1
                number = self._number
                came, answer = self._waiting[number] = trio.Event(), []
                fields = {name: new if value == "$new" else value for name, value in request.items()}
                async with self._sending:
                    await self._wire.send({**fields, "id": number})
                await came.wait()
                new = answer[0].get("session", new)
                self._answers[answer[0].get("code", "ok")] += 1


async def _flood(url: str) -> None:
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        what = json.loads(line)
        over, answers = trio.Event(), Counter[str]()
        async with AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(wired(url, hello=False)) for _ in range(what["connections"])]
            for wire in wires:
                await wire.hello(token=what["token"])
            async with trio.open_nursery() as receivers:
                async with trio.open_nursery() as workers:
                    for wire in wires:
                        asker = _Asker(wire, answers)
                        receivers.start_soon(asker.receive)
                        for _ in range(WORKERS):
                            workers.start_soon(asker.work, what["requests"], over)
                    print("{}", flush=True)
                    await trio.to_thread.run_sync(sys.stdin.readline)
                    over.set()
                    workers.cancel_scope.deadline = trio.current_time() + PATIENCE_S
                receivers.cancel_scope.cancel()
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    trio.run(_flood, sys.argv[1])
