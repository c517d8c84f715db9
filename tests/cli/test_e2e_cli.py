"""The command against a real convod with the built-in model: true audio in, its words out."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convod.engine.models import BUILTIN_DIRECTORY
from tests.cli.conftest import Run
from tests.support.daemon import Daemon, running
from tests.support.speech import DATA, pcm, truth, word_error_rate

WAIT_S = 60.0

Convo = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _connected(real: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVO_URL", real.url)


@pytest.fixture
def convo() -> Iterator[Convo]:
    """Starts the command in a process of its own; it has ended when the test has, and after WAIT_S at the latest."""
    started = []
    watchdogs = []

    def start(*words: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-m", "convo_cli", *map(str, words)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(child)
        watchdogs.append(threading.Timer(WAIT_S, child.kill))
        watchdogs[-1].start()
        return child

    yield start
    for watchdog in watchdogs:
        watchdog.cancel()
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def heard(out: bytes | str) -> str:
    return out.decode() if isinstance(out, bytes) else out


@pytest.mark.parametrize("transport", ["url", "web"])
@pytest.mark.parametrize("name", ["single.flac", "talk.mp3", "minutes.flac"])
def test_a_file(real: Daemon, run: Run, name: str, transport: str) -> None:
    result = run("transcribe", DATA / name, "--connect", getattr(real, transport))
    assert (result.code, result.err) == (0, "")
    assert word_error_rate(truth(name.partition(".")[0]), result.out) <= 0.05


@pytest.mark.parametrize("transport", ["url", "web"])
def test_a_pipe_gives_the_same_words(real: Daemon, convo: Convo, transport: str) -> None:
    child = convo("stream", "-", "--summary", "--connect", getattr(real, transport))
    out, err = child.communicate(pcm("talk.flac"), timeout=WAIT_S)
    assert (child.returncode, err) == (0, b"")
    words, _, summary = out.decode().partition("\n\n")
    assert word_error_rate(truth("talk"), words) <= 0.05
    assert "Key points\n" in summary


def test_what_is_said_comes_while_it_is_said(convo: Convo) -> None:
    child = convo("stream", "-")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(pcm("talk.flac")[: 32_000 * 10])
    child.stdin.flush()
    assert "everyone" in heard(child.stdout.readline())
    assert "started" in heard(child.stdout.readline())
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 0


def test_several_files_side_by_side(run: Run, tmp_path: Path) -> None:
    names = ["talk.flac", "single.flac", "short.wav"]
    assert run("transcribe", *(DATA / name for name in names), "-o", tmp_path, "--words").code == 0
    for name in names:
        stem = Path(name).stem
        assert word_error_rate(truth(stem), (tmp_path / f"{stem}.txt").read_text()) <= 0.05
    result = run("transcribe", *(DATA / name for name in names))
    assert re.findall("==> .*/(.*) <==", result.out) == names


@pytest.mark.parametrize("format", ["srt", "vtt", "md", "json", "jsonl"])
def test_formats(run: Run, format: str) -> None:
    result = run("transcribe", DATA / "single.flac", "--format", format, "--words", "--summary")
    assert result.code == 0
    if format == "json":
        value = json.loads(result.out)
        assert value["segments"][0]["words"]
        assert value["summary"]["provider"] == "extractive"
    elif format == "jsonl":
        assert [json.loads(line)["type"] for line in result.out.splitlines()] == ["session", "segment", "summary"]
    elif format == "md":
        assert "## Summary" in result.out
    else:
        assert " --> " in result.out


def test_sessions_afterwards(run: Run) -> None:
    events = [json.loads(line) for line in run("transcribe", DATA / "single.flac", "--json").out.splitlines()]
    (text,) = [event["text"] for event in events if event["type"] == "transcript_segment"]
    name = events[0]["session"]
    assert name in run("ls").out
    assert run("watch", name).out == f"{text}\n"
    assert text in run("show", name).out
    assert text.split()[0] in run("export", name, "--format", "vtt").out
    word = max(re.findall(r"\w+", text), key=len)
    assert name in run("search", word).out
    result = run("summarize", name, "--provider", "extractive")
    assert result.code == 0
    assert "Keywords: " in result.out
    assert run("rm", name).code == 0
    assert name not in run("ls").out
    assert run("show", name).code == 1


def test_the_daemon_and_its_models(run: Run) -> None:
    assert "engine     ready: builtin on cpu" in run("status").out
    assert run("models").out.startswith("builtin\t")


@pytest.mark.parametrize(("name", "data"), [("a.mp3", b"not audio\n" * 999), ("a.wav", b"")], ids=["text", "empty"])
def test_what_is_no_audio(run: Run, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    for command in ("transcribe", "stream"):
        result = run(command, tmp_path / name)
        assert (result.code, result.out) == (4, ""), result.err
        assert name in result.err


def test_a_model_that_is_not_there(run: Run) -> None:
    assert run("transcribe", DATA / "single.flac", "--model", "/nowhere/at/all").code in (1, 6)


def test_a_live_session_can_be_watched_and_interrupted(convo: Convo, run: Run) -> None:
    speaker = convo("stream", "-", "--json")
    assert speaker.stdin is not None
    assert speaker.stdout is not None
    speaker.stdin.write(pcm("single.flac"))
    speaker.stdin.flush()
    session = json.loads(speaker.stdout.readline())["session"]
    watcher = convo("watch", session)
    while b"transcript_segment" not in (line := speaker.stdout.readline()):
        assert line
    speaker.send_signal(signal.SIGINT)
    speaker.communicate(timeout=WAIT_S)
    assert speaker.returncode == 130
    out, _ = watcher.communicate(timeout=WAIT_S)
    assert watcher.returncode == 0
    assert word_error_rate(truth("single"), heard(out)) == 0


def test_ctrl_c_loses_no_word(convo: Convo) -> None:
    speaker = convo("stream", "-", "--json")
    assert speaker.stdin is not None
    assert speaker.stdout is not None
    audio = pcm("single.flac").rstrip(b"\0")
    speaker.stdin.write(audio)
    speaker.stdin.flush()
    # The last word has just been spoken: no silence has ended the utterance.
    lines = []
    while b"speech_started" not in (line := speaker.stdout.readline()):
        assert line
        lines.append(line)
    speaker.send_signal(signal.SIGINT)
    out, _ = speaker.communicate(timeout=WAIT_S)
    assert speaker.returncode == 130
    events = [json.loads(line) for line in lines + out.splitlines()]
    text = " ".join(event["text"] for event in events if event["type"] == "transcript_segment")
    assert word_error_rate(truth("single"), text) == 0


def test_a_daemon_that_is_killed_and_comes_back(convo: Convo, tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        speaker = convo("stream", "-", CONVO_URL=daemon.url)
        assert speaker.stdin is not None
        assert speaker.stdout is not None
        audio = pcm("talk.flac")
        speaker.stdin.write(audio[: len(audio) // 2])
        speaker.stdin.flush()
        first = b""
        while not first.endswith(b"\n"):  # no byte more: `communicate` does not see what was read ahead
            byte = os.read(speaker.stdout.fileno(), 1)
            assert byte, "it ended before its first line"
            first += byte
        daemon.kill()
        daemon.start()
        out, err = speaker.communicate(audio[len(audio) // 2 :], timeout=WAIT_S)
        assert speaker.returncode == 0, err
        assert b"Trying again." in err
        assert word_error_rate(truth("talk"), heard(first + out)) <= 0.05


def test_files_above_the_limit_of_sessions_are_named_and_can_be_sent_again(
    convo: Convo, run: Run, tmp_path: Path
) -> None:
    files = [DATA / name for name in ("single.flac", "short.wav")]
    with running(tmp_path, "--model", "builtin", environment={"CONVOD_LIMITS_SESSIONS": "1"}) as daemon:
        child = convo("stream", "-", CONVO_URL=daemon.url)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(pcm("talk.flac")[: 32_000 * 5])
        child.stdin.flush()
        assert child.stdout.readline()  # it has the only place
        result = run("transcribe", *files, "--connect", daemon.url)
        assert (result.code, result.out) == (1, "")
        *told, last = result.err.splitlines()
        assert len(told) == len(files)
        for file, line in zip(files, told, strict=True):
            assert f"{file}: as many of your sessions are not finished as limits.sessions allows (1)" in line
        assert "2 of 2 files could not be transcribed." in last
        child.communicate(timeout=WAIT_S)
        assert child.returncode == 0
        for file in files:
            assert run("transcribe", file, "--connect", daemon.url).code == 0


def test_a_folder_is_done_though_its_daemon_was_killed(convo: Convo, run: Run, tmp_path: Path) -> None:
    """One in mid-upload, one being heard, one that waits: each is there in the end, once, with all its words."""
    talks = tmp_path / "talks"
    talks.mkdir()
    for name in ("a", "b", "c"):
        (talks / f"{name}.flac").write_bytes((DATA / "talk.flac").read_bytes())
    undisturbed = run("transcribe", DATA / "talk.flac").out
    with running(tmp_path) as daemon:
        command = convo("transcribe", talks, "-", "--json", CONVO_URL=daemon.url)
        assert command.stdin is not None
        assert command.stdout is not None
        audio = (DATA / "talk.flac").read_bytes()
        command.stdin.write(audio[: len(audio) // 2])
        command.stdin.flush()
        while json.loads(command.stdout.readline())["type"] != "transcript_segment":
            pass
        daemon.kill()
        daemon.start()
        _, err = command.communicate(audio[len(audio) // 2 :], timeout=WAIT_S)
        assert command.returncode == 0, err
        assert err.count(b"Trying again.") == 1
        listed = run("--connect", daemon.url, "ls").out.splitlines()
        assert sorted(line.split("\t")[1] for line in listed) == ["completed"] * 4
        for line in listed:
            assert run("--connect", daemon.url, "export", line.split("\t")[0]).out == undisturbed


def test_on_a_terminal_the_sentence_is_redrawn_until_it_is_whole(real: Daemon) -> None:
    child, ours = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "convo_cli", "stream", str(DATA / "single.flac"), "--realtime"])
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"; Ctrl-C ends it." in shown
    assert shown.count(b"\x1b[K") >= 3
    last = shown.decode().rstrip("\r\n").rpartition("\r\x1b[K")[2]
    assert word_error_rate(truth("single"), last) == 0


# --- the demo ---------------------------------------------------------------------------------------------


def demo(place: Path, *words: str | Path, model: str | None = "builtin") -> subprocess.Popen[bytes]:
    """The demo as `scripts/demo` runs it: temporary files in `place`, no models but those there, and no network."""
    chosen = [] if model is None else ["--model", model]
    sample = str(DATA / "talk.flac")
    command = [sys.executable, "-m", "convo_cli.demo", "--sample", sample, *chosen, *map(str, words)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "TMPDIR": str(place),
        "HF_HUB_CACHE": str(place / "hub"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def nothing_is_left(place: Path) -> bool:
    """Whether nothing of the demo is there any more, neither file nor process."""
    processes = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return not list(place.glob("convo-demo-*")) and str(place) not in processes


def test_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path, "--fast") as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert (child.returncode, err) == (0, b"")
    text = out.decode()
    captions = re.findall(r"^\d\d:\d\d  (.*)$", text, re.MULTILINE)
    assert word_error_rate(truth("talk"), " ".join(captions)) <= 0.05
    assert text.index("00:44  ") < text.index("Key points\n") < text.index("Action items\n") < text.index("\nNext, ")
    assert text.splitlines()[-1].startswith("Next, ")
    assert nothing_is_left(tmp_path)


def test_the_demo_of_ones_own_recordings(tmp_path: Path) -> None:
    with demo(tmp_path, "--fast", DATA / "single.flac", DATA / "short.wav") as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert (child.returncode, err) == (0, b"")
    first, second = out.decode().split("Captions of short.wav, as fast as it goes:\n")
    assert "convod is up with its built-in model. Captions of single.flac, as fast as it goes:\n" in first
    for name, text in (("single", first), ("short", second)):
        (caption,) = re.findall(r"^00:00  (.*)$", text, re.MULTILINE)
        assert word_error_rate(truth(name), caption) <= 0.05
    assert nothing_is_left(tmp_path)


def test_the_demo_without_a_network_says_that_it_hears_with_the_built_in_model(tmp_path: Path) -> None:
    begun = time.monotonic()
    with demo(tmp_path, "--fast", DATA / "single.flac", model=None) as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert child.returncode == 0
    first, second = err.decode().splitlines()
    assert first == "convo: Fetching tiny.en, the first time only."
    assert second.startswith("convo: The model hub cannot be reached (")
    assert second.endswith(
        "so the built-in model hears this, which knows synthetic voices only and does not understand people: run this "
        "again where there is a network."
    )
    assert "convod is up with its built-in model." in out.decode()
    assert re.search(r"^00:00  ", out.decode(), re.MULTILINE)
    assert nothing_is_left(tmp_path)
    assert time.monotonic() - begun < 30


def test_the_demo_does_not_fetch_what_is_here(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--Systran--faster-whisper-tiny.en"
    shutil.copytree(BUILTIN_DIRECTORY, folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    with demo(tmp_path, "--fast", DATA / "single.flac", model=None) as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert (child.returncode, err) == (0, b"")
    assert "convod is up with the model tiny.en." in out.decode()


def test_the_demo_with_a_model_that_cannot_be_had(tmp_path: Path) -> None:
    with demo(tmp_path, "--fast", model="small") as child:
        out, err = child.communicate(timeout=WAIT_S)
    assert (child.returncode, out) == (1, b"")
    assert "so 'small' is not fetched; run `convo models pull tiny.en`" in err.decode().splitlines()[-1]
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGINT], 130), ([signal.SIGINT, signal.SIGINT], 130), ([signal.SIGTERM], 143)],
    ids=["once", "twice", "terminated"],
)
def test_the_demo_interrupted(tmp_path: Path, signals: list[int], code: int) -> None:
    with demo(tmp_path) as child:
        assert child.stdout is not None
        while b"00:00  " not in (line := child.stdout.readline()):
            assert line
        for signum in signals:
            child.send_signal(signum)
        out, _ = child.communicate(timeout=WAIT_S)
    assert child.returncode == code
    assert b"Next, " not in out
    assert nothing_is_left(tmp_path)
