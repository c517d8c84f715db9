"""What every fault is held to: others' sessions untouched, acknowledged audio there, files and memory given back.

In: a daemon, and a fault that happens to it. Out: an assertion that fails, or a row of the table in tests/faults.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import trio

import convo
from convo import messages
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF, assert_whole, states, text
from tests.support.speech import pcm, truth, word_error_rate

MEMORY_MIB = 24
"""That a daemon may have more after a fault than before: caches of Python and of SQLite."""

ROWS: dict[str, list[str]] = {}
"""Of the table, by test."""


class Row:
    """A row of the table; it stands there once `saw` was called."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._cells: list[str] = []

    def promise(self, fault: str, promised: str) -> None:
        """What happens, and what holds all the same."""
        self._cells = [fault, promised]

    def saw(self, seen: str) -> None:
        """What came of it."""
        ROWS[self._key] = [*self._cells, seen]


def open_files(daemon: Daemon) -> int:
    """Files and sockets that the daemon has open."""
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def memory_mib(daemon: Daemon) -> float:
    """Resident memory of the daemon's own process."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Witness:
    """Somebody else, in the middle of a sentence while the fault happens."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.seen = ""

    async def during(self, fault: Callable[[], Awaitable[None]]) -> None:
        """Speak half a sentence, let the fault happen, speak the rest; everything must be there."""
        audio = pcm("single.flac")
        half = len(audio) // 4 * 2
        async with convo.connect(self.daemon.url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(audio[:half])
            await fault()
            await session.send_audio(audio[half:])
            await session.end()
            events = [event async for event in session.events()]
        assert_whole(events)
        assert states(events)[-1] == "completed"
        assert word_error_rate(truth("single"), text(events)) < 0.3
        assert not [event for event in events if isinstance(event, messages.SessionWarning)]


@asynccontextmanager
async def unharmed(daemon: Daemon) -> AsyncIterator[Witness]:
    """The daemon's own things are as they were, at the end of the block."""
    files, memory = open_files(daemon), memory_mib(daemon)
    witness = Witness(daemon)
    yield witness
    while open_files(daemon) > files:  # noqa: ASYNC110 - of another process
        await trio.sleep(0.02)
    more = memory_mib(daemon) - memory
    assert more <= MEMORY_MIB, f"{more:.1f} MiB more than before"
    witness.seen = f"files as before, {max(more, 0):.0f} MiB more"
    assert not [line for line in daemon.log if "fault of convod" in line]


def started(directory: Path, **environment: str) -> AbstractContextManager[Daemon]:
    """A daemon of a test's own, that does not take a stopped test for a client with nothing to say."""
    settings = {"CONVOD_SESSIONS_IDLE_S": "120", "CONVOD_LISTEN_HANDSHAKE_S": "2", "CONVOD_LISTEN_STALL_S": "2"}
    return running(directory, environment=settings | environment)


async def warm(daemon: Daemon) -> None:
    """Let the daemon have done each thing once: what is made only then is no leak."""
    for url in (daemon.url, daemon.web):
        async with convo.connect(url) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(pcm("single.flac"))
            await session.end()
            async for _ in session.events():
                pass
