"""Where samples come from: raw, WAV, anything else, at its own pace or at that of the clock."""

from __future__ import annotations

import os
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from convo.media import frame_bytes, seconds
from convo.messages import AudioFormat
from convo_cli.arguments import Options, parse
from convo_cli.errors import Exit, Problem
from convo_cli.sources import Paced, Raw, Source, decoded, open_source

DATA = Path(__file__).parent.parent / "data"


async def everything(source: Source) -> bytes:
    pieces = []
    try:
        while piece := await source.read():
            assert len(piece) % frame_bytes(source.format) == 0
            pieces.append(piece)
    finally:
        source.close()
    return b"".join(pieces)


def options(*words: str | Path) -> Options:
    return parse(["stream", *map(str, words)])


def write_wav(path: Path, data: bytes, *, rate: int = 16000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(channels)
        wav.setsampwidth(width)
        wav.setframerate(rate)
        wav.writeframes(data)
    return path


@contextmanager
def standard_input(data: bytes) -> Iterator[int]:
    """Standard input is a pipe in which these bytes stand; gives the end that is written to, which stays open."""
    reader, writer = os.pipe()
    os.write(writer, data)
    before = sys.stdin
    sys.stdin = os.fdopen(reader, "r")
    try:
        yield writer
    finally:
        sys.stdin.close()
        sys.stdin = before


async def test_raw_audio_from_a_pipe_is_cut_to_whole_frames() -> None:
    with standard_input(bytes(range(11))) as writer:
        os.close(writer)
        source = open_source(options("-", "--channels", "2"))
        assert source.format == AudioFormat(channels=2)
        assert await everything(source) == bytes(range(8))


async def test_no_file_means_the_pipe() -> None:
    with standard_input(b"abcd") as writer:
        os.close(writer)
        assert await everything(open_source(options())) == b"abcd"


async def test_a_sample_in_two_halves() -> None:
    with standard_input(b"abc") as writer:
        source = open_source(options("-"))
        assert await source.read() == b"ab"
        os.write(writer, b"d")
        assert await source.read() == b"cd"
        os.close(writer)
        assert await source.read() == b""
        source.close()


async def test_what_stands_in_the_pipe_is_taken_when_reading_was_broken_off() -> None:
    with standard_input(b"") as writer:
        source = open_source(options("-"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await source.read()
        os.write(writer, b"last words!")
        assert source.rest() == b"last words"
        assert source.rest() == b""
        os.close(writer)
        source.close()


@pytest.mark.parametrize("name", ["talk.flac", "short.wav"])
async def test_a_file_in_the_pipe_is_no_raw_audio(name: str) -> None:
    data = (DATA / name).read_bytes()[:4096]
    with standard_input(data) as writer:
        os.close(writer)
        with pytest.raises(Problem, match="convo transcribe -") as caught:
            await everything(open_source(options("-")))
    assert caught.value.code is Exit.BAD_AUDIO
    with standard_input(data) as writer:  # who says what it is knows best
        os.close(writer)
        assert await everything(open_source(options("-", "--encoding", "s16le"))) == data


def test_a_keyboard_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "r") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(Problem, match="There is no audio") as caught:
            open_source(options())
        monkeypatch.undo()
    os.close(ours)
    assert caught.value.code is Exit.USAGE


async def test_raw_audio_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.pcm").write_bytes(b"12345678")
    assert await everything(open_source(options(tmp_path / "a.pcm"))) == b"12345678"
    (tmp_path / "a.bin").write_bytes(b"123456789")
    source = open_source(options(tmp_path / "a.bin", "--encoding", "f32le", "--rate", "8000"))
    assert source.format == AudioFormat(encoding="f32le", rate=8000)
    assert await everything(source) == b"12345678"


@pytest.mark.parametrize(
    ("rate", "channels", "width"), [(8000, 1, 2), (44100, 2, 2), (48000, 8, 2), (96000, 1, 2), (16000, 1, 3)]
)
async def test_a_wav_is_converted(tmp_path: Path, rate: int, channels: int, width: int) -> None:
    path = write_wav(tmp_path / "a.wav", bytes(rate * width * channels), rate=rate, width=width, channels=channels)
    source = open_source(options(path))
    assert source.format == AudioFormat()
    assert seconds(source.format, len(await everything(source))) == pytest.approx(1, abs=0.05)


async def test_a_wav_that_was_cut_off(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bytes(1000))
    path.write_bytes(path.read_bytes()[:-501])
    assert await everything(open_source(options(path))) == bytes(498)


@pytest.mark.parametrize("name", ["talk.flac", "talk.mp3"])
async def test_anything_that_ffmpeg_reads(name: str) -> None:
    source = open_source(options(DATA / name))
    assert source.format == AudioFormat()
    assert source.name == name
    assert seconds(source.format, len(await everything(source))) == pytest.approx(49.4, abs=0.2)


async def test_a_truncated_mp3_gives_what_is_there(tmp_path: Path) -> None:
    whole = (DATA / "talk.mp3").read_bytes()
    (tmp_path / "half.mp3").write_bytes(whole[: len(whole) // 2])
    data = await everything(decoded(tmp_path / "half.mp3"))
    assert seconds(AudioFormat(), len(data)) == pytest.approx(24.7, abs=0.5)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"no audio at all\n" * 99, "has no audio track: give a file with sound"),
        ("a.mp3", b"", "is empty: give a file with sound"),
        ("a.wav", b"RIFF", "convert it to flac, mp3 or wav"),
    ],
    ids=["text", "empty", "broken"],
)
async def test_what_is_no_audio(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Problem, match=f"{name}.*{says}") as caught:
        await everything(open_source(options(tmp_path / name)))
    assert caught.value.code is Exit.BAD_AUDIO


async def test_a_picture_has_no_audio_track(tmp_path: Path) -> None:
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(Problem, match="no audio track"):
        await everything(decoded(path))


async def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "talk.flac").write_bytes((DATA / "talk.flac").read_bytes())
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile talk.flac\n")
    with pytest.raises(Problem, match=r"list\.ffconcat"):
        await everything(decoded(tmp_path / "list.ffconcat"))


@pytest.mark.parametrize(("name", "says"), [("none.wav", "No such file"), (".", "Is a directory")])
def test_files_that_cannot_be_opened(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(Problem, match=says) as caught:
        open_source(options(tmp_path / name))
    assert caught.value.code is Exit.BAD_AUDIO


# --- pace -------------------------------------------------------------------------------------------------


class Script(Source):
    """Gives these pieces, each after so many seconds."""

    def __init__(self, *pieces: tuple[float, bytes]) -> None:
        self.format = AudioFormat(rate=8000)
        self.name = "script"
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        if not self._pieces:
            return b""
        pause, data = self._pieces.pop(0)
        await trio.sleep(pause)
        return data


async def test_the_pace_is_that_of_the_audio(autojump_clock: trio.testing.MockClock) -> None:
    source = Paced(Script((0, bytes(16_000)), (0, bytes(8_000))))
    sent = 0
    while piece := await source.read():
        assert len(piece) <= 0.05 * 16_000
        sent += len(piece)
        # A piece is given when its last sample would have been spoken.
        assert trio.current_time() == pytest.approx(sent / 16_000)
    assert sent == 24_000


async def test_a_late_piece_delays_none_after_it(autojump_clock: trio.testing.MockClock) -> None:
    source = Paced(Script((0, bytes(1600)), (0.5, bytes(16_000))))
    while await source.read():
        pass
    assert trio.current_time() == pytest.approx(1.1)


async def test_a_pipe_at_the_pace_of_the_clock(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    (tmp_path / "a.pcm").write_bytes(bytes(64_000))
    source = open_source(options(tmp_path / "a.pcm", "--realtime"))
    assert isinstance(source, Paced)
    source.close()
    source = Paced(Raw(AudioFormat(), (tmp_path / "a.pcm").open("rb", buffering=0), "a"))
    assert len(await source.read()) == 1280
    source.close()
