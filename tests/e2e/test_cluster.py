"""Windows on other machines: real workers on a real Redis, their processes and links broken on purpose."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

import convo
from convo import messages
from convod.cluster import wire
from convod.cluster.lanes import PROBE
from convod.engine.wire import encoded
from tests.support.daemon import Daemon, running
from tests.support.postgres import Server
from tests.support.redis import RedisServer, RemoteWorker, SlowLink
from tests.support.sessions import LIMIT_S, OFF, assert_whole, of, segments, states
from tests.support.speech import DATA

TALK = (DATA / "talk.flac").read_bytes()
BEAM = {"CONVOD_SESSIONS_BEAM": "1", "CONVOD_ENGINE_BATCH": "1"}
"""Whatever is heard, is it the same to the last digit? In a batch that would depend on its size."""

What = list[tuple[object, ...]]

SEED = 20261130
KILLS = 20


def what(events: list[messages.Event]) -> What:
    assert_whole(events)
    assert states(events)[-1] == "completed"
    assert not of(messages.SessionWarning, events)
    return [(one.start, one.end, one.text, one.confidence, one.words) for one in segments(events)]


class Cluster:
    """A daemon without workers of its own, and some on Redis, each with a link of its own."""

    def __init__(self, broker: RedisServer, daemon: Daemon) -> None:
        self.broker = broker
        self.daemon = daemon
        self.stuck: RemoteWorker | None = None
        self._workers: dict[RemoteWorker, SlowLink] = {}

    def start(self, **options: str) -> RemoteWorker:
        link = SlowLink(self.broker.port)
        worker = RemoteWorker(self.broker.url(link.port), **options)
        self._workers[worker] = link
        return worker

    def link(self, worker: RemoteWorker) -> SlowLink:
        return self._workers[worker]

    def end(self, worker: RemoteWorker) -> None:
        link = self._workers.pop(worker)
        worker.end(signal.SIGKILL)
        link.close()

    def close(self) -> None:
        for worker in list(self._workers):
            self.end(worker)

    async def having(self, client: convo.Client, count: int) -> list[RemoteWorker]:
        """So many workers that take windows, or more."""
        while len(workers := [one for one in self._workers if one is not self.stuck]) < count:
            self.start()
        await self.wait_serving(client, *workers)
        return workers

    async def wait_serving(self, client: convo.Client, *workers: RemoteWorker) -> None:
        """Until the daemon knows of these, and each takes windows: it has answered to the probe."""
        await until(lambda: all("verdict=answer" in "".join(worker.log) for worker in workers))
        ids = {worker.id for worker in workers}
        while not ids <= {one.worker for one in (await self.status(client)).workers}:  # noqa: ASYNC110
            await trio.sleep(0.05)

    async def status(self, client: convo.Client) -> messages.ClusterStatus:
        cluster = (await client.request(messages.Status())).cluster
        assert cluster is not None
        return cluster

    async def wait_held(self, count: int) -> list[str]:
        """Until so many tasks are out that nobody ends; their ids."""
        held: set[str] = set()
        while len(held) != count or self.broker.names("convo:q:*"):  # workers have taken them
            before = set(self.windows())
            await trio.sleep(0.3)
            held = before & set(self.windows())
        return [key.removeprefix("convo:w:") for key in held]

    def windows(self) -> list[str]:
        """Tasks whose windows are at the broker."""
        return self.broker.names("convo:w:*")


async def until(happened: Callable[[], object]) -> None:
    while not happened():  # noqa: ASYNC110
        await trio.sleep(0.02)


def beat_of(cluster: Cluster, worker: RemoteWorker) -> wire.Beat:
    """The last beat of a worker."""
    beats = (wire.read_beat(fields) for _, fields in cluster.broker.admin.xrevrange(wire.BEATS))
    return next(beat for beat in beats if beat.worker == worker.id)


def queue_of(cluster: Cluster, worker: RemoteWorker) -> tuple[str, str]:
    """A worker's queue, and its model's name in it."""
    model = beat_of(cluster, worker).fingerprint.name
    return wire.queue_name(model, worker.id), model


async def heard_of(cluster: Cluster, client: convo.Client, *workers: str) -> dict[str, str]:
    """Why each worker gets nothing, once all of these are known."""
    told: dict[str, str] = {}
    while not told.keys() >= set(workers):
        told = {one.worker: one.reason or "" for one in (await cluster.status(client)).workers}
    return told


async def until_away(cluster: Cluster, client: convo.Client) -> None:
    while (status := await cluster.status(client)).connected or status.workers:  # noqa: ASYNC110
        await trio.sleep(0.05)
    assert "cannot be reached" in (status.message or "")


async def begin(client: convo.Client, data: bytes = TALK) -> convo.ClientSession:
    session = await client.create_session("file", language="en", summary=OFF, words=True)
    await session.send_audio(data)
    await session.end()
    return session


async def rest(session: convo.ClientSession) -> What:
    return what([event async for event in session.events()])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> What:
    """The talk as a convod alone hears it."""

    async def alone() -> What:
        async with convo.connect(daemon.url) as client:
            return await rest(await begin(client))

    with running(tmp_path_factory.mktemp("alone"), environment=BEAM) as daemon:
        heard = trio.run(alone)
    assert len(heard) > 8
    return heard


@contextmanager
def running_cluster(directory: Path, broker: RedisServer, **environment: str) -> Iterator[Cluster]:
    environment |= {**BEAM, "CONVOD_ENGINE_BROKER": broker.url(), "CONVOD_ENGINE_REMOTE_ONLY": "true"}
    with running(directory, environment=environment) as daemon:
        whole = Cluster(broker, daemon)
        try:
            yield whole
        finally:
            whole.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, broker: RedisServer) -> Iterator[Cluster]:
    """It serves all tests: that it still works after one is seen by the next."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), broker) as whole:
        yield whole


STUCK = """
from pathlib import Path
mark = Path({mark!r})
if not mark.exists():
    mark.touch()
    from kombu.transport.redis import MultiChannelPoller
    MultiChannelPoller.on_poll_start = lambda self: None
"""
"""Once, its consumer never asks for a task."""


async def test_a_file_waits_for_a_worker_and_has_the_same_text_with_one(
    cluster: Cluster, expected: What, tmp_path: Path
) -> None:
    async with convo.connect(cluster.daemon.url) as client:
        early = await begin(client)  # it waits for who comes
        status = await client.request(messages.Status())
        assert "convod worker --broker" in (status.engine.message or "")
        cluster.start()
        # One whose consumer takes nothing becomes a new one by itself, while other tests go on.
        cluster.stuck = cluster.start(before=STUCK.format(mark=str(tmp_path / "mark")))
        assert await rest(early) == expected


async def test_a_worker_with_another_model_or_version_gets_nothing_and_distance_changes_nothing(
    cluster: Cluster, expected: What
) -> None:
    redis = cluster.broker.admin
    async with convo.connect(cluster.daemon.url) as client:
        worker, *_ = workers = await cluster.having(client, 2)
        beat = beat_of(cluster, worker)
        reasons = {"digest": "it has another model", "versions": "it runs other, this convod convod "}
        for field in reasons:
            fingerprint = replace(beat.fingerprint, **{field: "other"})
            redis.xadd(wire.BEATS, wire.beat_fields(replace(beat, worker=field, fingerprint=fingerprint)))
        told = await heard_of(cluster, client, *reasons)
        assert told[worker.id] == ""
        assert all(told[field].startswith(reason) for field, reason in reasons.items())
        # Nor does a worker do a task for another model, should one reach it.
        queue, _ = queue_of(cluster, worker)
        redis.set(wire.window_key("t"), encoded(PROBE), ex=30)
        redis.lpush(wire.PREFIX + queue, wire.task_message("t", queue, "nobody", "another", 10.0))
        for one in workers:
            cluster.link(one).delay_s = 0.025  # each way
        assert await rest(await begin(client)) == expected
        for one in workers:
            cluster.link(one).delay_s = 0.0
        assert not [name for field in reasons for name in cluster.broker.names(f"convo:q:*:{field}")]
        await until(lambda: "a task was ignored" in "".join(worker.log))


async def test_a_model_that_hangs_is_replaced_and_what_it_might_yet_say_is_not_taken_for_another_answer(
    cluster: Cluster, expected: What
) -> None:
    redis = cluster.broker.admin
    async with convo.connect(cluster.daemon.url) as client:
        worker, *_ = await cluster.having(client, 1)
        child = worker.child
        queue, model = queue_of(cluster, worker)
        os.kill(child, signal.SIGSTOP)
        redis.set(wire.window_key("h"), encoded(PROBE), ex=30)
        redis.lpush(wire.PREFIX + queue, wire.task_message("h", queue, "nobody", model, 0.3))
        await until(lambda: "task=h verdict=died" in "".join(worker.log))
        await until(lambda: worker.child != child)


async def test_workers_that_are_killed_stopped_and_cut_off_in_mid_window(cluster: Cluster, expected: What) -> None:
    async with convo.connect(cluster.daemon.url) as client:
        killed, stopped, cut_off = await cluster.having(client, 3)
        children = [one.child for one in (stopped, cut_off)]
        for child in (*children, killed.child):
            os.kill(child, signal.SIGSTOP)
        session = await begin(client)
        await cluster.wait_held(3)  # each has one, and none can end it
        cluster.end(killed)
        stopped.send(signal.SIGSTOP)
        cluster.link(cut_off).cut()
        other = cluster.stuck or cluster.start()
        assert await rest(session) == expected
        # They come back, with answers that nobody waits for any more.
        stopped.send(signal.SIGCONT)
        cluster.link(cut_off).mend()
        for child in children:
            os.kill(child, signal.SIGCONT)
        await cluster.wait_serving(client, stopped, cut_off, other)


async def test_a_worker_that_was_stuck_has_started_again_and_one_that_is_told_to_stop_goes(
    cluster: Cluster, expected: What
) -> None:
    async with convo.connect(cluster.daemon.url) as client:
        await cluster.having(client, 1)
        if (stuck := cluster.stuck) is None:
            pytest.skip("it is started by the first test")
        await cluster.wait_serving(client, stuck)
        assert "the worker restarts" in "".join(stuck.log)
        assert await trio.to_thread.run_sync(stuck.end) == 0, "".join(stuck.log)
        cluster.end(stuck)
        cluster.stuck = None
        while stuck.id in {one.worker for one in (await cluster.status(client)).workers}:  # noqa: ASYNC110
            await trio.sleep(0.02)
        assert cluster.windows() == []


async def test_redis_killed_and_started_again_in_mid_file(cluster: Cluster, expected: What) -> None:
    async with convo.connect(cluster.daemon.url) as client:
        one, *others = await cluster.having(client, 2)
        child = one.child
        os.kill(child, signal.SIGSTOP)
        session = await begin(client)
        await cluster.wait_held(1)  # the others have none left to do
        cluster.broker.kill()
        os.kill(child, signal.SIGCONT)
        await until_away(cluster, client)
        cluster.broker.start()
        assert await rest(session) == expected
        await cluster.wait_serving(client, one, *others)


async def test_a_delivery_that_is_forced_twice_is_stored_once(cluster: Cluster, expected: What) -> None:
    redis = cluster.broker.admin
    async with convo.connect(cluster.daemon.url) as client:
        workers = await cluster.having(client, 2)
        children = [worker.child for worker in workers]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        session = await begin(client)
        tasks = await cluster.wait_held(len(workers))
        for worker in workers:  # each gets all once more, its own and those of others
            queue, model = queue_of(cluster, worker)
            for task in tasks:
                redis.lpush(wire.PREFIX + queue, wire.task_message(task, queue, task.partition("-")[0], model, 60.0))
        for child in children:
            os.kill(child, signal.SIGCONT)
        told = await rest(session)
        replies = wire.reply_key(tasks[0].partition("-")[0])
        for task in tasks:
            for verdict in ("answer", "died", "dropped"):
                redis.xadd(replies, {"task": task, "verdict": verdict, "body": b"\x80"})
        assert told == expected


async def test_a_cancelled_file_is_gone_within_a_second_there_too(cluster: Cluster, expected: What) -> None:
    async with convo.connect(cluster.daemon.url) as client:
        workers = await cluster.having(client, 2)
        children = [worker.child for worker in workers]
        for child in children:
            os.kill(child, signal.SIGSTOP)
        session = await begin(client)
        await cluster.wait_held(len(workers))
        begun = time.monotonic()
        await session.cancel()
        await until(lambda: not cluster.windows())
        assert time.monotonic() - begun < 1.0
        assert [path.name for path in (cluster.daemon.state / "spool").iterdir()] == []
        await until(lambda: not {worker.child for worker in workers} & set(children))
        assert await rest(await begin(client)) == expected


async def test_a_worker_that_may_not_come_in_says_what_to_look_at(broker: RedisServer) -> None:
    worker = RemoteWorker(f"redis://convo:wrong@127.0.0.1:{broker.plain_port}")
    assert await trio.to_thread.run_sync(worker.process.wait, 30) == 1
    worker.end()
    (said,) = worker.log
    assert said.startswith("convod: the broker refused the login")
    assert said.endswith("check the user and password in its URL\n")


@pytest.mark.slow
def test_twenty_kills_of_workers_models_redis_and_postgresql_change_nothing(
    broker: RedisServer, postgres: Server, tmp_path: Path, expected: What
) -> None:
    chance = random.Random(SEED)
    kills: Counter[str] = Counter()

    async def disturb(cluster: Cluster) -> None:
        """One file with a few kills."""
        with trio.fail_after(4 * LIMIT_S):
            async with convo.connect(cluster.daemon.url) as client:
                workers = await cluster.having(client, 3)
                session = await begin(client)
                for _ in range(chance.randint(1, 3)):
                    await trio.sleep(chance.uniform(0.0, 0.5))
                    what_dies = chance.choice(["worker", "worker", "model", "redis", "postgresql"])
                    if what_dies == "redis":
                        cluster.broker.kill()
                        cluster.broker.start()
                    elif what_dies == "postgresql":
                        postgres.signal(chance.choice([signal.SIGKILL, signal.SIGQUIT]))
                        postgres.start()
                    elif what_dies == "model" and workers:
                        os.kill(chance.choice(workers).child, signal.SIGKILL)
                    elif workers:
                        cluster.end(workers.pop(chance.randrange(len(workers))))
                        cluster.start()
                    kills[what_dies] += 1
                assert await rest(session) == expected

    with postgres.fresh() as address, running_cluster(tmp_path, broker, CONVOD_STORE_URL=address) as cluster:
        while kills.total() < KILLS:
            trio.run(disturb, cluster)
    assert len(kills) == 4
