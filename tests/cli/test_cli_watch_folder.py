"""`convo watch-folder` in a process of its own against a real daemon, and from a table which files it takes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

import convo
from convo.messages import CreateSession, Error, ListSessions
from convo_cli.settling import Settling, Stamp
from tests.cli.conftest import Run, Start
from tests.cli.fake import FakeDaemon
from tests.support.daemon import Daemon
from tests.support.speech import DATA

WAIT_S = 60.0


class Watcher:
    """A running `convo watch-folder`."""

    def __init__(self, folder: Path, url: str, *words: str) -> None:
        self.folder = folder
        self.child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "convo_cli",
                "watch-folder",
                str(folder),
                "--settle",
                "0.2",
                "--connect",
                url,
                *words,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(WAIT_S, self.child.kill)
        self._watchdog.start()

    def done(self) -> str:
        """Wait for the next transcript: the name of its file."""
        assert self.child.stdout is not None
        return Path(self.child.stdout.readline().rstrip("\n")).name

    def says(self, words: str) -> str:
        """Wait until it says this on standard error: the line."""
        assert self.child.stderr is not None
        for line in self.child.stderr:
            if words in line:
                return line
        raise AssertionError(f"it never said {words!r}")

    def stop(self, signum: int = signal.SIGTERM) -> None:
        self.child.send_signal(signum)
        self.child.communicate()
        self._watchdog.cancel()


Watch = Callable[..., Watcher]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    made.mkdir()
    return made


@pytest.fixture
def watch(real: Daemon, folder: Path) -> Iterator[Watch]:
    started: list[Watcher] = []

    def watch(*words: str) -> Watcher:
        started.append(Watcher(folder, real.url, *words))
        return started[-1]

    yield watch
    for watcher in started:
        if watcher.child.poll() is None:
            watcher.stop()


def titles(real: Daemon) -> list[str]:
    async def ask() -> list[str]:
        async with convo.connect(real.url) as client:
            return [info.title for info in (await client.request(ListSessions(limit=200))).sessions]

    return trio.run(ask)


def wait_for_session(real: Daemon, title: str) -> None:
    async def look() -> None:
        with trio.fail_after(WAIT_S):
            async with convo.connect(real.url) as client:
                while title not in [info.title for info in (await client.request(ListSessions())).sessions]:  # noqa: ASYNC110
                    await trio.sleep(0.02)

    trio.run(look)


def put(folder: Path, name: str, source: str = "short.wav") -> Path:
    """A recording that appears whole."""
    hidden = folder / ".coming"
    shutil.copyfile(DATA / source, hidden)
    hidden.rename(folder / name)
    return folder / name


def test_each_recording_once(real: Daemon, folder: Path, watch: Watch) -> None:
    put(folder, "before-1.wav")
    first = watch()
    assert first.done() == "before-1.wav.txt"
    words = (folder / "before-1.wav.txt").read_text()
    assert words.strip()

    put(folder, "evil\n\x1b[2Jname-1.wav")
    assert first.done().startswith("evil")
    assert (folder / "evil\n\x1b[2Jname-1.wav.txt").read_text() == words

    moved = (folder / "before-1.wav").rename(folder / "moved-1.wav")
    assert first.done() == "moved-1.wav.txt"  # the same session, under its new name
    assert (folder / "moved-1.wav.txt").read_text() == words
    first.stop()

    put(folder, "after-1.wav")
    again = watch("--format", "txt")
    assert again.done() == "after-1.wav.txt"  # and none of those before
    found = titles(real)
    assert [found.count(name) for name in ("before-1", "moved-1", "after-1")] == [1, 0, 1]

    os.utime(moved)
    assert again.done() == "moved-1.wav.txt"  # newer than its transcript
    assert titles(real).count("moved-1") == 1


def test_a_recording_that_is_written_is_waited_for(real: Daemon, folder: Path, watch: Watch) -> None:
    data = (DATA / "short.wav").read_bytes()
    watcher = watch()
    with open(folder / "slow-2.wav", "wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        put(folder, "whole-2.wav")
        assert watcher.done() == "whole-2.wav.txt"
        assert "slow-2" not in titles(real)
        file.write(data[len(data) // 2 :])
    assert watcher.done() == "slow-2.wav.txt"
    assert (folder / "slow-2.wav.txt").read_text() == (folder / "whole-2.wav.txt").read_text()
    assert titles(real).count("slow-2") == 1


def test_a_killed_watcher_makes_no_second_session(real: Daemon, folder: Path, watch: Watch) -> None:
    put(folder, "talk-3.flac", "talk.flac")
    watcher = watch()
    wait_for_session(real, "talk-3")
    watcher.stop(signal.SIGKILL)
    assert not (folder / "talk-3.flac.srt").exists()
    assert watch("--format", "srt").done() == "talk-3.flac.srt"
    assert titles(real).count("talk-3") == 1
    assert "-->" in (folder / "talk-3.flac.srt").read_text()


def test_what_is_no_recording_stands_in_nobodys_way(real: Daemon, folder: Path, watch: Watch, tmp_path: Path) -> None:
    outside = tmp_path / "outside.wav"
    shutil.copyfile(DATA / "short.wav", outside)
    (folder / "link-4.wav").symlink_to(outside)
    os.mkfifo(folder / "pipe-4.wav")
    (folder / "empty-4.wav").touch()
    (folder / "notes-4.txt").write_text("not a recording")
    (folder / "bad-4.mp3").write_text("not a recording either")
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (folder / "good-4.wav.txt").symlink_to(precious)
    watcher = watch()
    assert "bad-4.mp3: " in watcher.says("bad-4.mp3")
    put(folder, "good-4.wav")
    os.utime(precious, (0, 0))
    assert watcher.done() == "good-4.wav.txt"
    assert precious.read_text() == "kept"
    sentence, again = (folder / "bad-4.mp3.error.txt").read_text().splitlines()
    assert "no audio file that FFmpeg can read" in sentence
    assert again == "Touch the recording to try again."
    assert not {"link-4", "pipe-4", "empty-4", "notes-4"} & set(titles(real))


def test_a_folder_that_goes_away_and_a_full_disk(real: Daemon, folder: Path, watch: Watch) -> None:
    watcher = watch()
    put(folder, "one-5.wav")
    assert watcher.done() == "one-5.wav.txt"
    gone = folder.rename(folder.with_name("gone"))
    watcher.says("No such file or directory. Waiting until it can be read.")
    gone.rename(folder)

    no_more = resource.prlimit(watcher.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(watcher.child.pid, resource.RLIMIT_FSIZE, (0, no_more[1]))
    put(folder, "two-5.wav")
    watcher.says("It is tried again.")
    assert not (folder / "two-5.wav.txt").exists()
    resource.prlimit(watcher.child.pid, resource.RLIMIT_FSIZE, no_more)
    assert watcher.done() == "two-5.wav.txt"
    assert titles(real).count("two-5") == 1


def test_below_the_folder_if_wanted(folder: Path, watch: Watch) -> None:
    (folder / "deep").mkdir()
    put(folder / "deep", "six-6.wav")
    watcher = watch("--recursive")
    assert watcher.done() == "six-6.wav.txt"
    assert (folder / "deep" / "six-6.wav.txt").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere is not a directory: name the folder to watch."),
        ([".", "--settle", "0"], "'0' is not between 0.1 and 3600 seconds"),
        ([".", "--settle", "soon"], "'soon' is not between 0.1 and 3600 seconds"),
        ([], "the following arguments are required: DIR"),
    ],
)
def test_wrong_words(run: Run, words: list[str], sentence: str) -> None:
    result = run("watch-folder", *words)
    assert result.code == 2
    assert sentence in result.err


def test_a_busy_daemon_is_asked_again(fake: FakeDaemon, folder: Path, start: Start) -> None:
    fake.refuse[CreateSession] = Error(code="busy", message="No room now.")
    put(folder, "seven-7.wav")
    child = start("watch-folder", folder, "--settle", "0.1")
    assert b"No room now. It is tried again." in child.stderr.readline()
    del fake.refuse[CreateSession]
    assert child.stdout.readline().endswith(b"seven-7.wav.txt\n")
    assert not (folder / "seven-7.wav.error.txt").exists()


A = Path("a.wav")
B = Path("b.wav")


def stamp(inode: int = 1, size: int = 10, modified: int = 0) -> Stamp:
    return Stamp(0, inode, size, modified)


@pytest.mark.parametrize(
    ("looks", "ready"),
    [
        pytest.param([(0.0, {A: stamp()}), (1.0, {A: stamp()})], [[], [A]], id="unchanged for a second"),
        pytest.param([(0.0, {A: stamp()}), (0.9, {A: stamp()})], [[], []], id="not yet"),
        pytest.param(
            [
                (0.0, {A: stamp(size=1)}),
                (1.0, {A: stamp(size=2)}),
                (1.9, {A: stamp(size=2)}),
                (2.0, {A: stamp(size=2)}),
            ],
            [[], [], [], [A]],
            id="it grew",
        ),
        pytest.param([(0.0, {A: stamp(size=0)}), (9.0, {A: stamp(size=0)})], [[], []], id="an empty one never"),
        pytest.param(
            [
                (0.0, {A: stamp(1, modified=2), B: stamp(2, modified=1)}),
                (1.0, {A: stamp(1, modified=2), B: stamp(2, modified=1)}),
            ],
            [[], [B, A]],
            id="the oldest first",
        ),
        pytest.param([(0.0, {A: stamp()}), (1.0, {}), (2.0, {A: stamp()})], [[], [], []], id="gone and there again"),
    ],
)
def test_which_are_ready(looks: list[tuple[float, dict[Path, Stamp]]], ready: list[list[Path]]) -> None:
    settling = Settling(1.0)
    assert [settling.look(now, files) for now, files in looks] == ready


def test_one_at_work_is_not_ready_under_any_name() -> None:
    settling = Settling(1.0)
    settling.look(0.0, {A: stamp()})
    assert settling.look(1.0, {A: stamp()}) == [A]
    settling.begin(A)
    assert settling.look(2.0, {A: stamp()}) == []
    assert settling.look(3.0, {B: stamp()}) == []
    assert settling.look(5.0, {B: stamp()}) == []
    settling.end(A, stamp())
    assert settling.look(6.0, {B: stamp()}) == [B]  # to have its transcript beside it, from the same session


def test_one_that_is_done_is_ready_again_when_it_changes() -> None:
    settling = Settling(1.0)
    settling.look(0.0, {A: stamp()})
    settling.look(1.0, {A: stamp()})
    settling.end(A, settling.begin(A))
    assert settling.look(9.0, {A: stamp()}) == []
    assert settling.look(10.0, {A: stamp(modified=1)}) == []
    assert settling.look(11.0, {A: stamp(modified=1)}) == [A]


def test_one_put_back_waits_again() -> None:
    settling = Settling(1.0)
    settling.look(0.0, {A: stamp()})
    settling.look(1.0, {A: stamp()})
    settling.put_back(A, settling.begin(A), 1.0)
    assert settling.look(1.5, {A: stamp()}) == []
    assert settling.look(2.0, {A: stamp()}) == [A]
