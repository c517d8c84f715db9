"""What no client should send, over real sockets: each a clear error in the right place, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import LIMIT_S, OFF, states, text
from tests.support.speech import pcm, truth, word_error_rate


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    # However long a test takes, the bystander's pause is no end of a sentence.
    with running(tmp_path_factory.mktemp("convod"), environment={"CONVOD_SESSIONS_IDLE_S": "120"}) as daemon:
        yield daemon


@pytest.fixture
async def daemon(shared: Daemon) -> AsyncIterator[Daemon]:
    """The daemon, while somebody else has a session with it: when the test is over, nothing of that may be missing."""
    daemon = shared
    logged, pid = len(daemon.log), daemon.pid
    sentence = pcm("single.flac")
    half = len(sentence) // 4 * 2
    async with convo.connect(daemon.url) as client:
        session = await client.create_session("live", summary=OFF)
        await session.send_audio(sentence[:half])
        yield daemon
        with trio.fail_after(LIMIT_S):
            await session.send_audio(sentence[half:])
            await session.end()
            events = [event async for event in session.events()]
            await client.request(messages.Ping())
    assert states(events) == ["pending", "processing", "transcribed", "completed"]
    # A word of seven may be misheard: the model is small, and this is not the test of it.
    assert word_error_rate(truth("single"), text(events)) < 0.2
    assert daemon.pid == pid
    faults = [line for line in daemon.log[logged:] if "Traceback" in line or "error" in line.split()[1:2]]
    assert not faults
