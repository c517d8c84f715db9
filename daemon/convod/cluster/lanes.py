"""The daemon's side: a lane for each slot of each live worker whose model gives the same text as this daemon's.

In: the broker's streams of beats and replies, batches from the engine. Out: the workers' answers, or `WorkerLost` as
soon as a worker or the broker cannot be reached. The engine decides what goes where; at most one batch per slot is out.
Only this module of the daemon talks to Redis, in threads.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import trio

from convo.messages import ClusterStatus, RemoteWorkerStatus
from convod.auto_reset_event import AutoResetEvent
from convod.cluster import broker, wire
from convod.cluster.estimate import WayEstimate
from convod.cluster.fingerprint import VoicesDigest, digest, versions
from convod.cluster.members import MISSED, LostWatch, Member, Members
from convod.cluster.outstanding import Outstanding
from convod.cluster.wire import Fingerprint, Malformed, Reply
from convod.engine import voices
from convod.engine.models import Model
from convod.engine.process import Abandoned, WorkerDied, WorkerLost, work_of
from convod.engine.wire import RATE, FromWorker, Loaded, Results, Trouble, Work, encoded
from convod.speech.decoding import DecodeJob, Options, Window

if TYPE_CHECKING:
    from convod.engine.supervisor import Engine, EngineSettings

log = logging.getLogger("convod.cluster")

READ_S: Final = 1.0
"""Seconds that one read waits for news; missed beats are checked after each."""

PAUSE_S: Final = 1.0
"""Seconds between two tries to reach the broker, and before a worker that failed is tried again."""

KEPT_S: Final = 30
"""Seconds after their deadline that windows stay at the broker if nothing deletes them."""

THREADS: Final = 16
"""Threads that hand out windows at the same time."""

GOODBYE_S: Final = 2.0
"""Seconds in which the broker must delete what is left when the daemon stops."""

PROBE: Final = Work(windows=[Window(audio=bytes(RATE // 5))], rate=RATE, options=Options(beam=1))
"""Silence. A worker that answers it takes tasks, and the time it takes measures the round trip."""


NO_SPEAKERS: Final = (
    "it gets no audio whose speakers are told apart, because it has not the same speaker model: run "
    "`convo models pull voices` on its machine"
)

_Streams = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]
"""Streams' names, each with the ids and fields of its new entries."""


class _Task(NamedTuple):
    """A task at the broker: its id, its queue, its message there, and until when its windows are kept (trio's time)."""

    id: str
    queue: str
    message: str
    until: float


class RemoteWorker:
    """A slot of a worker on another machine. `load`, `decode` and `abandon` are those of a `Worker`; `batch` and
    `busy_since`, too.
    """

    def __init__(self, lanes: Lanes, member: Member) -> None:
        self.batch: list[DecodeJob] = []
        self.busy_since: float | None = None
        self.way = WayEstimate()
        self.member = member
        self._lanes = lanes
        self._queue = wire.queue_name(member.beat.fingerprint.name, member.beat.worker)
        self._offered: list[DecodeJob] = []
        self._news = AutoResetEvent()
        self._reply: Reply | None = None
        self._task: _Task | None = None
        self._lost: str | None = None
        self._lost_watch = LostWatch()
        self._abandoned = False

    async def load(self, limit_s: float) -> Loaded:
        """Check that it takes tasks, and measure the round trip.

        Raises:
            WorkerLost: the worker or the broker cannot be reached.
            WorkerDied: it does not answer within `limit_s`.
        """
        await self._exchange(PROBE, limit_s)
        return self.member.beat.loaded

    async def decode(self, batch: list[DecodeJob], limit_s: float) -> FromWorker:
        """Decode a batch of windows of one rate and with the same options.

        Raises:
            Abandoned: `abandon` was called, and it was not done in time.
            WorkerLost: the worker or the broker cannot be reached.
            WorkerDied: its process ended over this batch, or was not done within `limit_s`.
        """
        self.batch = batch
        try:
            return await self._exchange(work_of(batch), limit_s)
        finally:
            self.batch = []

    def abandon(self, within_s: float) -> None:
        """Nothing waits for what it decodes: its windows are deleted, which tells the worker."""
        if self._task is not None and not self._abandoned:
            self._abandoned = True
            self._lanes.delete(self._task)

    def fits(self, job: DecodeJob, now: float) -> bool:
        """Whether a final that leaves now comes back in time."""
        return self.way.fits(job, now)

    @property
    def tells_speakers(self) -> bool:
        """Whether its speaker embedder is the one of this convod: embeddings of two models cannot be compared."""
        return self._lanes.tells_speakers(self.member)

    # --- idle ---------------------------------------------------------------------------------------------

    def offer(self, batch: list[DecodeJob]) -> None:
        """Give it a batch while it is idle."""
        self._lanes.idle.pop(self, None)
        self._offered = batch
        self._news.set()

    async def wait_batch(self) -> list[DecodeJob]:
        """Wait until it is offered a batch.

        Raises:
            WorkerLost: the worker or the broker cannot be reached.
        """
        self._lanes.idle[self] = None
        try:
            while not self._offered:
                self._check()
                await self._news.wait()
        finally:
            self._lanes.idle.pop(self, None)
        batch, self._offered = self._offered, []
        return batch

    # --- told by `Lanes` --------------------------------------------------------------------------

    def lose(self, why: str) -> None:
        """The worker or the broker cannot be reached."""
        self._lost = why
        self.look_again()

    def look_again(self) -> None:
        """Its worker is leaving: end if idle, else after the batch."""
        self._lanes.idle.pop(self, None)
        self._news.set()

    @property
    def is_over(self) -> bool:
        """Whether it takes no more batches."""
        return self._lost is not None or self.member.beat.state != "serving"

    def beaten(self) -> None:
        """Its worker has sent a beat."""
        task = "" if self._task is None or self._reply is not None else self._task.id
        if self._lost_watch.beat(task, busy=bool(self.member.beat.busy)):
            self.replied(Reply(task, "dropped"))

    def replied(self, reply: Reply) -> None:
        """Take the reply to its task."""
        self._reply = reply
        self._news.set()

    def _check(self) -> None:
        if self._lost is not None:
            raise WorkerLost(self._lost)
        if self.member.beat.state != "serving":
            raise WorkerLost("the worker is stopping")

    async def _exchange(self, work: Work, limit_s: float) -> Results | Trouble:
        self._check()
        begun = self.busy_since = trio.current_time()
        self._forget_last()
        with self._lanes.expecting(self, self._queue, limit_s) as task:
            self._task = task
            try:
                await self._lanes.hand_out(task, encoded(work), limit_s)
                self._log("a task is out", task)
                if self._abandoned:  # on its way there it could not be deleted
                    self._lanes.delete(task)
                with trio.move_on_at(begun + limit_s):
                    while self._reply is None and self._lost is None:
                        await self._news.wait()
            finally:
                self._task, self.busy_since = None, None
                self._log("a task is over", task, ms=round(1000 * (trio.current_time() - begun)))
        if self._reply is None:
            if self._lost is not None:
                raise WorkerLost(self._lost)
            raise WorkerDied(f"it did not answer within {limit_s:.0f} s")
        return self._read(self._reply, len(work.windows), trio.current_time() - begun)

    def _log(self, message: str, task: _Task, **more: object) -> None:
        """Log what became of a task: its worker logs the same id."""
        if log.isEnabledFor(logging.DEBUG):
            beat = self.member.beat
            verdict = "" if self._reply is None else self._reply.verdict
            sessions = " ".join(dict.fromkeys(job.session for job in self.batch))
            about = {"task": task.id, "worker": beat.worker, "host": beat.host, "session": sessions, "verdict": verdict}
            log.debug("%s", message, extra=about | more)

    def _forget_last(self) -> None:
        self._reply, self._abandoned = None, False

    def _read(self, reply: Reply, windows: int, took_s: float) -> Results | Trouble:
        if reply.verdict == "dropped":
            if self._abandoned:
                raise Abandoned
            raise WorkerLost("the task was lost, or its windows were no longer at the broker")
        if reply.verdict == "died":
            raise WorkerDied(reply.body.decode(errors="replace"))
        try:
            answer = wire.read_answer(reply.body, windows)
        except Malformed as error:
            raise WorkerDied(f"its answer is malformed: {error}") from error
        if isinstance(answer, Results):
            self.way.measured(took_s - answer.seconds)
        return answer


class Lanes:
    """The daemon's use of a broker; `run` owns its tasks. `serving` are the lanes that get batches, `idle` those of
    them that wait for one.
    """

    def __init__(self, settings: EngineSettings, model: Model, engine: Engine) -> None:
        self.serving: set[RemoteWorker] = set()
        self.idle: dict[RemoteWorker, None] = {}
        self.connected = False
        self._settings = settings
        self._model = model
        self._engine = engine
        self._redis = broker.client(settings.broker)
        self._limiter = trio.CapacityLimiter(THREADS)
        self._daemon = secrets.token_hex(8)  # one run: answers to an earlier one are dropped
        self.outstanding: Outstanding[RemoteWorker] = Outstanding(self._daemon)
        self._of_member: dict[str, list[RemoteWorker]] = {}
        self._members = Members()
        self._digest = ""
        self._voices = VoicesDigest(voices.place(settings.voices))
        self._voices_digest = ""
        self._deletions: list[_Task] = []
        self._deletion = AutoResetEvent()
        self._message: str | None = None
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Follow the broker until cancelled, however often it goes away."""
        self._digest = await trio.to_thread.run_sync(digest, self._model.directory)
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._delete_abandoned)
                while True:
                    try:
                        await self._follow()
                    except broker.BROKEN as error:
                        self._lose_all(error)
                    await trio.sleep(PAUSE_S)
        finally:
            await self._say_goodbye()

    # --- for the engine -----------------------------------------------------------------------------------

    def offer(self, take: Callable[[RemoteWorker], list[DecodeJob]]) -> None:
        """Let idle workers take what may leave, those with the shortest round trip first."""
        for tells_speakers in (False, True):
            while among := [one for one in self.idle if one.tells_speakers is tells_speakers]:
                worker = min(among, key=lambda one: one.way.likely_s)
                if not (batch := take(worker)):
                    break  # nor may one that is further away have it
                worker.offer(batch)

    def tells_speakers(self, member: Member) -> bool:
        """Whether a worker has the speaker embedder of this convod."""
        return member.beat.voices == self._voices_digest

    def status(self) -> ClusterStatus:
        """What `convo status` shows."""
        now = trio.current_time()
        return ClusterStatus(
            connected=self.connected,
            message=self._message,
            workers=[
                RemoteWorkerStatus(
                    worker=member.beat.worker,
                    host=member.beat.host,
                    model=member.beat.model,
                    device=member.beat.fingerprint.device,
                    compute_type=member.beat.fingerprint.compute_type,
                    slots=member.beat.slots,
                    busy=member.beat.busy,
                    load=round(member.beat.load, 2),
                    windows=member.beat.windows,
                    beat_s=round(now - member.at, 1),
                    reason=member.why_not,
                    note=NO_SPEAKERS if self._voices_digest and not self.tells_speakers(member) else None,
                )
                for member in sorted(self._members, key=lambda one: (one.beat.host, one.beat.worker))
            ],
        )

    @property
    def unexpected(self) -> int:
        """Answers that nothing waited for: late, or delivered twice."""
        return self.outstanding.unexpected

    def ways(self) -> Iterator[tuple[str, str, float]]:
        """Yield worker, host and the seconds to it and back, for each slot in use."""
        for lane in self.serving:
            yield lane.member.beat.worker, lane.member.beat.host, lane.way.mean_s or 0.0

    # --- for lanes ----------------------------------------------------------------------------------------

    @contextmanager
    def expecting(self, worker: RemoteWorker, queue: str, limit_s: float) -> Iterator[_Task]:
        """Create a task whose reply goes to `worker`; a reply after the block is dropped."""
        id = self.outstanding.new(worker)
        model = worker.member.beat.fingerprint.name
        message = wire.task_message(id, queue, self._daemon, model, limit_s)
        task = _Task(id, wire.PREFIX + queue, message, trio.current_time() + limit_s + KEPT_S)
        try:
            yield task
        finally:
            if self.outstanding.give_up(id):
                self.delete(task)

    async def hand_out(self, task: _Task, frame: bytes, limit_s: float) -> None:
        """Leave a task and its windows at the broker.

        Raises:
            WorkerLost: the broker cannot be reached.
        """
        try:
            # Not abandoned when cancelled: what was put there must be deleted again.
            await trio.to_thread.run_sync(self._put, task, frame, limit_s + KEPT_S, limiter=self._limiter)
        except broker.BROKEN as error:
            raise WorkerLost(f"the broker cannot be reached: {error}") from error

    def _put(self, task: _Task, frame: bytes, kept_s: float) -> None:
        with self._redis.pipeline() as transaction:
            transaction.set(wire.window_key(task.id), frame, px=int(1000 * kept_s))
            transaction.lpush(task.queue, task.message)
            transaction.pexpire(task.queue, int(1000 * kept_s))
            transaction.execute()

    def delete(self, task: _Task) -> None:
        """Have the broker forget a task and its windows."""
        self._deletions.append(task)
        self._deletion.set()

    # --- with the broker ----------------------------------------------------------------------------------

    async def _delete_abandoned(self) -> None:
        while True:
            await self._deletion.wait()
            tasks = self._taken_deletions()
            try:
                untaken = await trio.to_thread.run_sync(self._forget, tasks, limiter=self._limiter)
            except broker.BROKEN:
                # The words are to go, too, if it was the connection that broke. In the end, their time limit ends them.
                self._deletions += [task for task in tasks if trio.current_time() < task.until]
                self._deletion.set()
                await trio.sleep(PAUSE_S)
                continue
            for task in untaken:
                # No worker knows of it, so none will say that it was dropped.
                if (worker := self.outstanding.answered(task.id)) is not None:
                    worker.replied(Reply(task.id, "dropped"))

    def _taken_deletions(self) -> list[_Task]:
        taken, self._deletions = self._deletions, []
        return taken

    def _forget(self, tasks: list[_Task], *keys: str) -> list[_Task]:
        """Delete tasks and their windows, and return those that no worker had taken."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for task in tasks:
                pipeline.delete(wire.window_key(task.id))
                pipeline.lrem(task.queue, 1, task.message)
            for key in keys:
                pipeline.delete(key)
            removed = pipeline.execute()[1 : 2 * len(tasks) : 2]
        return [task for task, count in zip(tasks, removed, strict=True) if count]

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(GOODBYE_S, shield=True), suppress(*broker.BROKEN):
            replies = wire.reply_key(self._daemon)
            await trio.to_thread.run_sync(self._forget, self._taken_deletions(), replies, abandon_on_cancel=True)
        self._redis.close()

    async def _follow(self) -> None:
        replies = wire.reply_key(self._daemon)
        last = {replies: "0-0", wire.BEATS: await trio.to_thread.run_sync(self._greet, abandon_on_cancel=True)}
        self.connected = True
        self._message = await trio.to_thread.run_sync(broker.what_it_keeps, self._redis, abandon_on_cancel=True)
        if self._message is not None:
            log.warning("%s", self._message)
        log.info("connected to the broker at %s", broker.place(self._settings.broker))
        read: list[bytes] = []
        while True:
            wait = partial(self._read_streams, dict(last), read)
            streams = await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
            read = []
            now = trio.current_time()
            self._want()
            for stream, entries in streams:
                last[stream.decode()] = entries[-1][0].decode()
                for id, fields in entries:
                    if stream == replies.encode():
                        read.append(id)
                        self._replied(fields)
                    else:
                        self._beaten(fields, now)
            for member in self._members.silent(now):
                self._lose(member, f"it missed {MISSED} beats ({member.silent_s:g} s)")

    def _greet(self) -> str:
        """Check that the broker answers, and return the end of its stream of beats."""
        newest = cast("list[tuple[bytes, object]]", self._redis.xrevrange(wire.BEATS, count=1))
        return newest[0][0].decode() if newest else "0-0"

    def _read_streams(self, last: dict[Any, Any], done: list[bytes]) -> _Streams:
        """Read both streams, waiting for news. Entries read before hold words, so they are deleted first."""
        self._voices_digest = self._voices.read()
        with self._redis.pipeline(transaction=False) as pipeline:
            if done:
                pipeline.xdel(wire.reply_key(self._daemon), *done)
            pipeline.xread(last, count=256, block=int(1000 * READ_S))
            return pipeline.execute()[-1] or []

    def _replied(self, fields: dict[bytes, bytes]) -> None:
        try:
            reply = wire.read_reply(fields)
        except Malformed as error:
            log.warning("a malformed reply was ignored: %s", error)
            return
        worker = self.outstanding.answered(reply.task)
        if worker is None:
            log.debug("a reply came that nothing waits for", extra={"task": reply.task})
        else:
            worker.replied(reply)

    def _want(self) -> None:
        """Set what workers must decode with, once it is known: the same as this machine's workers."""
        if self._members.is_wanting:
            return
        settings, loaded = self._settings, self._engine.loaded
        if loaded is None and not settings.remote_only:
            return
        if loaded is not None and not settings.remote_only:
            device, compute_type = loaded.device, loaded.compute_type
        else:
            device = "" if settings.device == "auto" else settings.device
            compute_type = "" if settings.compute_type in ("default", "auto") else settings.compute_type
        self._members.want(
            Fingerprint(
                digest=self._digest, context=self._model.context, device=device, compute_type=compute_type,
                versions=versions(),
            )
        )  # fmt: skip
        for member in self._members:
            self._open(member)

    def _beaten(self, fields: dict[bytes, bytes], now: float) -> None:
        try:
            member = self._members.beat(wire.read_beat(fields), now)
        except Malformed as error:
            log.warning("a malformed beat was ignored: %s", error)
            return
        if member.beat.state == "gone":
            self._lose(member, "it has ended")
        elif member.beat.state == "leaving":
            for lane in self._of_member.get(member.beat.worker, ()):
                lane.look_again()
        else:
            self._open(member)
            for lane in self._of_member.get(member.beat.worker, ()):
                lane.beaten()
            self.offer(self._engine.take_leaving)  # it may have a speaker embedder by now

    def _open(self, member: Member) -> None:
        """Open the lanes of a worker that is new."""
        id = member.beat.worker
        if id in self._of_member or not self._members.is_wanting:
            return
        where = {"worker": id, "host": member.beat.host}
        self._of_member[id] = []
        if member.why_not is not None:
            log.warning("a worker gets no audio: %s", member.why_not, extra=where)
            return
        log.info("a worker joined, slots: %d", member.beat.slots, extra=where)
        assert self._nursery is not None
        for _ in range(member.beat.slots):
            lane = RemoteWorker(self, member)
            self._of_member[id].append(lane)
            self._nursery.start_soon(self._keep_lane, lane)

    async def _keep_lane(self, lane: RemoteWorker) -> None:
        where = {"worker": lane.member.beat.worker, "host": lane.member.beat.host}
        while True:
            try:
                loaded = await lane.load(self._settings.load_timeout_s)
                self.serving.add(lane)
                try:
                    await self._engine.serve_remote(lane, loaded)
                finally:
                    self.serving.discard(lane)
            except WorkerLost as loss:
                log.info("a lane is closed: %s", loss, extra=where)
                if lane.is_over:
                    return
            except WorkerDied as death:
                log.warning("a remote worker failed: %s", death, extra=where)
            except Abandoned:
                continue
            await trio.sleep(PAUSE_S)

    def _lose(self, member: Member, why: str) -> None:
        for lane in self._of_member.pop(member.beat.worker, ()):
            lane.lose(why)

    def _lose_all(self, error: BaseException) -> None:
        if self.connected or self._message is None:
            hint = "; check the user and password in engine.broker" if broker.is_refusal(error) else ""
            log.warning("the broker at %s cannot be reached: %s%s", broker.place(self._settings.broker), error, hint)
        self.connected, self._message = False, f"the broker cannot be reached: {error}"
        for member in list(self._members):
            self._lose(member, self._message)
        self._members.clear()
