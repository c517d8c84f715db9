"""An engine that runs, and a desk that gives it windows and keeps what comes back."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import trio

from convod.engine.supervisor import Engine, EngineSettings
from convod.speech.decoding import DecodeJob, Hypothesis, Kind, Options, Window
from tests.support.until import PATIENCE_S

RATE = 16000


class Desk:
    """Gives windows to an engine and keeps what comes back."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outcomes: dict[DecodeJob, list] = {}
        self._came = trio.lowlevel.ParkingLot()

    def submit(self, audio: bytes, *, session: str = "s", kind: Kind = Kind.FINAL, **options) -> DecodeJob:
        job = DecodeJob(session, kind, Window(audio=audio), RATE, Options(**{"language": "en", **options}))
        self.outcomes[job] = []
        self.engine.submit(job, self.deliver)
        return job

    def deliver(self, job: DecodeJob, outcome) -> None:
        self.outcomes[job].append(outcome)
        self._came.unpark_all()

    async def outcome(self, job: DecodeJob):
        with trio.fail_after(PATIENCE_S):
            while not self.outcomes[job]:
                await self._came.park()
        (outcome,) = self.outcomes[job]
        return outcome

    async def text(self, job: DecodeJob) -> str:
        outcome = await self.outcome(job)
        assert isinstance(outcome, Hypothesis), outcome
        return outcome.text


@asynccontextmanager
async def running(**settings):
    engine = Engine(EngineSettings(**{"model": "builtin", **settings}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        with trio.fail_after(PATIENCE_S):
            await engine.wait_ready()
        yield Desk(engine)
        nursery.cancel_scope.cancel()
    assert engine.processes == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
