from __future__ import annotations

import errno
import socket
import ssl

import pytest
import trio

from convo.client_core import ClientCore
from convo.client_io import Broadcast, ClientIO
from convo.errors import ConnectionLost
from convo.framing import LengthPrefixed
from convo.messages import Ping
from convo.transport import reason_of


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "x"), "there is no such socket"),
        (ConnectionRefusedError(111, "x"), "nothing listens there"),
        (PermissionError(13, "x"), "you may not open this socket (are you in its group?)"),
        (TimeoutError(), "no answer came in time"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed"), "no route to host"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (certificate_error(), "its certificate is not trusted: self-signed certificate"),
        (ssl.SSLError(1, "[SSL] wrong version number"), "[SSL] wrong version number"),
        (ConnectionLost("It is gone."), "It is gone"),
        (OSError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
    ],
)
def test_reason_of(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


async def test_an_event_wakes_those_who_wait_now() -> None:
    event = Broadcast()
    event.set()  # nobody waits
    woken = []

    async def wait(name: str) -> None:
        await event.wait()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.testing.wait_all_tasks_blocked()
        event.set()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        nursery.start_soon(wait, "c")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(woken) == ["a", "b"]
        nursery.cancel_scope.cancel()


async def test_the_outbox_gives_one_message_at_a_time() -> None:
    io = ClientIO(ClientCore(LengthPrefixed(), client="test"))
    hello = await io.next_outgoing()
    assert await io.next_outgoing() == hello
    io.written()
    await io.drained()
    with trio.move_on_after(0) as scope:
        await io.next_outgoing()
    assert scope.cancelled_caught


async def test_a_loss_wakes_everyone() -> None:
    io = ClientIO(ClientCore(LengthPrefixed(), client="test"))

    async def opened() -> None:
        with pytest.raises(ConnectionLost, match="Gone"):
            await io.opened()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened)
        nursery.start_soon(io.drained)
        nursery.start_soon(io.wait_lost)
        await trio.testing.wait_all_tasks_blocked()
        io.lost("Gone.")
    with pytest.raises(ConnectionLost):
        await io.request(Ping())
