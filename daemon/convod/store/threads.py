"""Databases behind queues: one thread writes, one makes short reads, a few make long ones; the event loop never waits
for a disk or a network.

In: functions that take a connection. Out: what they return. Writes that wait together are committed together, and a
write has been committed when its call returns. What a connection is, a subclass knows. It knows nothing of sessions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final, Generic, TypeVar

import trio

from convod.store.base import StoreFailed, TookTooLong
from convod.store.readers import Deadline, Readers

T = TypeVar("T")
C = TypeVar("C")

BATCH: Final = 256
"""Most writes in one transaction."""

READ_S: Final = 30.0
"""Most seconds of a read that others wait for: a sick disk, or more than was ever meant to be read at once."""

LONG_AT_ONCE: Final = 2
"""Long reads at a time."""


class Pending(Generic[C]):
    """A write that waits for its commit; one that is `bare` runs alone and outside any transaction, and one that is
    `durable` has reached the disk when it is done, with all that was committed before it.
    """

    def __init__(self, work: Callable[[C], Any], *, bare: bool = False, durable: bool = False) -> None:
        self.work = work
        self.bare = bare
        self.durable = durable
        self.done = trio.Event()
        self.result: Any = None
        self.error: Exception | None = None


class ThreadedDatabase(ABC, Generic[C]):
    """`open` it and keep `run` running, then `write` and `read` from any task.

    Args:
        name: what errors call it.
        durable: whether every commit survives a power cut.
    """

    ERROR: ClassVar[type[Exception]]
    """What the database raises; the rest is a fault of the work."""

    def __init__(self, name: str, *, durable: bool = False) -> None:
        self.name = name
        self._durable = durable
        self._queue: deque[Pending[C]] = deque()
        self._writer_parked = trio.lowlevel.ParkingLot()
        self._ended = False
        self._write_limit = trio.CapacityLimiter(1)
        self._read_limit = trio.CapacityLimiter(1)
        self._long: Readers[C] = Readers(self._connect, self._disconnect, LONG_AT_ONCE)
        self.trouble: str | None = None
        """Why nothing can be written, as far as is known."""

    # --- what a subclass knows; all of it runs in threads ------------------------------------------------------

    @abstractmethod
    def _connect(self) -> C:
        """Open one more connection."""

    @abstractmethod
    def _disconnect(self, connection: C) -> None:
        """Close one."""

    @abstractmethod
    def _apply(self, batch: list[Pending[C]]) -> None:
        """Commit the writes as one; each gets its result or its error."""

    @abstractmethod
    def _apply_bare(self, batch: list[Pending[C]]) -> None:
        """Run the one write outside any transaction."""

    @abstractmethod
    def _read(self, work: Callable[[C], T]) -> T:
        """Run a short read, for READ_S at most."""

    @abstractmethod
    def _read_long(self, connection: C, work: Callable[[C, Deadline], T], deadline: Deadline) -> T:
        """Run a long read, until its deadline at most."""

    @abstractmethod
    def _interrupt(self, connection: C) -> None:
        """End the statement that runs on a connection in another thread, if there is one."""

    @abstractmethod
    def unwritten(self, error: Exception) -> Exception:
        """Return what the caller of a write that failed is told; called in the loop."""

    @abstractmethod
    def _unreadable(self, error: Exception) -> StoreFailed:
        """Return what the caller of a read that failed is told; called in the loop."""

    async def _after_long_read(self) -> None:
        """Do what had to wait for the end of a long read."""

    # --- for everybody -----------------------------------------------------------------------------------------

    async def write(self, work: Callable[[C], T], *, durable: bool = False) -> T:
        """Run `work` in the writing thread and wait for its commit; if `durable`, until a power cut cannot undo it.

        Raises:
            StoreFailed: it cannot be written now.
        """
        result: T = await self._write(Pending(work, durable=durable or self._durable))
        return result

    async def _write(self, pending: Pending[C]) -> Any:
        if self._ended:
            # The writer has ended: a write that is shielded from cancellation would wait forever.
            raise StoreFailed(f"{self.name} is closed: convod is stopping")
        self._queue.append(pending)
        self._writer_parked.unpark()
        await pending.done.wait()
        if pending.error is not None:
            raise self.unwritten(pending.error)
        self.trouble = None
        return pending.result

    async def read(self, work: Callable[[C], T]) -> T:
        """Run `work`, which must be short, in the reading thread.

        Raises:
            StoreFailed: it cannot be read, is damaged, or took longer than READ_S.
        """
        try:
            return await trio.to_thread.run_sync(self._read, work, limiter=self._read_limit)
        except (self.ERROR, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error

    async def read_long(self, work: Callable[[C, Deadline], T], *, who: str = "", within_s: float = float("inf")) -> T:
        """Run `work`, which checks its deadline, beside all others: only long reads of the same `who` wait for it.

        The seconds count from when it begins. It ends soon if it is cancelled.

        Raises:
            TookTooLong: it was not done in time.
            StoreFailed: it cannot be read, or is damaged.
        """
        done: list[T] = []
        failure: Exception | None = None
        try:
            async with self._long.reader(who) as connection, trio.open_nursery() as nursery:
                deadline, ended = Deadline(within_s), trio.Event()
                nursery.start_soon(self.interrupt_when_cancelled, connection, ended, deadline)
                try:
                    done.append(await trio.to_thread.run_sync(self._read_long, connection, work, deadline))
                except (self.ERROR, UnicodeDecodeError, TookTooLong, StoreFailed) as error:
                    failure = error
                finally:
                    ended.set()
        except self.ERROR as error:  # there is no connection
            failure = error
        await trio.lowlevel.checkpoint_if_cancelled()  # what was given up is a failure, too
        await self._after_long_read()
        if failure is not None:
            raise self._unreadable(failure) if isinstance(failure, self.ERROR | UnicodeDecodeError) else failure
        return done[0]

    async def interrupt_when_cancelled(
        self, connection: C, ended: trio.Event, deadline: Deadline | None = None
    ) -> None:
        """Interrupt what runs in a thread, until it has ended, when its caller is cancelled."""
        try:
            await ended.wait()
        except trio.Cancelled:
            if deadline is not None:
                deadline.give_up()
            with trio.CancelScope(shield=True):
                while not ended.is_set():
                    # For nothing if the statement has not begun yet.
                    await trio.to_thread.run_sync(self._interrupt, connection)
                    with trio.move_on_after(0.02):
                        await ended.wait()
            raise

    async def run(self) -> None:
        """Commit writes until cancelled; those that wait then are still committed, those that come later refused."""
        self._ended = False
        try:
            while True:
                if self._queue:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    await self._writer_parked.park()
                await self._commit()
        finally:
            while self._queue:
                await self._commit()
            self._ended = True

    async def _commit(self) -> None:
        batch = [self._queue.popleft()]
        while not batch[0].bare and self._queue and not self._queue[0].bare and len(batch) < BATCH:
            batch.append(self._queue.popleft())
        apply = self._apply_bare if batch[0].bare else self._apply
        try:
            # Cancelled before its thread began, it would say of writes that they are done which never were.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(apply, batch, limiter=self._write_limit)
        except BaseException:
            for pending in batch:  # no caller may believe that it was written
                pending.error = pending.error or StoreFailed(f"{self.name} was not written; look into the log")
            raise
        finally:
            for pending in batch:
                pending.done.set()
