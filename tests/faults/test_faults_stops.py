"""SIGTERM and SIGKILL at random points under load: what was acknowledged is there, and everything is finished."""

from __future__ import annotations

import itertools
import random
import signal
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon
from tests.support.faults import Row, started, warm
from tests.support.sessions import OFF, assert_whole, states, text
from tests.support.speech import pcm, truth, word_error_rate

SESSIONS = 4


async def speak(daemon: Daemon, key: str) -> tuple[int, str]:
    """A sentence over as many daemons as it takes; how often it was resumed, and what was heard.

    The key finds the session again whose creation was heard and not answered.
    """
    audio = pcm("single.flac")
    session_id, acknowledged, resumed = "", 0, -1
    while True:
        try:
            async with convo.connect(daemon.url) as client:
                if not session_id:
                    session_id = (await client.create_session("live", summary=OFF, key=key)).id
                    continue
                session = await client.attach(session_id, produce=True)
                reply = session.reply
                assert isinstance(reply, messages.AttachReply)
                assert reply.audio_offset >= acknowledged, "acknowledged audio is missing"
                resumed += 1
                if not reply.ended:  # else its end was heard before the daemon stopped
                    for at in range(reply.audio_offset, len(audio), 3200):
                        await session.send_audio(audio[at : at + 3200])
                        acknowledged = max(acknowledged, session.acknowledged)
                        await trio.sleep(0.01)
                    await session.end()
                events = [event async for event in session.events()]
                assert_whole(events)
                assert states(events)[-1] == "completed"
                return resumed, text(events)
        except (convo.ConnectionLost, convo.EventsLost, convo.CannotConnect):
            await trio.sleep(0.05)
        except convo.RequestError as error:
            if error.code != "busy":  # it is stopping
                raise
            await trio.sleep(0.05)


async def stop_at_random(tmp_path: Path, row: Row, number: int, rounds: int) -> None:
    chance = random.Random(4711 + number)
    name = signal.Signals(number).name
    row.promise(
        f"{name} at {rounds} random points under load",
        "acknowledged audio is accounted for; every session is resumed and finished, whole",
    )
    resumed, wrong = 0, 0.0
    with started(tmp_path) as daemon:
        await warm(daemon)

        numbers = itertools.count()

        async def stop() -> None:
            for _ in range(rounds):
                await trio.sleep(chance.uniform(0.02, 0.6))
                await trio.to_thread.run_sync(daemon.signal, number)
                await trio.to_thread.run_sync(daemon.start)
            done.set()

        async def keep_speaking() -> None:
            nonlocal resumed, wrong
            while True:
                times, heard = await speak(daemon, f"sentence {next(numbers)}")
                resumed += times
                wrong = max(wrong, word_error_rate(truth("single"), heard))
                if done.is_set():
                    return

        done = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(SESSIONS):
                nursery.start_soon(keep_speaking)
            nursery.start_soon(stop)
        async with convo.connect(daemon.url) as client:
            left = (await client.request(messages.Status())).sessions
        assert (left.live, left.file) == (0, 0)
        assert not list((daemon.state / "spool").iterdir())
        assert not [line for line in daemon.log if "fault of convod" in line]
    assert resumed >= rounds
    assert wrong <= 0.5, "a resumed sentence may be cut into two windows, and not lose half of its words"
    row.saw(f"{resumed} times resumed, nothing acknowledged was missing, no audio file was left")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_stopped_at_random(tmp_path: Path, row: Row, number: int) -> None:
    await stop_at_random(tmp_path, row, number, 2)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_stopped_at_random_often(tmp_path: Path, row: Row, number: int) -> None:
    await stop_at_random(tmp_path, row, number, 25)
