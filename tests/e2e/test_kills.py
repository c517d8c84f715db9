"""A job is the same as if nothing had happened, wherever its daemon, its worker or its decoder is killed."""

from __future__ import annotations

import io
import os
import random
import signal
import time
import wave
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import LIMIT_S, OFF, assert_whole, of, segments, states, upload
from tests.support.speech import DATA, RATE, excerpt, pcm

SEED = 20261122
KILLS = 20
SECONDS = 27.7
"""Of a talk: ten sentences, cut in a pause."""

QUICK = {"CONVOD_ENGINE_WORKERS": "1", "CONVOD_SESSIONS_BEAM": "1"}
"""One worker starts faster than two, and a narrow beam hears faster; what is heard is not the question."""


@cache
def talk() -> bytes:
    """A WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(excerpt("talk", SECONDS)[0])
    return file.getvalue()


@cache
def many() -> bytes:
    """A WAV of more utterances than wait for the engine while the file is decoded on."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes((pcm("short.wav") + bytes(2 * RATE)) * 70)
    return file.getvalue()


async def transcribed(client: convo.Client) -> list[messages.Event]:
    session = await client.create_session("file", summary=OFF, words=True)
    await session.send_audio(talk())
    await session.end()
    return [event async for event in session.events()]


def what(events: list[messages.Event]) -> list[tuple[object, ...]]:
    return [(one.segment, one.start, one.end, one.text, one.confidence, one.words) for one in segments(events)]


@pytest.mark.slow
def test_twenty_kills_at_random_points_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with running(tmp_path, environment=QUICK) as daemon:

        async def undisturbed() -> tuple[list[messages.Event], float]:
            async with convo.connect(daemon.url) as client:
                await transcribed(client)  # the first one pays for what is loaded lazily
                begun = time.perf_counter()
                return await transcribed(client), time.perf_counter() - begun

        expected, took_s = trio.run(undisturbed)
        assert len(segments(expected)) >= 8
        kills = 0
        jobs = 0
        while kills < KILLS:
            # Several kills a job, daemon and worker in turn as chance has it, until one job is through.
            kills += trio.run(_disturbed, daemon, chance, took_s, expected)
            jobs += 1
            assert jobs < 5 * KILLS
        assert (tmp_path / "state" / "spool").is_dir()
        assert list((tmp_path / "state" / "spool").iterdir()) == []


def _over(events: list[messages.Event]) -> bool:
    states = of(messages.SessionState, events)
    return bool(states) and states[-1].state.final


async def _disturbed(daemon: Daemon, chance: random.Random, took_s: float, expected: list[messages.Event]) -> int:
    """One job with kills until it is done; how many there were."""
    events: list[messages.Event] = []
    session = ""
    kills = 0
    with trio.fail_after(4 * LIMIT_S):
        while not _over(events):
            async with convo.connect(daemon.url) as client:
                if not session:
                    created = await client.create_session("file", summary=OFF, words=True)
                    session = created.id
                    await created.send_audio(talk())
                    await created.end()
                    attached = created
                else:
                    attached = await client.attach(session, after_seq=len(of(messages.DurableEvent, events)))
                # At once, soon, after a while; and while windows come, at one of them and a little later.
                more = chance.randint(0, 6)
                with trio.move_on_after(chance.choice((0.0, took_s, LIMIT_S))):
                    async for event in attached.events():
                        events.append(event)
                        more -= 1
                        if more < 0 and not _over(events):
                            break
                if _over(events):
                    continue
                await trio.sleep(chance.choice((0.0, chance.uniform(0.0, took_s / 5))))
                workers = daemon.workers()
                if workers and chance.random() < 0.5:
                    for worker in workers:
                        os.kill(worker, signal.SIGKILL)
                else:
                    await trio.to_thread.run_sync(daemon.kill)
                    await trio.to_thread.run_sync(daemon.start)
                kills += 1
    assert_whole(events)
    assert what(events) == what(expected)
    return kills


async def half_decoded(daemon: Daemon, client: convo.Client) -> tuple[convo.Session, int]:
    """A job whose decoder is in the middle of its file, for the engine is held still; and that decoder."""
    await upload(client, (DATA / "short.wav").read_bytes(), summary=OFF)  # when that is done the model is loaded
    for worker in daemon.workers():
        os.kill(worker, signal.SIGSTOP)
    session = await client.create_session("file", summary=OFF)
    await session.send_audio(many())
    await session.end()
    async for event in session.events():
        if isinstance(event, messages.Progress) and event.total_s is not None:
            break
    (decoder,) = daemon.decoders()
    return session, decoder


async def test_a_killed_decoder_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, environment=QUICK) as daemon:
        async with convo.connect(daemon.url) as client:
            expected = await upload(client, many(), summary=OFF)
            assert len(segments(expected)) == 70
            session, decoder = await half_decoded(daemon, client)
            os.kill(decoder, signal.SIGKILL)
            for worker in daemon.workers():
                os.kill(worker, signal.SIGCONT)
            async with convo.connect(daemon.url) as other:
                events = [event async for event in (await other.attach(session.id)).events()]
        assert_whole(events)
        assert states(events)[-1] == "completed"
        assert not of(messages.SessionWarning, events)
        assert what(events) == what(expected)
        assert "decoder of a file ended early" in "".join(daemon.log)


async def test_nobody_outlives_a_killed_daemon(tmp_path: Path) -> None:
    with running(tmp_path, environment=QUICK) as daemon:
        async with convo.connect(daemon.url) as client:
            _, decoder = await half_decoded(daemon, client)
            (worker,) = daemon.workers()
            # Neither is reached by what a terminal sends to those in its foreground.
            assert len({os.getpgid(pid) for pid in (daemon.pid, decoder, worker)}) == 3
            with ExitStack() as stack:
                processes = [os.pidfd_open(pid) for pid in (decoder, worker)]
                for process in processes:
                    stack.callback(os.close, process)
                await trio.to_thread.run_sync(daemon.kill)
                os.kill(worker, signal.SIGCONT)
                for process in processes:
                    await trio.lowlevel.wait_readable(process)
