"""The contract is enough: the Node example, written from protocol/SPEC.md alone, against a real daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from tests.support.daemon import Daemon, running
from tests.support.speech import RATE, pcm, truth, word_error_rate

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "node"

pytestmark = [
    pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")
    for program in ("node", "npm")
]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, away from the tree."""
    directory = tmp_path_factory.mktemp("node")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, directory)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=directory, check=True, timeout=300)
    return directory / "stream.mjs"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("convod")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wav(tmp_path_factory.mktemp("wav") / "talk.wav", pcm("talk.flac"))


def wav(path: Path, samples: bytes, *, channels: int = 1, rate: int = RATE, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)
    return path


async def stream(script: Path, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    done = await trio.run_process(
        ["node", str(script), *map(str, arguments)], capture_stdout=True, capture_stderr=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def assert_told_once(out: str) -> None:
    """Every word of the talk is there once, in order, then its summary."""
    lines = out.splitlines()
    captions = [line for line in lines if re.match(r"\d\d:\d\d  ", line)]
    assert word_error_rate(truth("talk"), " ".join(line[7:] for line in captions)) <= 0.05
    assert captions == sorted(captions, key=lambda line: line[:5])
    assert len(set(captions)) == len(captions)
    assert lines[: len(captions)] == captions
    assert lines[len(captions)] == ""
    summary = lines[len(captions) + 1 :]
    assert any("budget" in line for line in summary)
    assert len([line for line in summary if line.startswith("- ")]) >= 3
    assert len(set(summary)) == len(summary)


@pytest.mark.parametrize("transport", ["url", "web"])
async def test_a_talk_is_captioned_and_summarised(script: Path, daemon: Daemon, talk: Path, transport: str) -> None:
    status, out, err = await stream(script, getattr(daemon, transport), talk)
    assert (status, err) == (0, "")
    assert_told_once(out)


async def test_more_audio_than_the_credit_is_streamed(script: Path, daemon: Daemon, tmp_path: Path) -> None:
    mono = pcm("talk.flac")
    samples = [mono[at : at + 2] for at in range(0, len(mono), 2)]
    # The same talk as stereo at three times the rate: nine megabytes.
    wide = wav(tmp_path / "wide.wav", b"".join(sample * 6 for sample in samples), channels=2, rate=3 * RATE)
    status, out, err = await stream(script, daemon.web, wide)
    assert (status, err) == (0, "")
    assert_told_once(out)


# --- a lost link ------------------------------------------------------------------------------------------------


class Proxy:
    """Stands before a daemon's WebSocket; drops the first connection, never another.

    After `up` bytes from the client, or before the daemon says `down`: what it sends is not masked.
    """

    def __init__(self, web: str, *, up: int | None = None, down: bytes | None = None) -> None:
        self.connections = 0
        self.url = ""
        self._to = urlsplit(web)
        self._cut = (up, down)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        up, down = self._cut if self.connections == 1 else (None, None)
        assert self._to.hostname is not None
        assert self._to.port is not None
        daemon = await trio.open_tcp_stream(self._to.hostname, self._to.port)
        async with client, daemon, trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, client, daemon, up, None, nursery.cancel_scope)
            nursery.start_soon(self._carry, daemon, client, None, down, nursery.cancel_scope)

    @staticmethod
    async def _carry(
        source: trio.SocketStream,
        sink: trio.SocketStream,
        until: int | None,
        word: bytes | None,
        both: trio.CancelScope,
    ) -> None:
        carried = 0
        with suppress(trio.BrokenResourceError):  # One of them is gone already.
            while carried != until:
                data = await source.receive_some(65536 if until is None else until - carried)
                end = -1 if word is None else data.find(word)
                await sink.send_all(data if end < 0 else data[:end])
                carried += len(data)
                if not data or end >= 0:
                    break
        both.cancel()


CUTS: dict[str, dict[str, Any]] = {
    "before the session is known": {"down": b"config"},
    "in the middle of the audio": {"up": 700_001},
    "at the first caption": {"down": b"transcript_segment"},
    "at the last caption": {"down": b"See you next week"},
    "at the summary": {"down": b"final_summary"},
    "at the last state": {"down": b"completed"},
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
async def test_a_lost_link_loses_and_repeats_nothing(
    script: Path, daemon: Daemon, talk: Path, cut: dict[str, Any]
) -> None:
    proxy = Proxy(daemon.web, **cut)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        status, out, err = await stream(script, proxy.url, talk)
        nursery.cancel_scope.cancel()
    assert proxy.connections == 2
    assert (status, err) == (0, "The link was lost; connecting again.\n")
    assert_told_once(out)


# --- what goes wrong --------------------------------------------------------------------------------------------


def is_one_sentence(err: str) -> bool:
    return err.endswith("\n") and err.count("\n") == 1 and " " in err


@pytest.mark.parametrize("scheme", ["ws", "unix"])
async def test_without_a_daemon_it_says_so(script: Path, talk: Path, tmp_path: Path, scheme: str) -> None:
    url = "ws://127.0.0.1:9" if scheme == "ws" else f"unix:{tmp_path / 'convod.sock'}"
    status, out, err = await stream(script, url, talk)
    assert (status, out) == (3, "")
    assert is_one_sentence(err)
    assert url in err


async def test_audio_that_cannot_be_used_is_refused(script: Path, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"no RIFF")
    files = [
        tmp_path / "missing.wav",
        tmp_path / "no.wav",
        wav(tmp_path / "empty.wav", b""),
        wav(tmp_path / "bytes.wav", bytes(RATE), width=1),
        # This one the daemon refuses.
        wav(tmp_path / "slow.wav", bytes(RATE), rate=4000),
    ]
    for file in files:
        status, out, err = await stream(script, daemon.web, file)
        assert (file.name, status, out) == (file.name, 4, "")
        assert is_one_sentence(err)


@pytest.mark.parametrize("arguments", [[], ["ws://127.0.0.1:9"], ["http://127.0.0.1", "a.wav"], ["--loud"]])
async def test_usage(script: Path, arguments: list[str]) -> None:
    status, out, err = await stream(script, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: ")
