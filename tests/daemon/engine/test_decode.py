from __future__ import annotations

import io
import shutil
from array import array
from contextlib import aclosing

import av
import numpy as np
import pytest

from convo.messages import Code
from convod.engine.decode import Decoding, decoding
from tests.support.speech import DATA, pcm

RATE = 16000


async def decoded(path) -> tuple[bytes, Decoding]:
    async with decoding(path) as process:
        sound = b"".join([piece async for piece in process.pieces()])
    return sound, process


def encoded(container: str, codec: str, rate: int, layout: str, seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        channels = len(stream.layout.channels)
        wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[np.newaxis, :], "s16", layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def level(sound: bytes) -> float:
    return float(np.sqrt(np.mean(np.frombuffer(sound, np.int16).astype(float) ** 2)))


@pytest.mark.parametrize(("name", "seconds"), [("single.flac", 3.34), ("talk.flac", 49.4), ("short.wav", 1.64)])
async def test_a_lossless_file_becomes_its_samples(name, seconds):
    sound, process = await decoded(DATA / name)
    assert sound == pcm(name)
    assert (process.refusal, process.warning) == (None, None)
    assert process.total_s == pytest.approx(seconds, abs=0.02)


async def test_an_mp3_becomes_sound_of_its_length():
    sound, process = await decoded(DATA / "talk.mp3")
    assert len(sound) / 2 / RATE == pytest.approx(49.4, abs=0.1)
    assert level(sound) == pytest.approx(level(pcm("talk.flac")), rel=0.1)
    assert (process.refusal, process.warning) == (None, None)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 48000, "stereo"),
        ("wav", "pcm_s16le", 8000, "mono"),
        ("flac", "flac", 44100, "5.1"),
    ],
)
async def test_any_rate_and_number_of_channels_becomes_mono_at_16_khz(tmp_path, container, codec, rate, layout):
    path = tmp_path / "sound"
    path.write_bytes(encoded(container, codec, rate, layout))
    sound, process = await decoded(path)
    assert len(sound) // 2 == pytest.approx(RATE, abs=200)
    assert process.refusal is None
    crossings = sum(
        a < 0 <= b for a, b in zip(array("h", sound)[2000:14000], array("h", sound)[2001:14001], strict=True)
    )
    assert crossings == pytest.approx(440 * 12000 / RATE, abs=2)


def video_without_sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", "matroska") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        pytest.param(lambda: b"", "empty", id="empty"),
        pytest.param(lambda: b"Dear Sir or Madam,\n" * 100, "no audio file", id="text"),
        pytest.param(lambda: np.random.default_rng(1).bytes(50_000), "", id="random bytes"),
        pytest.param(video_without_sound, "no audio track", id="video without sound"),
        pytest.param(lambda: (DATA / "short.wav").read_bytes()[:30], "", id="half a header"),
        pytest.param(lambda: (DATA / "short.wav").read_bytes()[:44], "", id="header alone"),
    ],
)
async def test_what_holds_no_sound_is_refused_with_a_sentence(tmp_path, data, named):
    path = tmp_path / "file"
    path.write_bytes(data())
    sound, process = await decoded(path)
    assert sound == b""
    assert process.refusal is not None
    code, sentence = process.refusal
    assert code is Code.BAD_AUDIO
    assert named in sentence
    assert "\n" not in sentence
    assert "send" in sentence or "convert" in sentence


async def test_a_truncated_mp3_gives_what_is_there_and_a_warning(tmp_path):
    path = tmp_path / "file"
    path.write_bytes((DATA / "talk.mp3").read_bytes()[:100_123])
    sound, process = await decoded(path)
    assert 20 < len(sound) / 2 / RATE < 30
    assert process.refusal is None
    assert process.warning is not None
    assert "announces" in process.warning


async def test_a_file_damaged_in_its_middle_gives_both_ends_and_a_warning(tmp_path):
    data = (DATA / "talk.mp3").read_bytes()
    path = tmp_path / "file"
    path.write_bytes(data[:100_000] + bytes(3000) + data[103_000:])
    sound, process = await decoded(path)
    assert len(sound) / 2 / RATE > 45
    assert process.warning is not None
    assert "damaged" in process.warning


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp3\n",
        "ffconcat version 1.0\nfile list\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:60\n#EXTINF:49,\nother.mp3\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:60\n#EXTINF:49,\nhttp://127.0.0.1:9/other.mp3\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["list", "list.m3u8"])
async def test_a_list_of_other_files_is_not_followed(tmp_path, text, name):
    shutil.copy(DATA / "talk.mp3", tmp_path / "other.mp3")
    (tmp_path / name).write_text(text)
    sound, process = await decoded(tmp_path / name)
    assert sound == b""
    assert process.refusal is not None


async def test_a_file_that_stops_its_decoder_is_refused(tmp_path):
    async with decoding(tmp_path / "there is none") as process:
        assert [piece async for piece in process.pieces()] == []
    assert process.refusal is not None
    assert process.refusal[0] is Code.BAD_AUDIO


async def test_leaving_early_ends_the_process():
    async with decoding(DATA / "minutes.flac") as process:
        async with aclosing(process.pieces()) as pieces:
            assert await anext(pieces)
        child = process._process
    assert child.returncode is not None
