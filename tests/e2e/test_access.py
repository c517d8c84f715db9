"""Who comes in and who does not: a real daemon whose settings and files change while it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import trio

import convo
from tests.support.daemon import Daemon, running
from tests.support.wire import wired

PATIENCE_S = 60
OTHER = 54321
CLOSED = {"CONVOD_LISTEN_OPEN_LOOPBACK": "false"}


async def refusal(url: str, token: str | None = None) -> str:
    """What a client is told that must not come in."""
    with pytest.raises(convo.RequestError) as refused:
        async with convo.connect(url, token=token):
            pass
    assert refused.value.code == "unauthorized"
    return refused.value.message


async def add(daemon: Daemon, name: str) -> str:
    """A token of that name."""
    words = [sys.executable, "-m", "convod", "--state-dir", str(daemon.state), "token", "add", name]
    made = await trio.run_process(words, capture_stdout=True, capture_stderr=True)
    return made.stdout.decode().strip()


def settings_file(directory: Path, text: str) -> Path:
    path = directory / "convod.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_this_machine_needs_a_token_by_websocket_and_none_by_the_unix_socket(tmp_path: Path) -> None:
    with running(tmp_path, environment=CLOSED) as daemon:
        await daemon.wait_log(" yet: there is no valid token; make one with `convod token add NAME`")
        assert "convod token add" in await refusal(daemon.web)
        await refusal(daemon.web, "guess")
        async with convo.connect(daemon.url):
            pass
        async with convo.connect(daemon.web, token=await add(daemon, "me")):
            pass


async def test_an_open_port_closes_with_the_first_token_for_those_who_are_in_too(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        async with wired(daemon.web) as wire:
            secret = await add(daemon, "first")
            with trio.fail_after(PATIENCE_S):
                assert (await wire.wait_error())["code"] == "unauthorized"
                await wire.wait_end()
        (daemon.state / "tokens.json").rename(daemon.state / "aside")
        await refusal(daemon.web)
        await refusal(daemon.web, secret)
        daemon.send(signal.SIGHUP)
        await daemon.wait_log("settings were read again")
        await refusal(daemon.web)


async def test_a_reload_opens_nothing_and_ends_what_the_old_settings_gave(tmp_path: Path) -> None:
    file = settings_file(tmp_path, '[listen]\ntoken = "one"\n')
    with running(tmp_path, "--config", str(file), environment=CLOSED) as daemon:

        async def reload(text: str, times: int) -> None:
            settings_file(tmp_path, text)
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were read again", times)

        async with wired(daemon.web, hello=False) as wire:
            assert (await wire.hello(token="one"))["type"] == "welcome"
            await reload('[listen]\ntoken = "two"\n', 1)
            with trio.fail_after(PATIENCE_S):
                assert (await wire.wait_error())["code"] == "unauthorized"
                await wire.wait_end()
        await refusal(daemon.web, "one")
        async with wired(daemon.web, hello=False) as wire:
            assert (await wire.hello(token="two"))["type"] == "welcome"
            await reload("", 2)
            with trio.fail_after(PATIENCE_S):
                assert (await wire.wait_error())["code"] == "unauthorized"
        await daemon.wait_log("no client can connect by WebSocket")
        for given in (None, "", "two"):
            await refusal(daemon.web, given)


async def test_settings_with_a_token_that_anybody_may_read_are_told(tmp_path: Path) -> None:
    file = settings_file(tmp_path, '[listen]\ntoken = "one"\n')
    file.chmod(0o644)
    with running(tmp_path, "--config", str(file)) as daemon:
        await daemon.wait_log(f"{file} holds listen.token and any user may read it")
        file.chmod(0o600)
        daemon.send(signal.SIGHUP)
        await daemon.wait_log("settings were read again")
        assert sum("any user may read it" in line for line in daemon.log) == 1


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
async def test_users_without_an_id_in_the_daemons_namespace_are_not_one_owner(tmp_path: Path) -> None:
    """The daemon runs as under PrivateUsers=yes: root and its own user have ids, and nobody else."""
    path = tmp_path / "given.sock"
    client = (
        "import os, sys, trio, convo, convo.transport, anyio._backends._trio\n"
        "os.setuid(int(sys.argv[2]))\n"
        "async def main():\n"
        "    async with convo.connect(sys.argv[1]) as client:\n"
        "        await client.create_session('live')\n"
        "try: trio.run(main)\n"
        "except convo.RequestError as error: print(error.code, error.message)\n"
        "else: print('came in')\n"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        with suppress(PermissionError):
            folder.chmod(folder.stat().st_mode | 0o011)
    words = [sys.executable, "-m", "convod", "--socket", str(path), "--state-dir", str(tmp_path / "state")]
    environment = os.environ | {"CONVOD_MODEL": "builtin", "XDG_CONFIG_HOME": str(tmp_path)}
    process = subprocess.Popen(  # noqa: ASYNC220
        ["unshare", "--user", "--map-root-user", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "is ready on" in line:
                break
        else:
            if "unshare" in said:
                pytest.skip("no user namespaces here")
            raise AssertionError(said)
        path.chmod(0o666)

        async def come(uid: int) -> str:
            done = await trio.run_process(
                [sys.executable, "-c", client, f"unix:{path}", str(uid)],
                capture_stdout=True, capture_stderr=True, check=False,
            )  # fmt: skip
            return done.stdout.decode() or done.stderr.decode()

        assert await come(0) == "came in\n"
        for uid in (OTHER, OTHER + 1):
            answer = await come(uid)
            assert answer.startswith("unauthorized Your user has no id in the user namespace")
            assert answer.count("\n") == 1
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        if process.stderr is not None:
            process.stderr.close()
