"""What the engine needs of workers on other machines: types only. `convod.cluster` has them, and imports the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from convo.messages import ClusterStatus
from convod.engine.wire import FromWorker
from convod.speech.decoding import DecodeJob


class RemoteWorker(Protocol):
    """A slot of a worker on another machine. `batch` is what it decodes."""

    batch: list[DecodeJob]

    @property
    def tells_speakers(self) -> bool:
        """Whether its speaker embedder is the one of this convod."""

    async def decode(self, batch: list[DecodeJob], limit_s: float) -> FromWorker:
        """Decode a batch, as a local `Worker` does; it may also raise `WorkerLost`."""

    def abandon(self, within_s: float) -> None:
        """Nothing waits for what it decodes."""

    def fits(self, job: DecodeJob, now: float) -> bool:
        """Whether a final that leaves now comes back in time."""

    async def wait_batch(self) -> list[DecodeJob]:
        """Wait until it is offered a batch; may raise `WorkerLost`."""


class Lanes(Protocol):
    """The remote workers of an engine. `run` owns their tasks: each calls `Engine.serve_remote`."""

    async def run(self) -> None:
        """Find workers until cancelled."""

    def offer(self, take: Callable[[RemoteWorker], list[DecodeJob]]) -> None:
        """Let idle workers take what may leave."""

    def status(self) -> ClusterStatus:
        """Return the state of the broker and its workers."""

    @property
    def unexpected(self) -> int:
        """Answers that nothing waited for."""

    def ways(self) -> Iterator[tuple[str, str, float]]:
        """Yield worker, host and the seconds to it and back, for each slot in use."""
