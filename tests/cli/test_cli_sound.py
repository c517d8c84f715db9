"""`convo export --audio`: the kept sound, with silence where something is taken out."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import pytest

from convo.media import decode, wave_header
from convo.messages import AudioFormat, Error, GetAudio
from convo_cli.sound import silenced
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon
from tests.support.speech import DATA

TONE = struct.pack("<h", 1000) * 16000


def loud(path: Path) -> list[bool]:
    """Whether there is sound, for each half second."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        data = file.readframes(file.getnframes())
    return [any(data[at : at + 16000]) for at in range(0, len(data), 16000)]


def test_the_sound_of_a_live_session(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    session = fake.add("aaaa1111", "Call me.", "It is 555 1234.", "Bye.")
    session.audio += TONE * 6
    target = tmp_path / "talk.wav"
    assert (run("export", "aaaa", "--audio", target).out, loud(target)) == ("", [True] * 12)
    result = run("export", "aaaa", "--audio", target, "--redact", "numbers", "-o", tmp_path / "talk.txt")
    assert "whole segments are silent" in result.err
    sound = loud(target)
    start, end = session.segments[1].start, session.segments[1].end
    assert [sound[int(2 * at)] for at in (start + 0.5, end - 1.0)] == [False, False]
    assert sound[0]
    assert (tmp_path / "talk.txt").read_text() == "Call me.\nIt is [number].\nBye.\n"
    assert sorted(path.name for path in tmp_path.iterdir() if "talk" in path.name) == ["talk.txt", "talk.wav"]


def test_the_sound_of_a_file(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    session = fake.add("aaaa1111", "Hello.", kind="file")
    session.audio += (DATA / "short.wav").read_bytes()
    target = tmp_path / "talk.wav"
    assert run("export", "aaaa", "--audio", target).code == 0
    with wave.open(str(target)) as file:
        assert file.readframes(file.getnframes()) == b"".join(decode(DATA / "short.wav"))
    session.audio[:] = b"no sound at all"
    assert run("export", "aaaa", "--audio", target).code == 4
    assert any(loud(target))  # what was there stays
    fake.refuse[GetAudio] = Error(code="bad_state", message="The audio was not kept.")
    assert run("export", "aaaa", "--audio", target).err == "convo: The audio was not kept.\n"


@pytest.mark.parametrize("size", [2, 1000, 64000])
def test_silence_is_where_it_is_asked_for(size: int) -> None:
    sound = struct.pack("<h", 7) * 32000
    spans = [(0.0, 0.25), (0.5, 0.75), (1.9, 9.0)]
    pieces = (sound[at : at + size] for at in range(0, len(sound), size))
    samples = struct.unpack("<32000h", b"".join(silenced(pieces, spans)))  # type: ignore[arg-type]
    for at, sample in enumerate(samples):
        if any(start * 16000 <= at <= end * 16000 for start, end in spans):
            assert sample == 0, at
        elif not any(start * 16000 - 1 <= at <= end * 16000 + 1 for start, end in spans):
            assert sample == 7, at


@pytest.mark.parametrize(
    ("encoding", "samples"),
    [("s16le", struct.pack("<h", 8192)), ("f32le", struct.pack("<f", 0.25)), ("mulaw", b"\x9f"), ("alaw", b"\x8a")],
)
def test_live_audio_of_each_encoding_is_read(tmp_path: Path, encoding: str, samples: bytes) -> None:
    audio = AudioFormat(encoding=encoding, rate=16000, channels=2)
    path = tmp_path / "x"
    path.write_bytes(wave_header(audio, 2 * 16000 * len(samples)) + samples * 32000)
    data = b"".join(decode(path))
    assert len(data) == 32000
    assert abs(struct.unpack("<h", data[8000:8002])[0]) > 1000
