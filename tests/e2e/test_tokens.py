"""Who may come by WebSocket: tokens made and revoked while the daemon runs, TLS whose certificate is renewed."""

from __future__ import annotations

import re
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import convo
from convo import messages
from tests.support.certificates import certify
from tests.support.daemon import Daemon, running
from tests.support.sessions import OFF
from tests.support.wire import wired


async def command(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """`convod token …` on the daemon's state directory."""
    done = await trio.run_process(
        [sys.executable, "-m", "convod", "--state-dir", str(daemon.state), "token", *words],
        capture_stdout=True, capture_stderr=True, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_a_token_opens_the_door_until_it_is_revoked(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        made = await command(daemon, "add", "phone")
        secret = made.stdout.strip()
        assert made.returncode == 0
        assert secret.startswith("convo_")
        with pytest.raises(convo.RequestError) as refused:
            async with convo.connect(daemon.web):
                pass
        assert refused.value.code == "unauthorized"
        async with wired(daemon.web, hello=False) as wire:
            assert (await wire.hello(token=secret))["type"] == "welcome"
            session = (await wire.ask("create_session", kind="live", summary={"mode": "off"}))["session"]
            owner = re.search(r"token:\w+", (await command(daemon, "list")).stdout)
            assert owner is not None
            reader = (await command(daemon, "add", "screen", "--scope", "read", "--owner", owner[0])).stdout.strip()
            async with convo.connect(daemon.web, token=reader) as screen:
                assert [one.session for one in (await screen.request(messages.ListSessions())).sessions] == [session]
                with pytest.raises(convo.RequestError, match="may not create_session"):
                    await screen.create_session("live", summary=OFF)
            listed = await command(daemon, "list")
            assert "phone" in listed.stdout
            assert "read" in listed.stdout
            assert secret not in listed.stdout
            assert (await command(daemon, "revoke", "phone")).returncode == 0
            assert (await wire.wait_error())["code"] == "unauthorized"
            await wire.wait_end()
            assert wire.close_code == 1008
        async with wired(daemon.web, hello=False) as wire:
            assert (await wire.hello(token=secret))["code"] == "unauthorized"
        # The session is there still, for whoever may see it; a user of this machine may not.
        async with convo.connect(daemon.url) as local:
            assert (await local.request(messages.ListSessions())).sessions == []
        assert (await command(daemon, "revoke", "phone")).returncode == 1
        everything = "".join(daemon.log) + "".join(
            path.read_text(errors="replace") for path in daemon.state.iterdir() if path.is_file()
        )
        assert "wrong or missing token" in everything
        assert secret not in everything


async def test_a_daemon_with_tokens_and_without_tls_stays_on_this_machine(tmp_path: Path) -> None:
    words = ["--socket", str(tmp_path / "s"), "--state-dir", str(tmp_path / "state"), "--listen", "ws://0.0.0.0:0"]

    async def start(*more: str) -> str:
        done = await trio.run_process(
            [sys.executable, "-m", "convod", *words, *more], capture_stderr=True, check=False
        )  # fmt: skip
        assert done.returncode in (1, 2)
        return done.stderr.decode()

    assert "convod token add" in await start()
    await trio.run_process(
        [sys.executable, "-m", "convod", "--state-dir", str(tmp_path / "state"), "token", "add", "a"],
        capture_stdout=True, capture_stderr=True,
    )  # fmt: skip
    assert "in the clear" in await start()
    assert "--tls-cert" in await start("--listen", "wss://0.0.0.0:0")
    assert "cannot be used" in await start("--listen", "wss://0.0.0.0:0", "--tls-cert", str(tmp_path / "none.pem"))


async def certificate_of(port: int) -> bytes:
    """What the daemon shows to somebody who connects now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context, https_compatible=True)
    await stream.do_handshake()
    shown = stream.getpeercert(binary_form=True)
    await trio.aclose_forcefully(stream)
    assert isinstance(shown, bytes)
    return shown


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_tls_is_spoken_and_a_renewed_certificate_needs_no_restart(tmp_path: Path) -> None:
    certify(tmp_path, "one")
    flags = ["--listen", "wss://127.0.0.1:0", "--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem"]
    with running(tmp_path, *flags) as daemon:
        url = next(word for word in "".join(daemon.log).split() if word.startswith("wss://"))
        port = int(url.rpartition(":")[2])
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with pytest.raises(convo.CannotConnect, match="not trusted"):
            async with convo.connect(url):
                pass
        async with convo.connect(url, ssl_context=trusted) as client:
            session = await client.create_session("live", summary=OFF)
            await session.send_audio(bytes(32000))
            first = await certificate_of(port)
            certify(tmp_path, "two")
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were read again")
            second = await certificate_of(port)
            assert second != first
            (tmp_path / "cert.pem").write_text("broken")
            daemon.send(signal.SIGHUP)
            await daemon.wait_log("settings were not read again: the certificate")
            assert await certificate_of(port) == second
            await session.end()  # on the connection that was opened with the first
            events = [event async for event in session.events()]
        assert isinstance(events[-1], messages.SessionState)
        assert events[-1].state == "completed"
        # Who says nothing, and who speaks no TLS, harms nobody.
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await stream.receive_some(1000)
        assert await certificate_of(port) == second
        assert not [line for line in daemon.log if "fault of convod" in line]
