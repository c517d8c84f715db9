"""Readers of one job share a connection: each is told every stored event once, however late or slow it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from convo.messages import AttachReply, Code, DurableEvent, Event, Progress, SessionState, State
from convo_gateway import fanout
from convo_gateway.errors import Refused
from convo_gateway.fanout import Fanout


class Job:
    """A daemon with one job, whose events a test tells; as far as `Fanout` asks it."""

    def __init__(self, events: int = 0) -> None:
        self.connections: list[int] = []
        self.open = 0
        self.fault: Exception | None = None
        self.told: list[Event] = []
        self.changed = trio.lowlevel.ParkingLot()
        for _ in range(events):
            self.tell()

    @property
    def seq(self) -> int:
        return sum(isinstance(event, DurableEvent) for event in self.told)

    def tell(self, state: State = State.PROCESSING) -> None:
        self.told.append(SessionState(session="s", seq=self.seq + 1, state=state))
        self.changed.unpark_all()

    def progress(self, seconds: float) -> None:
        self.told.append(Progress(session="s", done_s=seconds))
        self.changed.unpark_all()

    def fail(self, fault: Exception) -> None:
        self.fault = fault
        self.changed.unpark_all()

    @asynccontextmanager
    async def follow(self, token: str | None, job: str, after_seq: int) -> AsyncIterator[Any]:
        self.connections.append(after_seq)
        self.open += 1
        try:
            yield _Followed(self, after_seq)
        finally:
            self.open -= 1


class _Followed:
    def __init__(self, job: Job, after_seq: int) -> None:
        self._job = job
        self._after = after_seq
        self._taken = 0
        self._over = False

    async def opened(self) -> AttachReply:
        await trio.lowlevel.checkpoint()
        if self._job.fault is not None:
            raise self._job.fault
        states = [event.state for event in self._job.told if isinstance(event, SessionState)]
        return AttachReply(
            id=1, state=states[-1] if states else State.PENDING, seq=self._job.seq, audio_offset=0, credit=0
        )

    def __aiter__(self) -> _Followed:
        return self

    async def __anext__(self) -> Event:
        while not self._over:
            while self._taken < len(self._job.told):
                event = self._job.told[self._taken]
                self._taken += 1
                self._over = isinstance(event, SessionState) and event.state.final
                if not isinstance(event, DurableEvent) or event.seq > self._after:
                    return event
            if self._job.fault is not None:
                raise self._job.fault
            if not self._over:
                await self._job.changed.park()
        raise StopAsyncIteration


@pytest.fixture(autouse=True)
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "KEPT", 4)


class Readers:
    """Who follows the job, and what each was told."""

    def __init__(self, job: Job, nursery: trio.Nursery) -> None:
        self.fanout = Fanout(job)  # type: ignore[arg-type]
        self._nursery = nursery

    async def start(self, after_seq: int = 0, *, gate: trio.Event | None = None) -> list[int | float | str]:
        told: list[int | float | str] = []

        async def tell(event: Event) -> None:
            if gate is not None:
                await gate.wait()
            if isinstance(event, DurableEvent):
                told.append(event.seq)
            elif isinstance(event, Progress):
                told.append(event.done_s)

        async def read() -> None:
            try:
                async with self.fanout.reader(None, "s", after_seq) as reader:
                    if reader.done:
                        told.append("done")
                    else:
                        await reader.run(tell)
                        told.append("over")
            except Refused as error:
                told.append(error.code)

        self._nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        return told


@asynccontextmanager
async def readers(job: Job) -> AsyncIterator[Readers]:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            some = Readers(job, nursery)
            async with some.fanout.running():
                yield some
                nursery.cancel_scope.cancel()


async def test_readers_share_a_connection_and_each_has_every_event_once():
    job = Job(events=2)
    async with readers(job) as some:
        first, second, third = await some.start(), await some.start(1), await some.start(2)
        job.tell()
        job.progress(0.5)
        await trio.testing.wait_all_tasks_blocked()
        job.tell(State.COMPLETED)
        await trio.testing.wait_all_tasks_blocked()
    assert first == [1, 2, 3, 0.5, 4, "over"]
    assert second == [2, 3, 0.5, 4, "over"]
    assert third == [3, 0.5, 4, "over"]
    assert job.connections == [0]


async def test_a_reader_that_lacks_older_events_catches_up_by_itself():
    job = Job(events=9)
    async with readers(job) as some:
        first, second = await some.start(8), await some.start(2)
        assert job.open == 1
        job.tell(State.COMPLETED)
        await trio.testing.wait_all_tasks_blocked()
    assert (first, second) == ([9, 10, "over"], [3, 4, 5, 6, 7, 8, 9, 10, "over"])
    assert job.connections == [8, 2]


async def test_a_slow_reader_falls_behind_and_misses_nothing():
    job, gate = Job(events=1), trio.Event()
    async with readers(job) as some:
        slow, fast = await some.start(gate=gate), await some.start()
        for _ in range(9):
            job.tell()
            await trio.testing.wait_all_tasks_blocked()
        job.tell(State.COMPLETED)
        await trio.testing.wait_all_tasks_blocked()
        assert (slow, fast) == ([], [*range(1, 12), "over"])
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert slow == [*range(1, 12), "over"]


async def test_a_job_that_is_over_is_asked_for_anew():
    job = Job(events=1)
    job.tell(State.COMPLETED)
    async with readers(job) as some:
        assert await some.start(2) == ["done"]
        assert await some.start(1) == [2, "over"]
    assert job.connections == [2, 1]


async def test_the_number_of_another_jobs_event_harms_nobody_else():
    job = Job(events=2)
    async with readers(job) as some:
        wrong, right = await some.start(99), await some.start(1)
        job.tell(State.COMPLETED)
        await trio.testing.wait_all_tasks_blocked()
    assert (wrong, right) == (["over"], [2, 3, "over"])


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Refused(Code.UNKNOWN_SESSION, "There is no such job."), "unknown_session"), (KeyError("a fault"), "internal")],
)
async def test_a_refusal_is_told_to_all_and_the_next_one_asks_again(fault: Exception, code: str):
    job = Job(events=1)
    async with readers(job) as some:
        told = [await some.start(), await some.start()]
        job.fail(fault)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [[1, code]] * 2
        assert await some.start() == [code]
        job.fault = None
        assert await some.start() == [1]


async def test_when_the_last_reader_goes_the_connection_goes():
    job = Job(events=1)
    async with readers(job) as some:
        async with some.fanout.reader(None, "s", 0), some.fanout.reader(None, "s", 0):
            assert job.open == 1
        await trio.testing.wait_all_tasks_blocked()
        assert job.open == 0


async def test_owners_do_not_share():
    job = Job(events=1)
    async with readers(job) as some, some.fanout.reader("mine", "s", 0), some.fanout.reader("theirs", "s", 0):
        assert job.open == 2
