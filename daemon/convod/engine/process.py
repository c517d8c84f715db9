"""The daemon's side of a worker process: its start, its socket, one batch at a time, its end.

In: what to load, then batches of jobs. Out: the worker's answers, or `WorkerDied` if it ended, hung or sent garbage. It
never chooses what is decoded, nor what becomes of a batch that was lost.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import msgspec
import trio

from convod.engine import environment
from convod.engine.reap import reap
from convod.engine.wire import (
    HEADER,
    FromWorker,
    Load,
    Loaded,
    NotLoaded,
    Part,
    Work,
    frame_length,
    from_worker,
    pack,
)
from convod.speech.decoding import DecodeJob


class WorkerDied(Exception):
    """The worker process ended or hung."""


class WorkerLost(WorkerDied):
    """A worker on another machine cannot be reached: it may be alive, and its windows are not to blame."""


class Abandoned(Exception):
    """The worker was decoding windows that nothing waits for any more."""


class Unloadable(Exception):
    """The worker says that the model cannot be used."""


class Worker:
    """A process and its socket. `batch` is what it decodes, `busy_since` the time (trio's) at which it was given that,
    None while it is idle.
    """

    def __init__(self, process: trio.Process, stream: trio.SocketStream) -> None:
        self.process = process
        self.batch: list[DecodeJob] = []
        self.busy_since: float | None = None
        self._stream = stream
        self._buffer = bytearray()
        self._scope = trio.CancelScope()
        self._abandoned = False

    async def load(self, load: Load, limit_s: float) -> Loaded:
        """Load a model.

        Raises:
            Unloadable: the model cannot be used.
            WorkerDied: it ended, or was not done within `limit_s`.
        """
        await self._send(load)
        with trio.move_on_after(limit_s) as scope:
            answer = await self._receive()
        if scope.cancelled_caught:
            raise WorkerDied(f"it did not load the model within {limit_s:.0f} s")
        if isinstance(answer, NotLoaded):
            raise Unloadable(answer.message)
        assert isinstance(answer, Loaded)
        return answer

    async def decode(self, batch: list[DecodeJob], limit_s: float) -> FromWorker:
        """Decode a batch of windows of one rate and with the same options.

        Raises:
            Abandoned: `abandon` was called, and it was not done in time.
            WorkerDied: it ended, or was not done within `limit_s`.
        """
        self.batch = batch
        try:
            return await self.exchange(work_of(batch), limit_s)
        finally:
            self.batch = []

    async def exchange(self, work: Work, limit_s: float) -> FromWorker:
        """Decode windows; raises what `decode` does."""
        self._abandoned, self.busy_since = False, trio.current_time()
        self._scope = trio.CancelScope(deadline=trio.current_time() + limit_s)
        try:
            with self._scope:
                await self._send(work)
                return await self._receive()
        finally:
            self.busy_since = None
        if self._abandoned:
            raise Abandoned
        raise WorkerDied(f"it did not answer within {limit_s:.0f} s")

    def abandon(self, within_s: float) -> None:
        """Give it `within_s` seconds more: nothing waits for what it decodes."""
        self._abandoned = True
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + within_s)

    async def _send(self, part: Part) -> None:
        try:
            await self._stream.send_all(pack(part))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorkerDied("it closed its socket") from error

    async def _receive(self) -> FromWorker:
        header = await self._exactly(HEADER.size)
        try:
            return from_worker(await self._exactly(frame_length(header)))
        except (ValueError, msgspec.DecodeError) as error:
            raise WorkerDied(f"it sent what is no message: {error}") from error

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = await self._stream.receive_some(1 << 16)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise WorkerDied("it closed its socket") from error
            if not data:
                raise WorkerDied("it ended")
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def work_of(batch: list[DecodeJob]) -> Work:
    """What a worker is given of a batch."""
    return Work(windows=[job.window for job in batch], rate=batch[0].rate, options=batch[0].options)


@contextlib.asynccontextmanager
async def worker_process() -> AsyncIterator[Worker]:
    """Start a worker; its process has ended when the block ends.

    Raises:
        OSError: a process or socket cannot be created.
    """
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(theirs)
        unless_started = stack.enter_context(contextlib.ExitStack())
        unless_started.enter_context(ours)
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "convod.engine.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Ctrl-C and the hang-up of a terminal are for the daemon, which decides when its workers end.
            process_group=0,
            env=environment.for_worker(),
        )
        unless_started.pop_all()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    try:
        yield Worker(process, stream)
    finally:
        await reap(process)
        with trio.CancelScope(shield=True):
            await stream.aclose()
