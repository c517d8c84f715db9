"""What the fake language-model servers have in common: faults in a row, pauses, broken connections, a program.

In: a request and what the fake makes of it. Out: bytes, cut where the test wants. It knows no wire format.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import trio

from tests.fakes.httpserver import Reply, Request, serve, serving, stall
from tests.fakes.model import FAULTS, answer, faulty

IN_STREAM = ("die", "stall", "pause", "silent", "error_in_stream")
"""Faults that come after the head of the answer."""

F = TypeVar("F", bound="FakeServer")


class FakeServer:
    """`faults` are used up one a question (None is one that goes well), then `fault` holds for all."""

    suffix = ""
    """Of the address at which clients are to look."""

    def __init__(self, fault: str | None) -> None:
        self.fault = fault
        self.faults: list[str | None] = []
        self.paths: list[str] = []
        self.questions: list[dict[str, Any]] = []
        """What was asked for an answer, as it was sent."""
        self.headers: list[dict[str, str]] = []
        self.answers: list[str] = []
        """What the model says instead, one a request."""
        self.chunk_bytes = 0
        """Cut the stream at every so many bytes, in the middle of lines and characters; 0 is one chunk a piece."""
        self.wide_tokens = 1.0
        """What a character of Korean costs the model."""
        self.release = trio.Event()
        self.stalled = trio.Event()
        self.hung_up = trio.Event()

    async def handle(self, request: Request, reply: Reply) -> None:
        self.paths.append(request.path)
        self.headers.append(request.headers)
        await self.respond(request, reply)

    async def respond(self, request: Request, reply: Reply) -> None:
        raise NotImplementedError

    def next_fault(self) -> str | None:
        return self.faults.pop(0) if self.faults else self.fault

    def next_answer(self, messages: list[dict[str, Any]], schema: dict[str, Any] | None, fault: str | None) -> str:
        return self.answers.pop(0) if self.answers else faulty(answer(messages, schema), fault)

    async def stream(self, reply: Reply, fault: str | None, rows: Sequence[bytes], error: bytes) -> None:
        """All rows and an end; or as many as the fault lets through, and how it then fails."""
        if fault not in IN_STREAM:
            await self._write(reply, rows)
            await reply.end()
            return
        await self._write(reply, [] if fault == "silent" else rows[: len(rows) // 2])
        if fault == "die":
            await reply.die()
        elif fault == "error_in_stream":
            await self._write(reply, [error])
            await reply.end()
        else:
            await stall(self.stalled, self.release, self.hung_up, reply)
        if fault == "pause" and not self.hung_up.is_set():
            await self._write(reply, rows[len(rows) // 2 :])
            await reply.end()

    async def _write(self, reply: Reply, rows: Sequence[bytes]) -> None:
        if self.chunk_bytes:
            data = b"".join(rows)
            rows = [data[at : at + self.chunk_bytes] for at in range(0, len(data), self.chunk_bytes)]
        for row in rows:
            await reply.write(row)


@asynccontextmanager
async def running(fake: F) -> AsyncIterator[tuple[F, str]]:
    """The fake and its address, for the time of the block."""
    async with serving(fake.handle) as url:
        yield fake, f"{url}{fake.suffix}"


def main(make: Callable[[argparse.Namespace], FakeServer], about: str | None, port: int, *options: str) -> None:
    """The fake as a program, until it is interrupted; `options` are those that `make` reads, all of text."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, default=port)
    parser.add_argument("--fault", choices=FAULTS)
    for option in options:
        parser.add_argument(option, default="")
    arguments = parser.parse_args()

    async def run() -> None:
        fake = make(arguments)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve, fake.handle, arguments.port)
            print(f"http://127.0.0.1:{port}{fake.suffix}", flush=True)

    with suppress(KeyboardInterrupt):
        trio.run(run)
