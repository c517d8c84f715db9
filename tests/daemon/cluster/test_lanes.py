"""The daemon's lanes on a real Redis; the worker is the test's own, so that it can do what real ones never should."""

from __future__ import annotations

import json
import os
import signal
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import redis
import trio

from convod.cluster import wire
from convod.cluster.estimate import WayEstimate
from convod.cluster.fingerprint import VoicesDigest, digest, versions
from convod.cluster.lanes import Lanes, RemoteWorker
from convod.cluster.members import LOST_BEATS
from convod.cluster.wire import Beat, Fingerprint, Reply
from convod.engine.models import BUILTIN, BUILTIN_DIRECTORY
from convod.engine.supervisor import Engine, EngineSettings
from convod.engine.wire import Results, Work, encoded, to_worker
from convod.speech.commands import DecodeRequeued, DecodeStarted, News
from convod.speech.decoding import DecodeJob, Hypothesis, Kind, Options, Window
from tests.support.redis import RedisServer
from tests.support.speech import pcm
from tests.support.until import PATIENCE_S, until

RATE = 16000


class Stage:
    """An engine whose only worker here is held still, and a worker on another machine that the test plays."""

    def __init__(self, engine: Engine, broker: RedisServer) -> None:
        self.engine = engine
        self.redis = broker.admin
        self.outcomes: dict[DecodeJob, list[object]] = {}
        loaded = engine.loaded
        assert loaded is not None
        fingerprint = Fingerprint(
            digest=digest(BUILTIN_DIRECTORY), context="short", device=loaded.device,
            compute_type=loaded.compute_type, versions=versions(),
        )  # fmt: skip
        self.beat = Beat(
            worker=os.urandom(4).hex(), host="elsewhere", fingerprint=fingerprint, model=BUILTIN, languages=["en"],
            multilingual=False,
        )  # fmt: skip

    def send_beat(self, **changed: str) -> None:
        self.redis.xadd(wire.BEATS, wire.beat_fields(msgspec.structs.replace(self.beat, **changed)))

    async def take(self) -> tuple[str, str, Work]:
        """Wait for a task: its id, whose it is, and the windows."""
        queue = wire.PREFIX + wire.queue_name(self.beat.fingerprint.name, self.beat.worker)
        pop = partial(self.redis.brpop, queue, PATIENCE_S)
        _, found = await trio.to_thread.run_sync(pop, abandon_on_cancel=True)
        task, daemon, _, _ = json.loads(b64decode(json.loads(found)["body"]))[0]
        work = to_worker(self.redis.get(wire.window_key(task)))
        assert isinstance(work, Work)
        return task, daemon, work

    def reply(self, task: str, daemon: str, *texts: str, verdict: str = "answer", body: bytes | None = None) -> None:
        heard = [
            Hypothesis(text=text, language="en", language_probability=1.0, avg_logprob=0.0, no_speech_prob=0.0)
            for text in texts
        ]
        answer = encoded(Results(hypotheses=heard, seconds=0.0)) if body is None else body
        self.redis.xadd(wire.reply_key(daemon), Reply(task, verdict, answer).fields)
        self.redis.delete(wire.window_key(task))

    async def open_lane(self) -> None:
        self.send_beat()
        task, daemon, probe = await self.take()
        self.reply(task, daemon, *["" for _ in probe.windows])
        await until(lambda: self.engine.lanes.idle)

    def submit(self, kind: Kind, session: str, *, voiceprints: bool = False, seconds: int = 60) -> DecodeJob:
        window = Window(audio=pcm("single.flac")[: 2 * RATE * seconds], voiceprints=voiceprints)
        job = DecodeJob(session, kind, window, RATE, Options(language="en", beam=1))
        self.outcomes[job] = []
        self.engine.submit(job, lambda job, outcome: self.outcomes[job].append(outcome))
        return job

    async def text(self, job: DecodeJob) -> str:
        await until(lambda: self.outcomes[job])
        (outcome,) = self.outcomes[job]
        assert isinstance(outcome, Hypothesis), outcome
        return outcome.text

    def let_go(self) -> None:
        """Let the worker here go on."""
        for pid in self.engine.processes:
            os.kill(pid, signal.SIGCONT)


def measured(lane: RemoteWorker, seconds: float) -> None:
    """So long the way takes, whatever it took on this machine."""
    lane.way = WayEstimate()
    for _ in range(20):
        lane.way.measured(seconds)


@asynccontextmanager
async def stage(broker: RedisServer, **settings: str) -> AsyncIterator[Stage]:
    engine = Engine(EngineSettings(model=BUILTIN, workers=1, broker=broker.url(), **settings), Lanes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        with trio.fail_after(PATIENCE_S):
            await engine.wait_ready()
        one = Stage(engine, broker)
        await one.open_lane()
        (pid,) = engine.processes
        os.kill(pid, signal.SIGSTOP)
        one.submit(Kind.FINAL, "held")
        await until(lambda: not engine.queue().final)
        yield one
        one.let_go()
        nursery.cancel_scope.cancel()
    assert broker.names("convo:w:*") == broker.names("convo:r:*") == []  # nothing is left behind


async def test_finals_leave_if_the_way_fits_their_deadline_and_interims_stay(
    broker: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "convod.cluster")
    async with stage(broker) as one:
        (lane,) = one.engine.lanes.serving
        measured(lane, 0.005)
        interim = one.submit(Kind.INTERIM, "speaks")
        near = one.submit(Kind.FINAL, "near")
        task, daemon, work = await one.take()
        assert [window.audio for window in work.windows] == [near.audio]
        one.reply(task, daemon, "from afar")
        assert await one.text(near) == "from afar"
        # Its worker logs the same id: what became of a session is found across machines.
        logged = [record for record in caplog.records if getattr(record, "task", "") == task]
        assert [(one.getMessage(), one.session) for one in logged] == [  # type: ignore[attr-defined]
            ("a task is out", "near"),
            ("a task is over", "near"),
        ]

        measured(lane, 1.0)  # the network has become slow
        far = one.submit(Kind.FINAL, "far")
        assert (one.engine.queue().final, one.engine.queue().interim) == (1, 1)
        file = one.submit(Kind.FILE, "file")
        task, daemon, work = await one.take()
        assert len(work.windows) == 1
        one.reply(task, daemon, "a file may always leave")
        assert await one.text(file) == "a file may always leave"
        assert one.outcomes[interim] == one.outcomes[far] == []
        one.let_go()
        assert await one.text(interim) != ""
        assert await one.text(far) not in ("", "from afar")


async def test_a_window_whose_worker_goes_is_decoded_here_and_what_comes_late_or_twice_is_nobodys(
    broker: RedisServer,
) -> None:
    async with stage(broker) as one:
        first = one.submit(Kind.FILE, "first")
        task, daemon, _ = await one.take()
        for text in ("once", "twice"):
            one.reply(task, daemon, text)
        assert await one.text(first) == "once"
        news: list[News] = []
        one.engine.subscribe("lost", news.append)
        lost = one.submit(Kind.FILE, "lost")
        task, daemon, _ = await one.take()
        assert news == [DecodeStarted(lost)]
        one.send_beat(state="gone")
        await until(lambda: one.engine.queue().file == 1)
        assert news == [DecodeStarted(lost), DecodeRequeued(lost)]
        assert (lost.losses, lost.deaths) == (1, 0)
        one.reply(task, daemon, "too late")
        await until(lambda: one.engine.lanes.outstanding.unexpected == 2)
        # It stays, though somebody comes who could take it.
        one.beat = msgspec.structs.replace(one.beat, worker="another")
        await one.open_lane()
        assert one.engine.queue().file == 1
        one.let_go()
        assert await one.text(lost) not in ("", "too late")


async def test_audio_whose_speakers_are_told_apart_leaves_only_for_a_worker_with_the_same_speaker_model(
    broker: RedisServer, tmp_path: Path
) -> None:
    model = tmp_path / "voices.onnx"
    model.write_bytes(b"a speaker model")
    async with stage(broker, voices=str(model)) as one:
        (note,) = {worker.note for worker in one.engine.lanes.status().workers}
        assert "convo models pull voices" in note
        stays = one.submit(Kind.FILE, "with speakers", voiceprints=True)
        other = one.submit(Kind.FILE, "without")
        task, daemon, work = await one.take()
        assert [window.voiceprints for window in work.windows] == [False]
        one.reply(task, daemon, "without")
        assert await one.text(other) == "without"
        await until(lambda: one.engine.lanes.idle)
        assert one.engine.queue().file == 1
        # It gets the model while it runs: it says so with its next beat.
        one.send_beat(voices=VoicesDigest(model).read())
        task, daemon, work = await one.take()
        assert [window.voiceprints for window in work.windows] == [True]
        one.reply(task, daemon, "with speakers")
        assert await one.text(stays) == "with speakers"
        assert [worker.note for worker in one.engine.lanes.status().workers] == [None]


def test_the_digest_of_a_speaker_model_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "voices.onnx"
    digest = VoicesDigest(file)
    assert digest.read() == ""
    file.write_bytes(b"one")
    first = digest.read()
    assert digest.read() == first == sha256(b"one").hexdigest()
    file.write_bytes(b"another")
    assert digest.read() == sha256(b"another").hexdigest()
    file.unlink()
    assert digest.read() == ""


@pytest.mark.parametrize(
    ("verdict", "body"),
    [("died", b"it ended\x1b[31m"), ("answer", b"\xc1"), ("answer", encoded(Results(hypotheses=[], seconds=0.0)))],
)
async def test_a_worker_whose_model_died_or_that_answers_nonsense_is_tried_again(
    broker: RedisServer, verdict: str, body: bytes
) -> None:
    async with stage(broker) as one:
        job = one.submit(Kind.FILE, "file")
        task, daemon, _ = await one.take()
        one.redis.xadd(wire.reply_key(daemon), {"task": task, "verdict": "no such thing"})
        one.redis.xadd(wire.BEATS, {"beat": b"\xc1"})
        one.reply(task, daemon, verdict=verdict, body=body)
        await until(lambda: one.engine.queue().file == 1)
        assert (job.losses, job.deaths) == (0, 1)
        task, daemon, probe = await one.take()
        one.reply(task, daemon, *["" for _ in probe.windows])
        task, daemon, _ = await one.take()
        one.reply(task, daemon, "well again")
        assert await one.text(job) == "well again"


async def test_what_is_dropped_is_deleted_there_and_its_lane_is_free_when_the_worker_says_so(
    broker: RedisServer,
) -> None:
    async with stage(broker) as one:
        one.submit(Kind.FILE, "gone")
        task, daemon, _ = await one.take()
        assert broker.names("convo:w:*") == [wire.window_key(task)]
        one.engine.forget("gone")
        await until(lambda: broker.names("convo:w:*") == [])
        job = one.submit(Kind.FILE, "next")
        assert one.engine.queue().file == 1
        one.reply(task, daemon, verdict="dropped", body=b"")
        task, daemon, probe = await one.take()
        one.reply(task, daemon, *["" for _ in probe.windows])
        task, daemon, _ = await one.take()
        one.reply(task, daemon, "next")
        assert await one.text(job) == "next"


async def test_what_is_dropped_before_its_worker_took_it_frees_the_lane_though_nobody_says_so(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lrem, tries = redis.client.Pipeline.lrem, 0

    def breaks_once(self: redis.client.Pipeline, *arguments: object) -> object:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise redis.ConnectionError
        return lrem(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(redis.client.Pipeline, "lrem", breaks_once)
    monkeypatch.setattr("convod.cluster.lanes.PAUSE_S", 0.01)
    async with stage(broker) as one:
        one.submit(Kind.FILE, "gone")
        await until(lambda: broker.names("convo:w:*"))
        gone = broker.names("convo:w:*")
        one.engine.forget("gone")
        await until(lambda: broker.names("convo:w:*") not in ([], gone))
        task, daemon, probe = await one.take()
        assert len(probe.windows[0].audio) < RATE  # silence: is it there?
        one.reply(task, daemon, "")
        job = one.submit(Kind.FILE, "next")
        task, daemon, _ = await one.take()
        one.reply(task, daemon, "next")
        assert await one.text(job) == "next"
        assert tries > 1


async def test_what_is_dropped_as_it_was_offered_is_given_to_nobody(broker: RedisServer) -> None:
    async with stage(broker) as one:
        one.submit(Kind.FILE, "gone")
        assert not one.engine.queue().file  # the lane has it, and is about to wake up
        one.engine.forget("gone")
        job = one.submit(Kind.FILE, "next", seconds=1)
        task, daemon, work = await one.take()
        assert [window.audio for window in work.windows] == [job.audio]
        one.reply(task, daemon, "next")
        assert await one.text(job) == "next"


async def test_a_task_that_its_worker_never_got_is_done_elsewhere(broker: RedisServer) -> None:
    async with stage(broker) as one:
        job = one.submit(Kind.FILE, "file")
        await one.take()
        for _ in range(LOST_BEATS + 1):
            one.send_beat()
        await until(lambda: one.engine.queue().file == 1)
        assert (job.losses, job.deaths) == (1, 0)
        await until(lambda: len(broker.names("convo:w:*")) == 1)  # its windows are deleted, and the lane is tried
        one.let_go()
        assert await one.text(job) != ""
