from __future__ import annotations

import errno
import os
import resource

import pytest
import trio
import trio.testing

from convod.listen import accept as module
from convod.listen.accept import PAUSE_S, accept


class Listener(trio.abc.Listener):
    """Gives what it is told to: a connection, or an error of the system."""

    def __init__(self, *gives: int | str) -> None:
        self.gives = list(gives)
        self.times: list[float] = []
        self.clients: list[trio.socket.SocketType] = []

    async def accept(self) -> trio.SocketStream:
        if not self.gives:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.times.append(trio.current_time())
        give = self.gives.pop(0)
        if isinstance(give, int):
            raise OSError(give, os.strerror(give))
        ours, theirs = trio.socket.socketpair()
        self.clients.append(theirs)
        return trio.SocketStream(ours)

    async def aclose(self) -> None:
        for client in self.clients:
            client.close()


async def served(listener: Listener, **options) -> int:
    """How many connections it hands over."""
    count = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal count
        count += 1

    with trio.move_on_after(100):
        await accept(listener, handle, None, **({"spare": 64} | options))
    return count


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_without_descriptors_it_pauses_and_comes_back_and_says_each_once(autojump_clock, caplog, number):
    caplog.set_level("INFO")
    listener = Listener("one", number, number, number, "two", "three")
    assert await served(listener) == 3
    assert listener.times == pytest.approx([0.0, 0.0, PAUSE_S, 2 * PAUSE_S, 3 * PAUSE_S, 3 * PAUSE_S])
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "no connections are accepted",
        "connections are accepted again",
    ]


async def test_the_last_descriptors_are_left_for_what_is_at_work(autojump_clock, monkeypatch):
    listener = Listener("one", "two")
    next_free = os.open("/dev/null", os.O_RDONLY)
    os.close(next_free)
    monkeypatch.setattr(module.resource, "getrlimit", lambda which: (next_free + 64, next_free + 64))
    assert await served(listener, spare=256) == 0
    assert await served(Listener("one"), spare=1) == 1


async def test_without_a_limit_none_is_left(autojump_clock, monkeypatch):
    monkeypatch.setattr(module.resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert await served(Listener("one")) == 1


async def test_another_error_is_an_error(autojump_clock):
    with pytest.raises(ExceptionGroup) as group:
        await served(Listener(errno.EINVAL))
    assert group.group_contains(OSError)
