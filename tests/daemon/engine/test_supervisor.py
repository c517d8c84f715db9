from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from convo.messages import Code
from convod.engine import process, supervisor
from convod.engine.pressure import Pressure
from convod.engine.scheduler import TRIES
from convod.engine.supervisor import Engine, EngineSettings, Refusal
from convod.engine.wire import Loaded, Results
from convod.speech.commands import DecodeRequeued, DecodeStarted, LoadChanged, News
from convod.speech.decoding import DecodeJob, Kind, Options, Window
from tests.daemon.support.desk import RATE, Desk, alive, running
from tests.daemon.support.talk import heard
from tests.support.until import PATIENCE_S, until

# --- a worker that does what the windows tell it ----------------------------------------------------------

WORKER = """#!{python}
import os, select, signal, socket, sys
from convod.engine.wire import *

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
log = open({log!r}, "a", buffering=1)
bell = os.open({bell!r}, os.O_RDWR | os.O_NONBLOCK)
def note(text):
    log.write(text + "\\n")
    os.write(bell, b".")
link = socket.socket(fileno=int(sys.argv[-1]))
stream = link.makefile("rb")
to_worker(read_frame(stream.read))
note("start")
if {sick!r} and os.path.exists({sick!r}):
    link.sendall(pack(NotLoaded(message="no memory")))
    sys.exit()
if os.path.exists({scarce!r}):
    mine = f"{scarce}/{{os.getpid()}}"
    open(mine, "w").write(str(os.getpid()))
    try:
        os.link(mine, "{scarce}/first")
    except FileExistsError:
        try:
            first = os.pidfd_open(int(open("{scarce}/first").read()))
            select.select([first], [], [])
        except ProcessLookupError:
            pass
    else:
        link.sendall(pack(NotLoaded(message="no memory")))
        sys.exit()
if os.path.exists({slow!r}):
    signal.pause()
link.sendall(pack(Loaded(device=open({device!r}).read(), compute_type="int8", languages=["en"], multilingual=False)))
while (body := read_frame(stream.read)) is not None:
    said = [window.audio.decode() for window in to_worker(body).windows]
    note("+".join(said))
    if any(text.startswith("kill") for text in said):
        os.kill(os.getpid(), signal.SIGKILL)
    if any(text.startswith("hang") for text in said):
        signal.pause()
    if any(text.startswith("hold") for text in said):
        signal.sigwait([signal.SIGUSR1])
    if any(text.startswith("garbage") for text in said):
        link.sendall(b"\\0\\0\\0\\1\\xc1")
    elif any(text.startswith("trouble") for text in said):
        link.sendall(pack(Trouble(message="no such thing")))
    else:
        heard = [
            Hypothesis(
                text=text, language="en", language_probability=1.0, avg_logprob=0.0, no_speech_prob=0.0, voice_s=1.0
            )
            for text in said
        ]
        link.sendall(pack(Results(hypotheses=heard, seconds=0.0)))
"""


class StandIn:
    """A worker's program that reads its windows as orders, and what it did so far.

    `sick`: while there is such a file, none can load the model. `slow`: while there is, it is never done with that.
    `scarce`: where there is such a folder, the first to come cannot, and says so before the others can. `bell`: a FIFO
    with a byte for each thing done. `device`: what it says it runs on.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.log = tmp_path / "log"
        self.log.touch()
        self.device = tmp_path / "device"
        self.device.write_text("cpu")
        self.sick = tmp_path / "sick"
        self.slow = tmp_path / "slow"
        self.scarce = tmp_path / "scarce"
        self.program = tmp_path / "python"
        os.mkfifo(tmp_path / "bell")
        self.bell = os.open(tmp_path / "bell", os.O_RDWR | os.O_NONBLOCK)
        paths = {name: str(tmp_path / name) for name in ("log", "bell", "device", "sick", "slow", "scarce")}
        self.program.write_text(WORKER.format(python=sys.executable, **paths))
        self.program.chmod(0o700)

    @property
    def done(self) -> list[str]:
        return self.log.read_text().splitlines()

    async def until(self, order: str, times: int = 1) -> None:
        """Until workers have read an order so many times."""
        with trio.fail_after(PATIENCE_S):
            while self.done.count(order) < times:
                await trio.lowlevel.wait_readable(self.bell)
                os.read(self.bell, 4096)


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    monkeypatch.setattr(process.sys, "executable", str(stand_in.program))
    yield stand_in
    os.close(stand_in.bell)


async def test_windows_that_wait_together_are_decoded_together(stand_in):
    async with running(workers=1, batch=4) as desk:
        jobs = [desk.submit(f"w{number}".encode(), session=str(number)) for number in range(4)]
        assert [await desk.text(job) for job in jobs] == ["w0", "w1", "w2", "w3"]
        assert stand_in.done == ["start", "w0+w1+w2+w3"]


async def test_a_window_that_kills_its_worker_is_given_up_while_others_of_its_batch_come_through(stand_in):
    async with running(workers=1, batch=4) as desk:
        names = ["one", "kill", "two", "three"]
        jobs = {name: desk.submit(name.encode(), session=name) for name in names}
        refusal = await desk.outcome(jobs["kill"])
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.INTERNAL
        assert [await desk.text(jobs[name]) for name in ("one", "two", "three")] == ["one", "two", "three"]
        assert await desk.text(desk.submit(b"later")) == "later"
        assert stand_in.done.count("kill") == TRIES
        assert stand_in.done.count("start") == desk.engine.restarts + 1 == TRIES + 2


@pytest.mark.parametrize("kind", [Kind.FINAL, Kind.FILE])
async def test_a_batch_that_the_model_cannot_decode_is_tried_again_one_by_one(stand_in, kind):
    async with running(workers=1, batch=4) as desk:
        names = ["one", "trouble", "two"]
        jobs = {name: desk.submit(name.encode(), kind=kind) for name in names}
        refusal = await desk.outcome(jobs["trouble"])
        assert refusal == Refusal(Code.INTERNAL, "the engine could not decode: no such thing")
        assert [await desk.text(jobs[name]) for name in ("one", "two")] == ["one", "two"]
        assert stand_in.done == ["start", "one+trouble+two", "one", "trouble", "two"]
        assert desk.engine.restarts == 0
        assert desk.engine.decoded_s == jobs["one"].seconds + jobs["two"].seconds


async def test_a_worker_that_hangs_is_replaced_at_its_deadline(stand_in):
    async with running(workers=1, deadline_s=0.5) as desk:
        outcome = await desk.outcome(desk.submit(b"hang"))
        assert isinstance(outcome, Refusal)
        assert outcome.code is Code.INTERNAL
        assert stand_in.done.count("hang") == TRIES


async def test_each_window_of_a_batch_has_its_time(stand_in, monkeypatch):
    limits: list[tuple[int, float]] = []
    decode = process.Worker.decode

    async def watched(worker, batch, limit_s):
        limits.append((len(batch), limit_s))
        return await decode(worker, batch, limit_s)

    monkeypatch.setattr(process.Worker, "decode", watched)
    async with running(workers=1, batch=3, deadline_s=50) as desk:
        for names in (["one"], ["two", "three", "four"]):
            jobs = [desk.submit(name.encode(), kind=Kind.FILE) for name in names]
            assert [await desk.text(job) for job in jobs] == names
    assert limits == [(1, 50), (3, 150)]


@pytest.mark.parametrize("order", ["trouble", "garbage"])
async def test_a_worker_that_says_something_else_harms_only_its_windows(stand_in, order):
    async with running(workers=1) as desk:
        outcome = await desk.outcome(desk.submit(order.encode()))
        assert isinstance(outcome, Refusal)
        assert outcome.code is Code.INTERNAL
        assert await desk.text(desk.submit(b"next")) == "next"


async def test_what_is_dropped_or_forgotten_is_not_delivered(stand_in):
    async with running(workers=1) as desk:
        one, two, three = (desk.submit(name.encode(), session=name) for name in ("one", "two", "three"))
        desk.engine.drop(one)
        desk.engine.forget("two")
        assert await desk.text(three) == "three"
        assert (desk.outcomes[one], desk.outcomes[two]) == ([], [])
        assert "two" not in stand_in.done


async def test_an_interim_that_was_dropped_before_its_worker_died_is_gone(stand_in):
    """A speaker pauses while an interim is at work, its worker dies, the speaker goes on."""
    async with running(workers=1) as desk:
        dropped = desk.submit(b"hang", kind=Kind.INTERIM)
        await stand_in.until("hang")
        desk.engine.drop(dropped)
        (pid,) = desk.engine.processes
        os.kill(pid, signal.SIGKILL)
        await until(lambda: desk.engine.restarts)
        assert desk.engine.queue().interim == 0
        assert await desk.text(desk.submit(b"new", kind=Kind.INTERIM)) == "new"
        assert desk.outcomes[dropped] == []
        assert stand_in.done == ["start", "hang", "start", "new"]


async def test_a_newer_interim_is_delivered_instead_of_one_that_waited(stand_in):
    async with running(workers=1) as desk:
        news: list[News] = []
        desk.engine.subscribe("s", news.append)
        old = desk.submit(b"old", kind=Kind.INTERIM)
        new = desk.submit(b"new", kind=Kind.INTERIM)
        assert desk.engine.queue().interim == 1
        assert news == []
        assert await desk.text(new) == "new"
        assert news == [DecodeStarted(new)]
        assert desk.outcomes[old] == []


@pytest.mark.parametrize("other", ["trouble", "kill"])
async def test_a_session_is_told_when_its_window_begins_and_when_it_waits_again(stand_in, other):
    async with running(workers=1, batch=2) as desk:
        news: list[News] = []
        desk.engine.join("s", live=True)
        desk.engine.subscribe("s", news.append)
        job = desk.submit(b"one")
        desk.submit(other.encode(), session="another")
        assert await desk.text(job) == "one"
        assert [one for one in news if not isinstance(one, LoadChanged)] == [
            DecodeStarted(job), DecodeRequeued(job), DecodeStarted(job)
        ]  # fmt: skip
        told = len(news)
        desk.engine.forget("s")
        assert await desk.text(desk.submit(b"more")) == "more"
        assert len(news) == told


async def test_who_is_going_to_speak_finds_no_batch_of_file_windows_at_work(stand_in):
    async with running(workers=1) as desk:
        for name in "ab":
            files = [desk.submit(f"{name}{number}".encode(), kind=Kind.FILE) for number in range(3)]
            assert [await desk.text(job) for job in files] == [f"{name}{number}" for number in range(3)]
            desk.engine.wake(live=True)
        assert stand_in.done == ["start", "a0+a1+a2", "b0", "b1", "b2"]


async def test_who_is_going_to_speak_finds_a_worker_that_is_at_no_file(stand_in):
    async with running(workers=2) as desk:
        await until(lambda: len(desk.engine.processes) == 2)
        desk.engine.wake(live=True)
        for _ in range(3):
            desk.submit(b"hold", kind=Kind.FILE)
        await until(lambda: desk.engine.queue().file == 2)
        assert await desk.text(desk.submit(b"final", session="live")) == "final"
        assert desk.engine.queue().file == 2


class InstantWorker:
    """Loads nothing, and answers each window at once; keeps what it got. For a virtual clock."""

    def __init__(self) -> None:
        self.batch: list[DecodeJob] = []
        self.busy_since = None
        self.got: list[DecodeJob] = []
        self.process = SimpleNamespace(pid=0, returncode=None, wait=trio.sleep_forever)

    async def load(self, load, limit_s: float) -> Loaded:
        return Loaded(device="cpu", compute_type="int8", languages=["en"], multilingual=False)

    async def decode(self, batch: list[DecodeJob], limit_s: float) -> Results:
        self.got += batch
        return Results(hypotheses=[heard("") for _ in batch], seconds=0.0)


@asynccontextmanager
async def instant_worker():
    yield InstantWorker()


async def taken(engine: Engine) -> list[DecodeJob]:
    """What a worker gets that comes now."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await trio.testing.wait_all_tasks_blocked()
        (worker,) = engine.workers
        nursery.cancel_scope.cancel()
    return worker.got


@pytest.mark.parametrize("held_up_s", [0.4, 3.0])
async def test_interims_that_wait_are_pressure_however_often_they_are_renewed(
    stand_in, autojump_clock, monkeypatch, held_up_s
):
    engine = Engine(EngineSettings(model="builtin", workers=1))  # which has none yet
    told: list[float] = []
    monkeypatch.setattr(Pressure, "waited", lambda self, kind, seconds, now: told.append(seconds))
    monkeypatch.setattr(supervisor, "worker_process", instant_worker)
    for _ in range(round(held_up_s / 0.1)):
        interim = DecodeJob("s", Kind.INTERIM, Window(audio=b""), RATE, Options())
        engine.submit(interim, lambda job, outcome: None)
        await trio.sleep(0.1)
    assert await taken(engine) == [interim]
    assert told == [pytest.approx(held_up_s)]


async def test_a_final_is_late_from_when_it_is_due(autojump_clock, monkeypatch):
    engine = Engine(EngineSettings(model="builtin", workers=1))
    told: list[float] = []
    monkeypatch.setattr(Pressure, "waited", lambda self, kind, seconds, now: told.append(seconds))
    monkeypatch.setattr(supervisor, "worker_process", instant_worker)
    for spare_s in (0.0, 0.5, 2.0):
        due = trio.current_time() + spare_s
        final, dropped = (
            DecodeJob(session, Kind.FINAL, Window(audio=b""), RATE, Options(), due=due) for session in "st"
        )
        for job in (final, dropped):
            engine.submit(job, lambda job, outcome: None)
        await trio.sleep(1.0)
        engine.drop(dropped)  # before it is due nothing is known of it
        assert await taken(engine) == [final]
    assert told == [pytest.approx(late) for late in (1.0, 1.0, 0.5, 0.5, 0.0)]


@pytest.mark.parametrize(("device", "file"), [("cpu", ["f0", "f1", "f2"]), ("cuda", ["f0+f1+f2"])])
async def test_while_a_live_session_is_open_file_windows_go_one_by_one_where_that_matters(stand_in, device, file):
    stand_in.device.write_text(device)
    async with running(workers=1) as desk:
        assert desk.engine.status().device == device
        desk.engine.join("a file", live=False)
        desk.engine.join("a talk", live=True)
        files = [desk.submit(f"f{number}".encode(), kind=Kind.FILE) for number in range(3)]
        assert [await desk.text(job) for job in files] == ["f0", "f1", "f2"]
        desk.engine.forget("a talk")
        assert stand_in.done[1:] == file
        files = [desk.submit(f"g{number}".encode(), kind=Kind.FILE) for number in range(3)]
        assert [await desk.text(job) for job in files] == ["g0", "g1", "g2"]
        assert stand_in.done[1:] == [*file, "g0+g1+g2"]


async def test_two_workers_share_the_work(stand_in):
    async with running(workers=2) as desk:
        await until(lambda: len(desk.engine.processes) == 2)
        jobs = [desk.submit(str(number).encode(), session=str(number)) for number in range(20)]
        assert [await desk.text(job) for job in jobs] == [str(number) for number in range(20)]
        assert stand_in.done.count("start") == 2


async def test_a_worker_that_cannot_load_any_more_fails_the_engine(stand_in):
    async with running(workers=1) as desk:
        assert await desk.text(desk.submit(b"one")) == "one"
        stand_in.sick.touch()
        (pid,) = desk.engine.processes
        os.kill(pid, signal.SIGKILL)
        await until(lambda: desk.engine.state == "failed")
        outcome = await desk.outcome(desk.submit(b"two"))
        assert outcome == Refusal(Code.MODEL_UNAVAILABLE, "no memory")


async def test_where_the_first_of_two_workers_finds_no_memory_the_other_is_waited_for(stand_in, caplog):
    stand_in.scarce.mkdir()
    async with running(workers=2) as desk:
        await until(lambda: "no memory; the other workers go on" in caplog.text)
        assert desk.engine.state == "ready"
        assert await desk.text(desk.submit(b"heard")) == "heard"


async def test_where_one_of_two_workers_cannot_load_the_other_goes_on(stand_in, caplog):
    async with running(workers=2) as desk:
        await until(lambda: len(desk.engine.processes) == 2)
        stand_in.sick.touch()
        os.kill(desk.engine.processes[0], signal.SIGKILL)
        await until(lambda: "no memory; the other workers go on" in caplog.text)
        assert desk.engine.state == "ready"
        assert await desk.text(desk.submit(b"still")) == "still"


async def test_an_idle_model_is_let_go_and_comes_back_with_work(stand_in):
    async with running(workers=1, unload_s=0.2) as desk:
        await until(lambda: desk.engine.state == "unloaded")
        assert desk.engine.processes == []
        assert await desk.text(desk.submit(b"back")) == "back"
        assert desk.engine.restarts == 0


async def one_unloaded(desk: Desk) -> tuple[DecodeJob, Callable[[], None]]:
    """Of two workers one is unloaded, the other at work until the function is called that is returned with its window.

    From then on nobody is unloaded any more.
    """
    engine = desk.engine
    await until(lambda: len(engine.processes) == 2)
    held = desk.submit(b"hold")
    await until(lambda: engine.queue().final == 0)
    (idle,) = (worker.process.pid for worker in engine.workers if not worker.batch)
    engine.settings = EngineSettings(model="builtin", workers=2, unload_s=0.01)
    assert await desk.text(desk.submit(b"brief")) == "brief"
    await until(lambda: not alive(idle))
    await trio.testing.wait_all_tasks_blocked()
    engine.settings = EngineSettings(model="builtin", workers=2)
    (busy,) = engine.processes
    return held, lambda: os.kill(busy, signal.SIGUSR1)


async def test_a_worker_that_is_loaded_gets_the_work_and_not_one_that_would_have_to_load(stand_in):
    async with running(workers=2, batch=4) as desk:
        held, release = await one_unloaded(desk)
        release()
        assert await desk.text(held) == "hold"
        stand_in.slow.touch()
        for sessions in ("a", "b", "abc"):  # those that come at once go together
            desk.engine.wake()
            jobs = [desk.submit(session.encode(), session=session) for session in sessions]
            assert [await desk.text(job) for job in jobs] == [*sessions]
            assert desk.engine.unloaded == 1
        assert stand_in.done[4:] == ["a", "b", "a+b+c"]


async def test_an_unloaded_worker_comes_back_when_those_that_are_loaded_are_at_work(stand_in):
    async with running(workers=2) as desk:
        held, release = await one_unloaded(desk)
        assert await desk.text(desk.submit(b"more")) == "more"
        assert desk.outcomes[held] == []
        assert stand_in.done.count("start") == 3
        release()
        assert await desk.text(held) == "hold"


async def test_an_unloaded_worker_comes_back_for_what_the_loaded_one_left(stand_in):
    """Two windows come at once, and the worker at hand takes the first for ever."""
    async with running(workers=2) as desk:
        held, release = await one_unloaded(desk)
        release()
        assert await desk.text(held) == "hold"
        desk.submit(b"hold", session="a")
        left = desk.submit(b"left", session="b")
        assert await desk.text(left) == "left"
        assert sorted(stand_in.done[4:]) == ["hold", "left", "start"]


async def test_an_unloaded_worker_comes_back_for_those_who_are_about_to_speak_while_the_loaded_one_is_at_work(stand_in):
    async with running(workers=2) as desk:
        await one_unloaded(desk)
        desk.engine.wake()
        await until(lambda: len(desk.engine.processes) == 2)
        assert await desk.text(desk.submit(b"said")) == "said"
        assert stand_in.done.count("start") == 3


@pytest.mark.parametrize("which", [0, 1])
async def test_what_an_idle_worker_was_called_for_is_done_by_another_if_it_is_dead(stand_in, which):
    async with running(workers=2) as desk:
        await until(lambda: len(desk.engine.processes) == 2)
        await trio.testing.wait_all_tasks_blocked()
        stand_in.slow.touch()
        os.kill(sorted(desk.engine.processes)[which], signal.SIGKILL)
        assert await desk.text(desk.submit(b"one")) == "one"


async def test_what_a_worker_died_of_is_tried_again_by_an_unloaded_one(stand_in):
    async with running(workers=2) as desk:
        held, _ = await one_unloaded(desk)
        (pid,) = desk.engine.processes
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(desk.engine.processes) == 2)
        await stand_in.until("hold", times=2)
        assert desk.outcomes[held] == []
        for worker in desk.engine.processes:
            os.kill(worker, signal.SIGUSR1)
        assert await desk.text(held) == "hold"


async def test_a_program_that_cannot_be_started_leaves_the_daemon_running(stand_in, monkeypatch, caplog):
    async with running(workers=1) as desk:
        monkeypatch.setattr(process.sys, "executable", "/no/such/program")
        (pid,) = desk.engine.processes
        os.kill(pid, signal.SIGKILL)
        await until(lambda: "could not be started" in caplog.text)
        monkeypatch.setattr(process.sys, "executable", str(stand_in.program))
        assert await desk.text(desk.submit(b"one")) == "one"
