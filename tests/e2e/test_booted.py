"""The system's service under a real systemd: the unit as it is shipped, two users of the machine, one file each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.booted import Booted, CannotBoot, booted
from tests.support.sessions import LIMIT_S, OFF, of, states, text, upload
from tests.support.speech import DATA, truth, word_error_rate

ALICE, BOB = 20002, 20003


@pytest.fixture(scope="module")
def system() -> Iterator[Booted]:
    try:
        with booted() as system:
            yield system
    except CannotBoot as error:
        pytest.skip(str(error))


async def as_user(stack: AsyncExitStack, system: Booted, uid: int) -> convo.Client:
    with system.user(uid):
        return await stack.enter_async_context(convo.connect(system.url, connect_timeout=LIMIT_S))


async def test_two_users_have_a_file_each_and_see_their_own_only(system: Booted) -> None:
    data = (DATA / "single.flac").read_bytes()
    with trio.fail_after(2 * LIMIT_S):
        async with AsyncExitStack() as stack:
            alice, bob = [await as_user(stack, system, uid) for uid in (ALICE, BOB)]
            for client in (alice, bob):
                events = await upload(client, data, summary=OFF)
                assert states(events)[-1] == "completed", (of(messages.SessionState, events)[-1], system.log)
                assert word_error_rate(truth("single"), text(events)) < 0.3
            seen = [
                {one.session for one in (await client.request(messages.ListSessions())).sessions}
                for client in (alice, bob)
            ]
            assert [len(sessions) for sessions in seen] == [1, 1]
            assert seen[0] != seen[1]
            (hers,) = seen[0]
            with pytest.raises(convo.RequestError) as refused:
                await bob.request(messages.DeleteSession(session=hers))
            assert refused.value.code == "unknown_session"
    assert "ended early" not in system.log, system.log
    assert "cannot be shut off" not in system.log, system.log


async def test_the_daemon_is_held_as_the_unit_says(system: Booted) -> None:
    with trio.fail_after(LIMIT_S):
        async with AsyncExitStack() as stack:
            await as_user(stack, system, ALICE)
            process = Path(f"/proc/{system.pid()}")
            about = dict(
                line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
            )
            limits = (process / "limits").read_text()
    assert int(about["Uid"].split()[0]) not in (0, ALICE, BOB)
    assert (int(about["CapEff"], 16), int(about["CapBnd"], 16), about["NoNewPrivs"], about["Seccomp"]) == (
        0,
        0,
        "1",
        "2",
    )
    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]
    # Each of these is a mount of the unit's own, and nothing is to be written in there.
    for place in ("/usr", "/etc"):
        with pytest.raises(OSError, match="Read-only"):
            (process / "root" / place[1:] / "convo-test").touch()
