"""The demo in this process: its command line, the microphone, an index that says nothing. More is in test_e2e_cli."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from convo_cli import demo
from convo_cli.captions import Captions
from tests.cli.conftest import Result
from tests.fakes.portaudio import FakePortAudio, Stream
from tests.support.speech import DATA, pcm, truth, word_error_rate

WAIT_S = 60.0
PIECE = 3200
"""A tenth of a second, in bytes."""


@pytest.fixture(autouse=True)
def _no_network_and_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def run(capfd: pytest.CaptureFixture[str], *words: str) -> Result:
    try:
        code = demo.main(["--sample", str(DATA / "single.flac"), *words])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capfd.readouterr()
    return Result(code, out, err)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--mic talk.wav", "--mic takes the place of a FILE"),
        ("--mic --fast", "--fast is for recordings"),
        ("--mic --tui", "`s` turns the microphone on"),
        ("--device usb", "--device names a microphone"),
        ("--tui a.wav b.wav", "the app plays one FILE"),
        ("--tui --fast", "not allowed with argument"),
    ],
)
def test_words_that_do_not_go_together(capfd: pytest.CaptureFixture[str], words: str, says: str) -> None:
    result = run(capfd, *words.split())
    assert (result.code, result.out) == (2, "")
    assert says in result.err


@pytest.mark.parametrize("name", ["none.wav", "text.wav", "."])
def test_what_cannot_be_played_is_told_before_anything_is_fetched(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    result = run(capfd, str(tmp_path / name))
    assert (result.code, result.out) == (4, "")
    assert result.err.count("\n") == 1
    assert "Fetching" not in result.err


def test_without_portaudio_it_says_what_to_install(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run(capfd, "--mic")
    assert (result.code, result.out) == (1, "")
    assert "pip install 'convo[mic]'" in result.err
    assert "Fetching" not in result.err


def test_without_a_microphone_it_says_what_else_can_be_heard(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = FakePortAudio()
    sound.devices.clear()
    monkeypatch.setitem(sys.modules, "sounddevice", sound)
    result = run(capfd, "--mic")
    assert (result.code, result.out) == (4, "")
    assert result.err == "convo: There is no microphone: plug one in, or give a recording, scripts/demo FILE.\n"


def test_a_voice_is_captioned_until_ctrl_c(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sound = FakePortAudio()
    sound.rates = {16000}
    monkeypatch.setitem(sys.modules, "sounddevice", sound)
    begun = threading.Event()
    show, start = Captions.show, Stream.start

    def shown(self: Captions, event: object) -> None:
        begun.set()
        show(self, event)  # type: ignore[arg-type]

    def started(self: Stream) -> None:
        start(self)
        threading.Thread(target=talk).start()

    def talk() -> None:
        audio = pcm("single.flac")
        for at in range(0, len(audio), PIECE):
            sound.say(audio[at : at + PIECE])
        assert begun.wait(WAIT_S)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Captions, "show", shown)
    monkeypatch.setattr(Stream, "start", started)
    result = run(capfd, "--mic", "--model", "builtin")
    assert result.code == 130
    assert "Captions of what you say; Ctrl-C ends it:" in result.out
    (caption,) = re.findall(r"^00:00  (.*)$", result.out, re.MULTILINE)
    assert word_error_rate(truth("single"), caption) <= 0.05
    assert "last words follow" in result.err


def test_an_index_that_takes_calls_and_says_nothing_holds_nobody_up(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "STALL_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        result = run(capfd, "--fast")
    assert result.code == 0
    assert "Nothing came of tiny.en for 2 s, so the built-in model hears this" in result.err
    assert "convod is up with its built-in model." in result.out
