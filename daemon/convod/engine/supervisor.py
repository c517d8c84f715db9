"""The engine as the rest of the daemon sees it: it keeps workers, gives them batches, watches and replaces them.

In: jobs with a callback. Out: a `Hypothesis`, or a `Refusal` with an error code, by the callback, in the daemon's own
task. A worker that dies or hangs is replaced, and what it was decoding is tried again as the scheduler says. It never
looks into audio or text.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
import trio
from msgspec import Meta

from convo.messages import Code, EngineStatus, QueueStatus
from convod.engine import models, selection, voices
from convod.engine.fetch import FetchFailed, fetch
from convod.engine.process import Abandoned, Unloadable, Worker, WorkerDied, WorkerLost, worker_process
from convod.engine.remote import Lanes, RemoteWorker
from convod.engine.scheduler import Scheduler
from convod.engine.subscribers import Subscribers, Tell
from convod.engine.wire import Load, Loaded, Results, Trouble
from convod.metrics import Histogram
from convod.speech.commands import DecodeRequeued, DecodeStarted
from convod.speech.decoding import DecodeJob, Hypothesis, Interims, Kind

log = logging.getLogger("convod.engine")


ABANDON_S: Final = 0.5
"""Seconds a worker may go on with windows of files that nothing waits for. Then it is ended: a large model may need
half a minute more, while a new start takes seconds."""

FILES: Final = 8
"""Batch size for files when no live session is open."""

SMALL_BYTES: Final = 200 << 20
"""A model of fewer bytes (tiny, base) has a worker of one thread for each processor, a larger one all of them for one
worker. Eight talks at once, tiny.en, two processors, in turn: two workers of one thread show words after 1.3 s (95th
percentile 3.7 s), one of two threads after 2.6 s (7.1 s)."""

LIVE_S: Final = 15.0
"""Seconds for which a live session is expected to have a window, after it began, speech began, or the last window."""

NO_WORKER: Final = (
    "no remote worker with this model is connected to the broker; start one with `convod worker --broker URL`"
)
"""With `remote_only`, nothing is decoded until one is."""

REPLACED_S: Final = 15.0
"""Seconds it may take to notice that a worker hangs and to end it."""


Device = Literal["auto", "cpu", "cuda"]
ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]
"""CTranslate2's names; `default` is what computes best on the device."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[engine]`. `workers`, `threads`, `batch` 0: chosen from the machine and the model.

    `model`: `auto` is the best that is on this machine when the daemon starts, see `selection`.
    `deadline_s`: a worker that takes longer for each window of its batch hangs, and is replaced. `unload_s`: after so
    long without work the model leaves memory, until it is needed again; 0 keeps it. `voices`: what tells speakers
    apart, `voices` from the package index or the path of an ONNX file, see `embedder`. `broker`: the URL of a Redis
    through which workers on other machines get windows. With `remote_only` there are no others. `beat_s`: how often a
    worker says that it is alive; after three times as long without a word, its windows go elsewhere.
    """

    model: str = selection.AUTO
    device: Device = "auto"
    compute_type: ComputeType = "default"
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    batch: Annotated[int, Meta(ge=0, le=64)] = 0
    deadline_s: Annotated[float, Meta(gt=0, le=86400)] = 120.0
    load_timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 300.0
    unload_s: Annotated[float, Meta(ge=0, le=1e7)] = 0.0
    voices: str = voices.NAME
    broker: str = ""
    remote_only: bool = False
    beat_s: Annotated[float, Meta(ge=0.1, le=60)] = 2.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a window will not be decoded: an error code and a sentence."""

    code: Code
    message: str


Outcome = Hypothesis | Refusal
Deliver = Callable[[DecodeJob, Outcome], None]
OpenLanes = Callable[[EngineSettings, models.Model, "Engine"], Lanes]


@dataclass(slots=True)
class _Plan:
    """What suits the model and the machine."""

    model: models.Model
    workers: int
    threads: int
    batch: int


class Engine:
    """The speech model behind one queue; `run` owns its processes.

    Args:
        settings: Its settings.
        open_lanes: Makes what reaches workers on other machines; called if a broker is set.
    """

    def __init__(self, settings: EngineSettings, open_lanes: OpenLanes | None = None) -> None:
        self.settings = settings
        self.choice = selection.choose(settings.model, settings.device)
        self.restarts = 0
        self.waits = {kind: Histogram() for kind in Kind}
        self.decoded_s = self.busy_s = 0.0
        self.state = "loading"
        self.message: str | None = None
        self.languages: list[str] = []
        self._scheduler = Scheduler()
        # Interims do not leave this machine.
        self._subscribers = Subscribers(Interims.NONE if settings.remote_only else Interims.FULL)
        self._deliver: dict[DecodeJob, Deliver] = {}
        self._at_hand: set[Worker] = set()  # loaded, and looking for work or waiting for it
        self._idle = trio.lowlevel.ParkingLot()  # those of them that wait
        self._unloaded = trio.lowlevel.ParkingLot()  # keepers whose worker was let go
        self._live_until = 0.0
        self._sessions: dict[str, tuple[str, bool]] = {}  # those that may have windows: whose, and whether live
        self._loading = 0
        self._loaded: Loaded | None = None
        self.workers: set[Worker] = set()
        self.lanes: Lanes | None = None
        self._open_lanes = open_lanes
        self._remote_workers: set[RemoteWorker] = set()
        self._ready = trio.Event()
        self._context = "short"

    # --- for sessions -------------------------------------------------------------------------------------

    def submit(self, job: DecodeJob, deliver: Deliver) -> None:
        """Decode a window. `deliver` is called once, unless the job is dropped or, as an interim, replaced."""
        job.since = trio.current_time()
        if job.spare_s:
            job.due = job.since + job.spare_s
        replaced = self._scheduler.submit(job)
        if replaced is not None:
            self._deliver.pop(replaced, None)
        self._deliver[job] = deliver
        if job.kind is not Kind.FILE:
            self._live_until = trio.current_time() + LIVE_S
        if self.state == "failed":
            self._refuse_all()
        self._call()

    def drop(self, job: DecodeJob) -> None:
        """Deliver nothing for this job, and do not decode it if it still waits."""
        if self._scheduler.drop(job) and trio.current_time() >= job.due:
            self._waited(job)
        self._deliver.pop(job, None)
        workers: list[Worker | RemoteWorker] = [*self.workers, *self._remote_workers]
        for worker in workers:
            if job.kind is Kind.FILE and job in worker.batch and not any(one in self._deliver for one in worker.batch):
                worker.abandon(ABANDON_S)

    def retract(self, job: DecodeJob) -> bool:
        """Take a job back if it waits, to submit it again later; return whether it did."""
        waited = self._scheduler.drop(job)
        if waited:
            self._deliver.pop(job, None)
        return waited

    def forget(self, session: str) -> None:
        """Deliver nothing more to a session, and drop its jobs."""
        owner, _ = self._sessions.pop(session, ("", False))
        self._subscribers.remove(session)
        for job in [job for job in self._deliver if job.session == session]:
            self.drop(job)
        if all(other != owner for other, _ in self._sessions.values()):
            self._subscribers.owner_gone(owner)

    def interims(self, owner: str | None = None) -> Interims:
        """Return how many interims an owner's live sessions may ask for now; for None, the fewest of all owners."""
        return self._subscribers.interims(owner)

    def _waited(self, job: DecodeJob) -> None:
        if job.behind:
            return  # it waited for its own session, which sends faster than in real time
        # A window that is needed later may wait until then without harm.
        self._subscribers.waited(job, max(0.0, trio.current_time() - max(job.since, job.due)))

    def join(self, session: str, *, owner: str = "", live: bool) -> None:
        """Expect windows of a session until it is forgotten; in a live one speech may begin at any moment."""
        self._sessions[session] = owner, live

    def subscribe(self, session: str, tell: Tell, *, owner: str = "") -> None:
        """Call `tell` with what changes for a live session, until it is forgotten: the load, and its jobs that begin.

        It is called in the daemon's own task, from within other calls of the engine too.
        """
        self._subscribers.add(session, owner, tell)

    def wake(self, *, live: bool = False) -> None:
        """Prepare for audio: load the model if it was unloaded, or in one more worker if all others are at work.

        With `live`, files make room before the first window comes.
        """
        if live:
            self._live_until = trio.current_time() + LIVE_S
        if not self.workers:
            self._unloaded.unpark_all()
        elif not self._at_hand:
            self._unloaded.unpark()

    def _call(self) -> None:
        """Have a worker look at the queue. Load one only if none is at hand, for that takes seconds."""
        if not self._scheduler:
            return
        if self._idle:
            self._idle.unpark()
            return
        self._offer()
        if self._scheduler and not self._at_hand:
            self._unloaded.unpark()

    def _offer(self) -> None:
        """Have workers on other machines look at what may leave."""
        if self.lanes is not None and (self._scheduler.waiting(Kind.FILE) or self._scheduler.waiting(Kind.FINAL)):
            self.lanes.offer(self.take_leaving)

    def status(self) -> EngineStatus:
        """Return the engine's status."""
        loaded = self._loaded
        return EngineStatus(
            state=self.state,
            model=self.choice.model,
            device=loaded.device if loaded else self.settings.device,
            compute_type=loaded.compute_type if loaded else self.settings.compute_type,
            workers=len(self.workers),
            restarts=self.restarts,
            interims=self.interims().name.lower(),
            message=self.message,
            reason=self.choice.reason,
        )

    def queue(self) -> QueueStatus:
        """Return how many windows wait."""
        waiting = self._scheduler.waiting
        return QueueStatus(final=waiting(Kind.FINAL), interim=waiting(Kind.INTERIM), file=waiting(Kind.FILE))

    @property
    def loaded(self) -> Loaded | None:
        """What the workers said when their model was loaded."""
        return self._loaded

    @property
    def slots(self) -> int:
        """How many batches are decoded at once, here and on other machines."""
        return len(self.workers) + len(self._remote_workers)

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that wait."""
        return self._scheduler.waiting_s

    @property
    def busy(self) -> bool:
        """Whether anything waits for a result, or may yet ask for one."""
        return bool(self._deliver or self._sessions)

    @property
    def context(self) -> str:
        """The model's context, `full` or `short` (see `models`); known once it is ready."""
        return self._context

    @property
    def answers(self) -> bool:
        """Whether every worker is idle, or has been at work for less time than a worker gets before it is replaced."""
        now = trio.current_time()
        return all(
            worker.busy_since is None or now < worker.busy_since + self._limit_s(worker.batch) + REPLACED_S
            for worker in self.workers
        )

    def _limit_s(self, batch: list[DecodeJob]) -> float:
        """Return how many seconds a batch may take: a slow model may need nearly as long for each window as for one."""
        return self.settings.deadline_s * len(batch)

    @property
    def unloaded(self) -> int:
        """How many workers were let go and wait to be needed."""
        return len(self._unloaded)

    @property
    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self.workers]

    async def wait_ready(self) -> None:
        """Wait until the model is loaded or cannot be."""
        await self._ready.wait()

    # --- processes ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load the model and serve until cancelled. Every process started has ended when this returns."""
        log.info("the speech model is %s: %s", self.choice.model, self.choice.reason)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._subscribers.run)
            plan = await self._prepare()
            self._context = plan.model.context
            bucketed = plan.model.context == "short"
            self._scheduler = self._with_queue(
                Scheduler(plan.batch, files=self.settings.batch or FILES, bucketed=bucketed, workers=plan.workers)
            )
            if self.settings.broker and self._open_lanes is not None:
                self.lanes = self._open_lanes(self.settings, plan.model, self)
                nursery.start_soon(self.lanes.run)
            for _ in range(plan.workers):
                nursery.start_soon(self._keep_worker, plan)

    def _with_queue(self, scheduler: Scheduler) -> Scheduler:
        while self._scheduler:
            for job in self._scheduler.take():
                scheduler.submit(job)
        return scheduler

    async def _prepare(self) -> _Plan:
        """Find the model, fetching it if necessary, and retry for as long as it cannot be fetched."""
        settings = self.settings
        while True:
            try:
                model = models.find(self.choice.model)
                break
            except models.UnknownModel as error:
                self._fail(str(error))
                await trio.sleep_forever()
            except models.ModelNotHere as error:
                self.state, self.message = "loading", f"fetching {error.name}"
                try:
                    await fetch(error.name, error.repository, self._fetching)
                except FetchFailed as failure:
                    self._fail(str(failure))
                    await trio.sleep(60)
                else:
                    self.message = None
        cores = selection.cores()
        threads = settings.threads or model.threads or (1 if model.size_bytes < SMALL_BYTES else cores)
        workers = (settings.workers or max(1, min(4, cores // threads))) if not settings.remote_only else 0
        if settings.remote_only:
            self.message = NO_WORKER
        # The built-in model is so small that a batch costs as much as its windows one by one; elsewhere it pays.
        batch = settings.batch or (1 if model.context == "short" and threads == 1 else 8)
        return _Plan(model, workers, threads, batch)

    def _fetching(self, done: int, total: int | None) -> None:
        self.message = f"fetching {self.choice.model}: {done >> 20} of {(total or 0) >> 20} MiB"

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        self.state, self.message = "failed", message
        self._ready.set()
        self._refuse_all()

    def _refuse_all(self) -> None:
        refusal = Refusal(Code.MODEL_UNAVAILABLE, self.message or "the speech model is not available")
        while batch := self._scheduler.take():
            for job in batch:
                self._finish(job, refusal)

    def _finish(self, job: DecodeJob, outcome: Outcome) -> None:
        deliver = self._deliver.pop(job, None)
        if deliver is not None:
            deliver(job, outcome)

    async def _keep_worker(self, plan: _Plan) -> None:
        pause = 0.25
        while True:
            try:
                async with self._worker(plan) as worker:
                    pause = 0.25
                    await self._serve(worker)
            except WorkerDied as death:
                self.restarts += 1
                log.warning("a worker was lost, a new one starts: %s", death)
                # Its windows wait again, and it may have been woken for others.
                self._call()
            except Abandoned:
                log.info("a worker was ended with what nobody waits for any more, a new one starts")
                continue
            except OSError as error:
                log.error("a worker could not be started: %s", error)
            except _Unneeded:
                if not self.workers:
                    log.info("the model is unloaded after %.0f s without work", self.settings.unload_s)
                    self.state = "unloaded"
                # While its process ended, windows may have come that woke no worker.
                if not self._scheduler or self._at_hand:
                    await self._unloaded.park()
                self.state = "ready" if self.workers else "loading"
                continue
            except Unloadable as error:
                # That one of several workers finds no memory says nothing about the others.
                if self.workers or self._loading or self._unloaded:
                    log.error("%s; the other workers go on", error)
                    self._call()
                else:
                    self._fail(str(error))
                pause = 30.0
            if not self.workers and self.state == "ready":
                self.state = "loading"
            await trio.sleep(pause)
            pause = min(30.0, pause * 2)

    @contextlib.asynccontextmanager
    async def _worker(self, plan: _Plan) -> AsyncIterator[Worker]:
        load = Load(
            directory=str(plan.model.directory),
            context=plan.model.context,
            device=self.settings.device,
            compute_type=self.settings.compute_type,
            threads=plan.threads,
            voices=str(voices.place(self.settings.voices)),
        )
        async with worker_process() as worker:
            self._loading += 1
            try:
                loaded = await worker.load(load, self.settings.load_timeout_s)
            finally:
                self._loading -= 1
            self._has_loaded(loaded)
            self.workers.add(worker)
            try:
                yield worker
            finally:
                self.workers.discard(worker)

    def _has_loaded(self, loaded: Loaded) -> None:
        self._loaded, self.languages = loaded, loaded.languages
        self.state, self.message = "ready", None
        self._ready.set()

    async def _serve(self, worker: Worker) -> None:
        while True:
            self._at_hand.add(worker)
            try:
                batch = await self._next_batch(worker)
            finally:
                self._at_hand.discard(worker)
            await self._decode(worker, batch)

    async def serve_remote(self, worker: RemoteWorker, loaded: Loaded) -> None:
        """Have a worker on another machine decode; raises `WorkerDied`, `WorkerLost` or `Abandoned` at its end."""
        if self.settings.remote_only:
            self._has_loaded(loaded)
        self._remote_workers.add(worker)
        self._scheduler.workers += 1
        try:
            while True:
                if not (batch := self.take_leaving(worker)):
                    self._call()  # what stays may need a worker here
                    offered = await worker.wait_batch()
                    # What was dropped since it was offered would be decoded for nobody.
                    batch = [job for job in offered if job in self._deliver]
                if batch:
                    await self._decode(worker, batch)
        finally:
            self._remote_workers.discard(worker)
            self._scheduler.workers -= 1
            if self.settings.remote_only and not self._remote_workers:
                self.state, self.message = "loading", NO_WORKER
            self._call()

    def take_leaving(self, worker: RemoteWorker) -> list[DecodeJob]:
        """Take the next batch for a worker on another machine, empty where nothing may leave for it."""
        now = trio.current_time()
        local = not self.settings.remote_only

        def leaves(job: DecodeJob) -> bool:
            if job.window.voiceprints and not worker.tells_speakers:
                return False
            return not local or (not job.losses and (job.kind is Kind.FILE or worker.fits(job, now)))

        batch = self._scheduler.take_leaving(leaves, now)
        for job in batch:
            self._waited(job)
        return batch

    async def _decode(self, worker: Worker | RemoteWorker, batch: list[DecodeJob]) -> None:
        # Jobs that came after it was woken counted on it, and it may not have taken all.
        self._call()
        begun = trio.current_time()
        for job in batch:
            self.waits[job.kind].observe(begun - job.since)
            self._subscribers.tell(job, DecodeStarted(job))
        try:
            answer = await worker.decode(batch, self._limit_s(batch))
        except WorkerDied as death:
            refusal = Refusal(Code.INTERNAL, "this stretch of audio stopped the engine again and again")
            self._again(batch, self._scheduler.died(batch, self._deliver, lost=isinstance(death, WorkerLost)), refusal)
            raise
        self.busy_s += trio.current_time() - begun
        if isinstance(answer, Results):
            self.decoded_s += sum(job.seconds for job in batch)
            for job, hypothesis in zip(batch, answer.hypotheses, strict=True):
                self._finish(job, hypothesis)
        elif isinstance(answer, Trouble):
            if len(batch) > 1:
                log.warning("%d windows could not be decoded together: %s", len(batch), answer.message)
            refusal = Refusal(Code.INTERNAL, f"the engine could not decode: {answer.message}")
            self._again(batch, self._scheduler.failed(batch, self._deliver), refusal)

    def _again(self, batch: list[DecodeJob], given_up: list[DecodeJob], refusal: Refusal) -> None:
        """Tell what comes of a batch without an answer: some jobs are given up, the others wait again."""
        for job in given_up:
            self._finish(job, refusal)
        for job in batch:
            if self._scheduler.holds(job):
                self._subscribers.tell(job, DecodeRequeued(job))

    async def _next_batch(self, worker: Worker) -> list[DecodeJob]:
        idle_since = trio.current_time()
        while True:
            if batch := self._take():
                for job in batch:
                    self._waited(job)
                return batch
            self._offer()  # what this one may not take now: it is kept for live speech
            unload_s = self.settings.unload_s or float("inf")
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.deadline = trio.current_time() + unload_s
                # An idle worker that dies is replaced at once, not when the next words need it.
                nursery.start_soon(self._watch, worker, nursery.cancel_scope)
                await self._idle.park()
                nursery.cancel_scope.cancel()
            if worker.process.returncode is not None:
                raise WorkerDied(f"it ended with status {worker.process.returncode}")
            if not self._scheduler and trio.current_time() - idle_since >= unload_s:
                raise _Unneeded

    def _take(self) -> list[DecodeJob]:
        """Take the next batch. During live speech one worker is kept free for it, if there are two.

        While a live session is open, windows of files are not batched: eight of them may take half a minute. A GPU
        takes little longer for them than for one, so there they are.
        """
        now = trio.current_time()
        live = now < self._live_until
        slow = self._loaded is not None and self._loaded.device != "cuda"
        one_by_one = live or (slow and any(live for _, live in self._sessions.values()))
        at_files = sum(bool(worker.batch) and worker.batch[0].kind is Kind.FILE for worker in self.workers)
        return self._scheduler.take(now, live=one_by_one, files=not live or at_files < max(1, len(self.workers) - 1))

    async def _watch(self, worker: Worker, scope: trio.CancelScope) -> None:
        await worker.process.wait()
        scope.cancel()


class _Unneeded(Exception):
    """The worker had nothing to do for as long as the settings allow."""
