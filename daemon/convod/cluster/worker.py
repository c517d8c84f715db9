"""`convod worker`: takes windows from a broker and decodes them in the same kind of child process as convod.

In: the settings of the engine. Out: an exit status, once it was told to stop and has finished its task. Celery's
consumer runs in the main thread (`--pool solo`: one task at a time) and hands each task to a loop of trio in another
one, which owns the child process, the beats and the replies. It stores and decides nothing.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from convod.cluster import broker, wire
from convod.cluster.fingerprint import VoicesDigest, digest, versions
from convod.cluster.members import StuckWatch
from convod.cluster.wire import Beat, Fingerprint, Reply
from convod.engine import models, selection, voices
from convod.engine.fetch import FetchFailed, fetch
from convod.engine.process import Abandoned, Unloadable, Worker, WorkerDied, worker_process
from convod.engine.supervisor import ABANDON_S, SMALL_BYTES, EngineSettings
from convod.engine.wire import Load, Loaded, Work, encoded, to_worker
from convod.ops import logs

log = logging.getLogger("convod.cluster")

LOOK_S: Final = 0.25
"""Seconds between two checks whether what it decodes is still wanted."""

PAUSE_S: Final = 1.0
"""Seconds before a child process that ended is started again."""

REPLIES: Final = 5
"""Tries to send a reply. A daemon that the broker's loss was told of has given the task to another by then."""

SPARE_S: Final = 60.0
"""Seconds beyond its deadline that Celery would keep an unacknowledged task; there are none."""


class CannotServe(Exception):
    """The worker cannot run here; the text is a sentence that says what to do."""


class Agent:
    """The loop in its thread. `started` says when the model is loaded or cannot be; then `failure` says why."""

    def __init__(self, settings: EngineSettings) -> None:
        self.started = threading.Event()
        self.failure: str | None = None
        self.fingerprint: Fingerprint
        self.queue: str
        self._settings = settings
        self._id = secrets.token_hex(6)
        self._redis = broker.client(settings.broker)
        self._voices = VoicesDigest(voices.place(settings.voices))
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._child: Worker | None = None
        self._child_is_there = trio.Event()
        self._replace = trio.Event()
        self._loaded: Loaded
        self._model: models.Model
        self._state: Any = "serving"
        self._busy = self._windows = 0
        self._beat_now = trio.Event()
        self._watch = StuckWatch()
        self._consumes = False
        self._away = False

    # --- for the main thread ------------------------------------------------------------------------------

    def main(self) -> None:
        """Run until `stop`, in a thread of its own."""
        try:
            trio.run(self._run)
        except* (CannotServe, Unloadable, OSError) as group:
            fault: BaseException = group
            while isinstance(fault, BaseExceptionGroup):
                fault = fault.exceptions[0]
            self.failure = str(fault)
        except* Exception:
            log.exception("the worker failed")
            self.failure = "the worker failed with the error above; please report it"
        if self.started.is_set() and self.failure is not None:
            os.kill(os.getpid(), signal.SIGTERM)
        self.started.set()

    def decode(self, task: str, daemon: str, model: str, limit_s: float) -> None:
        """Do a task, from the main thread."""
        trio.from_thread.run(self._decode, task, daemon, model, float(limit_s), trio_token=self._token)

    def consume(self) -> None:
        """Say that tasks are taken from now on."""
        self._consumes = True

    def leave(self) -> None:
        """Say that no more tasks are taken."""
        self._from_outside(self._set_leaving)

    def stop(self) -> None:
        """End the loop."""
        self._from_outside(self._scope.cancel)

    def _from_outside(self, function: Callable[[], object]) -> None:
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    def _set_leaving(self) -> None:
        self._state = "leaving"
        self._beat_now.set()

    # --- its life -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._model = await self._find()
        model_digest = await trio.to_thread.run_sync(digest, self._model.directory, abandon_on_cancel=True)
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_child)
                await self._child_is_there.wait()
                self.fingerprint = Fingerprint(
                    digest=model_digest,
                    context=self._model.context,
                    device=self._loaded.device,
                    compute_type=self._loaded.compute_type,
                    versions=versions(),
                )
                self.queue = wire.queue_name(self.fingerprint.name, self._id)
                log.info("decodes with %s on %s", self._model.name, self._loaded.device, extra={"worker": self._id})
                self.started.set()
                await self._beat()
        if self.started.is_set():
            with trio.move_on_after(broker.ANSWER_S, shield=True):
                self._state = "gone"
                await self._send_beat()

    async def _find(self) -> models.Model:
        name = selection.choose(self._settings.model, self._settings.device).model
        try:
            try:
                return models.find(name)
            except models.ModelNotHere as error:
                log.info("fetching %s", error.name)
                await fetch(error.name, error.repository, lambda done, total: None)
                return models.find(name)
        except (models.UnknownModel, models.ModelNotHere, FetchFailed) as error:
            raise CannotServe(str(error)) from error

    async def _keep_child(self) -> None:
        settings, model = self._settings, self._model
        threads = settings.threads or model.threads or (1 if model.size_bytes < SMALL_BYTES else selection.cores())
        load = Load(
            directory=str(model.directory),
            context=model.context,
            device=settings.device,
            compute_type=settings.compute_type,
            threads=threads,
            voices=str(voices.place(settings.voices)),
        )
        while True:
            self._replace = trio.Event()
            try:
                async with worker_process() as child:
                    self._loaded = await child.load(load, settings.load_timeout_s)
                    self._child = child
                    self._child_is_there.set()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._watch_child, child)
                        await self._replace.wait()
                        nursery.cancel_scope.cancel()
            except WorkerDied as death:
                log.warning("the model's process was lost and is restarted: %s", death)
            except (Unloadable, OSError) as error:
                if not self.started.is_set():
                    raise
                log.error("%s", error)
            finally:
                self._forget_child()
            if self._replace.is_set():
                continue
            await trio.sleep(PAUSE_S)

    async def _watch_child(self, child: Worker) -> None:
        status = await child.process.wait()
        log.warning("the model's process ended with status %d and is restarted", status)
        self._replace.set()

    # --- beats --------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._beat_now = trio.Event()
            queued = await self._send_beat()
            if self._watch.look(queued=queued if self._consumes else 0, busy=bool(self._busy)):
                await self._start_again()
            with trio.move_on_after(self._settings.beat_s):
                await self._beat_now.wait()

    async def _send_beat(self) -> int:
        """Send a beat, and return how many tasks are queued."""
        beat = Beat(
            worker=self._id,
            host=socket.gethostname(),
            fingerprint=self.fingerprint,
            model=self._model.name,
            languages=self._loaded.languages,
            multilingual=self._loaded.multilingual,
            busy=self._busy,
            load=_load(),
            windows=self._windows,
            every_s=self._settings.beat_s,
            state=self._state,
        )
        try:
            queued = await trio.to_thread.run_sync(self._put_beat, beat, abandon_on_cancel=True)
        except broker.BROKEN as error:
            if not self._away:
                log.warning("the broker at %s cannot be reached: %s", broker.place(self._settings.broker), error)
            self._away = True
            return 0
        self._away = False
        return queued

    def _put_beat(self, beat: Beat) -> int:
        beat = msgspec.structs.replace(beat, voices=self._voices.read())
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xadd(wire.BEATS, wire.beat_fields(beat), maxlen=wire.BEATS_KEPT, approximate=True)
            pipeline.llen(wire.PREFIX + self.queue)
            return int(pipeline.execute()[-1])

    async def _start_again(self) -> None:
        """Replace this process by a new one with the same command line.

        Celery's consumer may stop taking tasks after its connection was cut, and only a restart is known to help.
        """
        log.error("tasks are queued and none is taken: the worker restarts")
        self._state = "gone"
        await self._send_beat()
        logs.flush()
        os.execv(sys.executable, sys.orig_argv)

    # --- tasks --------------------------------------------------------------------------------------------

    async def _decode(self, task: str, daemon: str, model: str, limit_s: float) -> None:
        self._busy += 1
        begun = trio.current_time()
        try:
            reply = await self._answer(task, model, limit_s)
            await self._send_reply(daemon, reply)
            took_ms = round(1000 * (trio.current_time() - begun))
            log.debug("a task is done", extra={"task": task, "verdict": reply.verdict, "ms": took_ms})
        except broker.BROKEN as error:
            log.warning("a task came to nothing, for the broker cannot be reached: %s", error, extra={"task": task})
        finally:
            self._busy -= 1

    async def _answer(self, task: str, model: str, limit_s: float) -> Reply:
        key = wire.window_key(task)
        get: Callable[[str], Any] = self._redis.get
        frame: bytes | None = await trio.to_thread.run_sync(get, key, abandon_on_cancel=True)
        if frame is None:
            return Reply(task, "dropped")  # nothing waits for it any more
        try:
            work = to_worker(frame)
            if model != self.fingerprint.name or not isinstance(work, Work):
                raise ValueError("it is for another model, or has no windows")
        except (ValueError, msgspec.DecodeError) as error:
            log.warning("a task was ignored: %s", error, extra={"task": task})
            return Reply(task, "dropped")
        with trio.move_on_after(limit_s):
            while self._child is None:
                await self._child_is_there.wait()
        if (child := self._child) is None:
            return Reply(task, "died", b"it could not load the model again")
        # Until it has answered, what it says next would be taken for the answer to another task.
        reply: Reply | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._abandon_unwanted, child, key)
                answer = await child.exchange(work, limit_s)
                nursery.cancel_scope.cancel()
            reply = Reply(task, "answer", encoded(answer))
            self._windows += len(work.windows)
        except* Abandoned:
            self._replace_child()
            reply = Reply(task, "dropped")
        except* WorkerDied as deaths:
            self._replace_child()
            reply = Reply(task, "died", str(deaths.exceptions[0]).encode())
        finally:
            if reply is None:
                self._replace_child()
        return reply

    def _replace_child(self) -> None:
        self._forget_child()
        self._replace.set()

    def _forget_child(self) -> None:
        self._child = None
        if self._child_is_there.is_set():  # who waits for the next one already waits for this very event
            self._child_is_there = trio.Event()

    async def _abandon_unwanted(self, child: Worker, key: str) -> None:
        """Abandon the child's work once its windows are deleted: the session was cancelled, or others decoded them."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                wanted = await trio.to_thread.run_sync(self._redis.exists, key, abandon_on_cancel=True)
            except broker.BROKEN:
                continue  # that says nothing
            if not wanted:
                child.abandon(ABANDON_S)
                return

    async def _send_reply(self, daemon: str, reply: Reply) -> None:
        """Send a reply, and again if the connection breaks: without it, the daemon waits until the deadline.

        One that arrives twice counts once.
        """
        for _ in range(REPLIES - 1):
            with suppress(*broker.BROKEN):
                await trio.to_thread.run_sync(self._put_reply, daemon, reply, abandon_on_cancel=True)
                return
            await trio.sleep(PAUSE_S)
        await trio.to_thread.run_sync(self._put_reply, daemon, reply, abandon_on_cancel=True)

    def _put_reply(self, daemon: str, reply: Reply) -> None:
        stream = wire.reply_key(daemon)
        with self._redis.pipeline() as transaction:
            transaction.xadd(stream, reply.fields)
            transaction.expire(stream, wire.REPLY_S)
            transaction.delete(wire.window_key(reply.task))
            transaction.execute()


def _load() -> float:
    """Return the machine's load per processor; 0 if the system hides it, as from a unit with ProcSubset=pid."""
    try:
        return os.getloadavg()[0] / selection.cores()
    except OSError:
        return 0.0


def consumer(settings: EngineSettings, agent: Agent) -> Any:
    """Return Celery's worker, without the features that are known to fail with Redis."""
    from celery import Celery
    from celery.platforms import SecurityWarning
    from celery.signals import setup_logging, worker_ready, worker_shutting_down
    from kombu import Exchange, Queue

    # As root it warns about pickle, which is not accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app = Celery("convo", broker=settings.broker, set_as_current=False)
    app.conf.update(
        broker_use_ssl=broker.tls_options(settings.broker),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": wire.PREFIX,
            "priority_steps": [0],
            "socket_connect_timeout": broker.CONNECT_S,
            "socket_keepalive": True,
            "health_check_interval": int(broker.ANSWER_S),
            # No task is kept for redelivery (`no_ack`): the daemon decides that.
            "visibility_timeout": settings.deadline_s * 64 + SPARE_S,
        },
        # Acknowledged when taken, never taken in advance: a task that waits in a worker can go nowhere else.
        task_queues=[Queue(agent.queue, Exchange(""), routing_key=agent.queue, no_ack=True)],
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        # No messages between workers, and nothing to unpickle.
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    app.task(agent.decode, name=wire.TASK, ignore_result=True)

    def leave(**_: Any) -> None:
        agent.leave()

    def consume(**_: Any) -> None:
        agent.consume()

    def keep(**_: Any) -> None:
        """Listening to this signal keeps Celery from setting up logs."""

    worker_ready.connect(consume, weak=False)
    worker_shutting_down.connect(leave, weak=False)
    setup_logging.connect(keep, weak=False)
    return app.Worker(
        pool="solo",
        concurrency=1,
        hostname=f"convod@{socket.gethostname()}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )


def run(settings: EngineSettings) -> int:
    """Serve until told to stop, and return the exit status."""
    try:
        broker.client(settings.broker).ping()
    except broker.BROKEN as error:
        if broker.is_refusal(error):
            print(
                f"convod: the broker refused the login ({error}); check the user and password in its URL",
                file=sys.stderr,
            )
            return 1
        log.warning("the broker at %s cannot be reached yet: %s", broker.place(settings.broker), error)
    agent = Agent(settings)
    thread = threading.Thread(target=agent.main, name="agent", daemon=True)
    thread.start()
    import celery  # noqa: F401  while the model is loaded

    agent.started.wait()
    status = 0
    if agent.failure is None:
        logging.getLogger("celery").setLevel(logging.WARNING)
        logging.getLogger("kombu").setLevel(logging.WARNING)
        serving = consumer(settings, agent)
        serving.start()
        status = int(serving.exitcode or 0)
        agent.stop()
        thread.join()
    if agent.failure is not None:
        print(f"convod: {agent.failure}", file=sys.stderr)
        return 1
    return status
