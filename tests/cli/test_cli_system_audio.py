"""What the machine plays, with recorders of the test's own in the place of parec and pw-record."""

from __future__ import annotations

import os
import sys
from array import array
from pathlib import Path

import pytest
import trio

from convo_cli.arguments import parse
from convo_cli.errors import Exit, Problem
from convo_cli.speaking import name_of, speaking
from convo_cli.system_audio import LATE_S, RATE, SystemAudio, command_of

FAKE = """#!{python}
import os, signal, sys, time
open({notes!r}, "a").write(" ".join(sys.argv[1:]) + chr(10))
monitor = any("MONITOR" in word or "capture.sink" in word for word in sys.argv)
if {fails!r}:
    sys.exit("Failure: " + {fails!r})
sample = (b"\\x02\\x00" if monitor else b"\\x01\\x00") * {rate}
out = sys.stdout.buffer
if not (monitor and {silent!r}):
    out.write(sample)
    out.flush()
signal.pause()
"""


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Put a recorder on the path, and nothing else; returns how it is put there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, *, silent: bool = False, fails: str = "") -> Path:
        notes = tmp_path / f"{name}.started"
        file = tmp_path / name
        file.write_text(FAKE.format(python=sys.executable, notes=str(notes), silent=silent, fails=fails, rate=RATE))
        file.chmod(0o755)
        return notes

    return put


async def seconds(source: SystemAudio, wanted: float) -> array[int]:
    data = b""
    with trio.fail_after(20):
        while len(data) < wanted * 2 * RATE * source.format.channels:
            data += await source.read()
    return array("h", data)


@pytest.mark.parametrize("program", ["parec", "pw-record"])
async def test_both_sides_are_interleaved_the_microphone_first(recorder, program):
    notes = recorder(program)
    source = SystemAudio(mic=True)
    try:
        samples = await seconds(source, 1.0)
    finally:
        source.close()
    assert source.format.channels == 2
    # The one that starts later is silent until it does.
    assert (set(samples[0::2]) - {0}, set(samples[1::2]) - {0}) == ({1}, {2})
    started = sorted(notes.read_text().splitlines())
    assert started == sorted(" ".join(command_of(program, monitor=monitor)[1:]) for monitor in (False, True))


async def test_a_side_that_gives_nothing_is_silent(recorder):
    recorder("parec", silent=True)
    source = SystemAudio(mic=True)
    try:
        samples = await seconds(source, 1.0 - LATE_S)
        samples += array("h", source.rest())
    finally:
        source.close()
    assert set(samples[0::2]) == {1}
    assert set(samples[1::2]) == {0}
    assert len(samples) == 2 * RATE


async def test_the_system_alone_is_one_channel(recorder):
    notes = recorder("parec")
    source = SystemAudio(mic=False)
    try:
        assert set(await seconds(source, 0.5)) == {2}
    finally:
        source.close()
    assert notes.read_text().split() == command_of("parec", monitor=True)[1:]


async def test_recorders_end_with_the_source(recorder):
    recorder("parec")
    source = SystemAudio(mic=True)
    pids = [one.pid for one in source.recorders]
    await seconds(source, 0.5)
    source.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_why_a_side_cannot_be_recorded_is_a_sentence(recorder):
    recorder("parec", fails="No such entity")
    source = SystemAudio(mic=True)
    try:
        with trio.fail_after(20), pytest.raises(Problem) as told:
            while True:
                await source.read()
    finally:
        source.close()
    assert told.value.sentence.endswith("cannot be recorded: Failure: No such entity.")


def test_without_either_program_a_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Problem) as told:
        SystemAudio(mic=True)
    assert told.value.code is Exit.OTHER
    assert "install one of them" in told.value.sentence


def test_a_microphone_may_be_named():
    assert command_of("parec", monitor=False, device="alsa_input.usb")[-1] == "--device=alsa_input.usb"
    assert "--target" in command_of("pw-record", monitor=False, device="alsa_input.usb")


@pytest.mark.parametrize(
    "words",
    [
        ["stream", "--system", "a.wav"],
        ["stream", "--system", "--realtime"],
        ["stream", "--system", "--rate", "8000"],
        ["stream", "--system", "--mic", "--split-channels"],
        ["stream", "--system", "--mic", "--speakers", "2"],
        ["transcribe", "a.wav", "--speakers", "2", "--split-channels"],
        ["transcribe", "a.wav", "--speakers", "0"],
        ["transcribe", "a.wav", "--speakers", "17"],
        ["transcribe", "a.wav", "--speakers", "many"],
    ],
)
def test_what_does_not_go_together_is_said(words, capsys):
    with pytest.raises(SystemExit) as left:
        parse(words)
    assert left.value.code == Exit.USAGE
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sides", "wanted", "called"),
    [
        ([], None, {}, "Speaker 2"),
        (["--speakers", "auto"], None, {"speakers": "auto"}, "Speaker 2"),
        (["--split-channels"], None, {"channels": "split"}, "Channel 2"),
        (["--mic", "--system"], 2, {"channels": "split", "channel_names": ["me", "them"]}, "them"),
        (["--system"], 1, {}, "Speaker 2"),
    ],
)
def test_who_speaks_is_asked_for(words, sides, wanted, called):
    found = speaking(parse(["stream", *words]), sides)
    assert found == wanted
    assert name_of(found, 2) == called
