"""The state of the daemon in numbers, in Prometheus' text format, made on request.

In: the parts of a running daemon. Out: text. It changes nothing, and shows nothing of what was said or by whom.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from convo.messages import RemoteWorkerStatus, SummaryOptions
from convod import __version__
from convod.engine.supervisor import Engine
from convod.listen.auth import Authenticator
from convod.listen.limits import ConnectionLimiter
from convod.metrics import Histogram
from convod.sessions import Manager
from convod.store import StoreFailed
from convod.summary import Summarizers, SummarizerUnavailable

if TYPE_CHECKING:
    from prometheus_client import Metric

    from convod.engine.remote import Lanes

STATES: Final = ("loading", "ready", "unloaded", "failed")


class MetricsExporter(msgspec.Struct, frozen=True):
    """Collects the metrics of all parts."""

    manager: Manager
    summarizers: Summarizers
    limiter: ConnectionLimiter
    authenticator: Authenticator
    state: Path
    spool: Path
    began: float = msgspec.field(default_factory=time.monotonic)

    async def text(self) -> str:
        """All metrics, in Prometheus' text format 0.0.4."""
        try:
            summarizer = await self.summarizers.choose(SummaryOptions())
            provider = summarizer.provider
        except SummarizerUnavailable:
            provider = None
        # Sizes of files and memory of processes are read from the system: not in the loop.
        measured = await trio.to_thread.run_sync(self.system, self.manager.engine.processes)
        if (database := sum(map(size_of, self.state.glob("convod.sqlite*")))) == 0:  # it is elsewhere
            with suppress(StoreFailed):
                database = await self.manager.store.size()
        measured.append(_gauge("convo_database_bytes", "Size of the database.", {(): database}))
        return _written([*self._daemon(provider), *self._engine(self.manager.engine), *measured])

    def _daemon(self, provider: str | None) -> Iterator[Metric]:
        counts = self.manager.counts()
        yield _gauge("convo_info", "Version of convod.", {(("version", __version__),): 1})
        yield _gauge("convo_uptime_seconds", "Seconds since the start.", {(): time.monotonic() - self.began})
        yield _gauge(
            "convo_sessions", "Sessions in no final state.", _by("kind", {"live": counts.live, "file": counts.file})
        )
        yield _gauge(
            "convo_connections", "Open connections.",
            _by("state", {"greeted": self.limiter.greeted, "silent": self.limiter.connected - self.limiter.greeted}),
        )  # fmt: skip
        yield _gauge("convo_tasks", "Tasks of the event loop.", {(): trio.lowlevel.current_statistics().tasks_living})
        yield _counter("convo_limits_met", "Times a limit was met.", _by("limit", self.limiter.refused))
        yield _counter("convo_wrong_tokens", "Tokens that were wrong or missing.", {(): self.authenticator.refused})
        yield _counter(
            "convo_rejected_texts",
            "Texts that were not shown.",
            _by("reason", self.manager.hallucination_filter.rejected),
        )
        metrics = self.manager.metrics
        yield _histogram(
            "convo_segment_lag_seconds", "From a segment's last audio to its text.", {(): metrics.segment_lag}
        )
        yield _counter("convo_audio_bytes", "Bytes of audio that were stored.", {(): metrics.audio_bytes})
        yield _gauge(
            "convo_summarizer_up", "Whether a summarizer answers, and which one would write.",
            {(("provider", provider or "none"),): int(provider is not None)},
        )  # fmt: skip
        yield _counter("convo_summaries", "Tries at a summary.", _by("outcome", metrics.summaries))
        yield _histogram("convo_summary_seconds", "Time to write a summary.", {(): metrics.summary_time})

    def _engine(self, engine: Engine) -> Iterator[Metric]:
        status, queue = engine.status(), engine.queue()
        yield _gauge("convo_engine_state", "1 for the state that it is in.",
                     _by("state", {state: int(state == engine.state) for state in STATES}))  # fmt: skip
        yield _gauge("convo_engine_workers", "Processes that transcribe.", {(): status.workers})
        yield _counter("convo_engine_restarts", "Times that one had to be started again.", {(): engine.restarts})
        waiting = {"final": queue.final, "interim": queue.interim, "file": queue.file}
        yield _gauge("convo_queue_windows", "Windows of audio that wait.", _by("kind", waiting))
        yield _histogram("convo_queue_wait_seconds", "How long a window waited.",
                         {(("kind", kind.name.lower()),): one for kind, one in engine.waits.items()})  # fmt: skip
        yield _gauge("convo_backlog_seconds_per_slot", "Audio that waits for the model, per worker slot.",
                     {(): engine.backlog_s / max(1, engine.slots)})  # fmt: skip
        if engine.lanes is not None:
            yield from _remote(engine.lanes)
        yield _counter("convo_decoded_audio_seconds", "Audio that was decoded.", {(): engine.decoded_s})
        yield _counter("convo_decoding_seconds", "Time spent on it; over the audio, it is the real-time factor.",
                       {(): engine.busy_s})  # fmt: skip

    def system(self, workers: list[int]) -> list[Metric]:
        """Measure disk and processes. Blocks."""
        spool = [size_of(file) for file in self.spool.glob("*.audio")]
        memory = {"convod": _resident(os.getpid()), "workers": sum(_resident(worker) for worker in workers)}
        times = os.times()
        return [
            _gauge("convo_memory_bytes", "Resident memory.", _by("process", memory)),
            _counter("process_cpu_seconds", "Processor time of convod itself.", {(): times.user + times.system}),
            _gauge("process_open_fds", "Open files and sockets.", {(): len(os.listdir("/proc/self/fd"))}),
            _gauge("convo_spool_bytes", "Audio on disk.", {(): sum(spool)}),
            _gauge("convo_spool_files", "Sessions with audio on disk.", {(): len(spool)}),
            _gauge("convo_disk_free_bytes", "Room where convod keeps its state.", _free(self.state)),
        ]


def _remote(lanes: Lanes) -> Iterator[Metric]:
    status = lanes.status()
    by_worker: list[tuple[Labels, RemoteWorkerStatus]] = [
        ((("worker", one.worker), ("host", one.host)), one) for one in status.workers
    ]
    yield _gauge("convo_broker_up", "Whether the broker can be reached.", {(): int(status.connected)})
    yield _counter("convo_broker_unexpected_replies", "Replies that nothing waited for: late, or delivered twice.",
                   {(): lanes.unexpected})  # fmt: skip
    yield _gauge("convo_worker_slots", "Slots of a worker on another machine; 0 if it gets nothing.",
                 {labels: one.slots if one.reason is None else 0 for labels, one in by_worker})  # fmt: skip
    yield _gauge("convo_worker_busy_slots", "Slots that are decoding.", {labels: one.busy for labels, one in by_worker})
    yield _gauge("convo_worker_load", "Load of its machine per processor.",
                 {labels: one.load for labels, one in by_worker})  # fmt: skip
    yield _gauge("convo_worker_beat_age_seconds", "Seconds since its last beat.",
                 {labels: one.beat_s for labels, one in by_worker})  # fmt: skip
    yield _counter("convo_worker_windows", "Windows it has decoded.",
                   {labels: one.windows for labels, one in by_worker})  # fmt: skip
    yield _gauge("convo_worker_way_seconds", "Round trip to it, without the decoding.",
                 {(("worker", worker), ("host", host)): way_s for worker, host, way_s in lanes.ways()})  # fmt: skip


Labels = tuple[tuple[str, str], ...]


def _by(label: str, values: Mapping[str, float]) -> dict[Labels, float]:
    return {((label, str(name)),): value for name, value in values.items()}


def _gauge(name: str, text: str, values: Mapping[Labels, float]) -> Metric:
    return _metric(name, text, "gauge", values, "")


def _counter(name: str, text: str, values: Mapping[Labels, float]) -> Metric:
    return _metric(name, text, "counter", values, "_total")


def _metric(name: str, text: str, kind: str, values: Mapping[Labels, float], suffix: str) -> Metric:
    from prometheus_client import Metric

    made = Metric(name, text, kind)
    for labels, value in values.items():
        made.add_sample(name + suffix, dict(labels), value)
    return made


def _histogram(name: str, text: str, values: Mapping[Labels, Histogram]) -> Metric:
    from prometheus_client import Metric

    made = Metric(name, text, "histogram")
    for labels, histogram in values.items():
        buckets = histogram.cumulative
        for bound, count in buckets:
            made.add_sample(f"{name}_bucket", {**dict(labels), "le": bound}, count)
        made.add_sample(f"{name}_count", dict(labels), buckets[-1][1])
        made.add_sample(f"{name}_sum", dict(labels), histogram.sum)
    return made


def _written(metrics: Iterable[Metric]) -> str:
    # Imported at the first request, so that the daemon starts without it.
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry).decode()


def size_of(file: Path) -> int:
    """Bytes of a file; 0 for one that was deleted meanwhile, or that the disk does not give."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _free(folder: Path) -> dict[Labels, float]:
    """Room on the disk of a folder; no value where the disk does not say."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return {}
    return {(): disk.f_bavail * disk.f_frsize}


def _resident(pid: int) -> int:
    """Resident memory in bytes; 0 where the system does not say (Linux does)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
