"""Any container's sound lies where its own time stamps put it; the track is the one that a listener would choose."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from convo.errors import BadAudio
from convo.media import channels, decode
from convo.recording import RATE, TrackDecoder, choose_track, open_container
from tests.support.speech import DATA

Shift = Callable[[float], float]

TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.int16)
BURSTS = np.concatenate([np.zeros(8000, np.int16), TONE[:8000], np.zeros(8000, np.int16), TONE[:8000]])
"""A tone from 0.5 to 1 s, and from 1.5 to 2 s."""


def muxed(
    container: str,
    codec: str,
    *tracks: np.ndarray,
    rate: int = RATE,
    shift: Shift = lambda at: at,
    picture: bool = True,
    default: int | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file with sound at `rate` (n, or channels x n), whose packets are timed anew by `shift`, and a picture from 0
    on; `default` is the number of the track that is marked.
    """
    file = io.BytesIO()
    with av.open(file, "w", container, options=options or {}) as out:
        video = out.add_stream("flv" if container == "flv" else "mpeg4", rate=10) if picture else None
        if video is not None:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        layout = "stereo" if tracks[0].ndim > 1 else "mono"
        streams = [out.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        for at, stream in enumerate(streams):
            if default is not None:
                stream.disposition = av.stream.Disposition.default if at == default else av.stream.Disposition(0)
        packets = []
        if video is not None:
            for at in range(80):
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.pts = at
                packets += [(packet.pts * packet.time_base, packet) for packet in video.encode(frame)]
            packets += [(packet.pts * packet.time_base, packet) for packet in video.encode(None)]
        for stream, sound in zip(streams, tracks, strict=True):
            data = np.ascontiguousarray(sound.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(data, "s16", layout)
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            size = stream.frame_size or 1024
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=size)
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                for packet in stream.encode(piece):
                    at = float(packet.pts * packet.time_base)
                    moved = round((shift(max(at, 0.0)) - max(at, 0.0)) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
                    packets.append((packet.pts * packet.time_base, packet))
        for _, packet in sorted(packets, key=lambda each: each[0]):
            out.mux(packet)
    return file.getvalue()


def sound(data: bytes, number: int | None = None) -> np.ndarray:
    file = io.BytesIO(data)
    container = open_container(file)
    if number is None:
        container, number, _ = choose_track(file, container)
    with container:
        return np.frombuffer(b"".join(TrackDecoder(container, number).pieces()), np.int16)


def onsets(samples: np.ndarray) -> list[float]:
    """When it gets loud after silence, seconds."""
    blocks = np.abs(samples[: len(samples) // 160 * 160].astype(int)).reshape(-1, 160).max(1) > 3000
    return [at / 100 for at in np.flatnonzero(blocks[1:] & ~blocks[:-1]) + 1]


CONTAINERS = [
    pytest.param("mov", "pcm_s16le", RATE, id="mov"),  # first: of samples as such FFmpeg writes no gap there
    pytest.param("mp4", "aac", RATE, id="mp4"),
    pytest.param("matroska", "flac", RATE, id="mkv"),
    pytest.param("matroska", "libopus", 48000, id="mkv with opus"),
    pytest.param("mpegts", "aac", 48000, id="ts"),
    pytest.param("flv", "aac", 44100, id="flv"),
    pytest.param("ogg", "libopus", 48000, id="ogg"),
]


@pytest.mark.parametrize(("container", "codec", "rate"), CONTAINERS)
def test_sound_that_begins_after_the_picture_stays_there(container, codec, rate):
    picture = container != "ogg"
    data = muxed(container, codec, BURSTS, rate=rate, shift=lambda at: at + 4, picture=picture)
    assert onsets(sound(data)) == pytest.approx([4.5, 5.5], abs=0.035)


@pytest.mark.parametrize(("container", "codec", "rate"), CONTAINERS[1:])
def test_a_gap_in_the_time_stamps_is_silence(container, codec, rate):
    data = muxed(container, codec, BURSTS, rate=rate, shift=lambda at: at + (3 if at > 1.2 else 0), picture=False)
    assert onsets(sound(data)) == pytest.approx([0.5, 4.5], abs=0.035)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("mp3", "libmp3lame", 44100), ("mp4", "aac", 44100), ("ogg", "libopus", 48000), ("matroska", "aac", 44100)],
)
def test_what_an_encoder_puts_before_the_sound_is_no_part_of_it(container, codec, rate):
    assert onsets(sound(muxed(container, codec, BURSTS, rate=rate, picture=False))) == pytest.approx(
        [0.5, 1.5], abs=0.035
    )


def test_an_edit_list_alone_makes_sound_late():
    data = muxed("mp4", "aac", BURSTS, shift=lambda at: at + 4, picture=False)
    assert onsets(sound(data)) == pytest.approx([4.5, 5.5], abs=0.035)


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_a_part_of_a_broadcast_begins_with_its_first_sound(container):
    data = muxed(container, "aac", BURSTS, rate=48000, shift=lambda at: at + 7000, picture=False)
    assert onsets(sound(data)) == pytest.approx([0.5, 1.5], abs=0.035)


@pytest.mark.parametrize(("container", "codec", "rate"), [("ogg", "libopus", 48000), ("mpegts", "aac", 48000)])
def test_joined_streams_are_heard_one_after_the_other(container, codec, rate):
    data = muxed(container, codec, BURSTS, rate=rate, picture=False)
    assert onsets(sound(data + data)) == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=0.1)


def test_overlapping_sound_loses_no_word_and_is_in_time_again_after_a_pause():
    samples = sound(muxed("matroska", "pcm_s16le", BURSTS, shift=lambda at: 0.8 * at, picture=False))
    assert onsets(samples) == pytest.approx([0.5, 1.2], abs=0.12)
    loud = np.count_nonzero(np.abs(samples.astype(int)) > 3000)
    assert loud == np.count_nonzero(np.abs(BURSTS) > 3000)


# --- tracks -----------------------------------------------------------------------------------------------


SILENCE = np.zeros(2 * RATE, np.int16)
HIGH = (8000 * np.sin(2 * np.pi * 880 * np.arange(2 * RATE) / RATE)).astype(np.int16)


@pytest.mark.parametrize(
    ("tracks", "default", "chosen", "silent"),
    [
        pytest.param([BURSTS, HIGH], 0, 0, None, id="the first"),
        pytest.param([SILENCE, HIGH], 0, 1, 0, id="the first is silent"),
        pytest.param([SILENCE, SILENCE, HIGH], 0, 2, 0, id="and the second"),
        pytest.param([BURSTS, HIGH], 1, 1, None, id="the default one"),
        pytest.param([BURSTS, SILENCE], 1, 0, 1, id="the default one is silent"),
        pytest.param([SILENCE, SILENCE], 0, 0, None, id="all are"),
    ],
)
@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_the_track_is_the_one_that_a_listener_would_choose(container, tracks, default, chosen, silent):
    file = io.BytesIO(muxed(container, "aac", *tracks, picture=False, default=default))
    opened, *found = choose_track(file, open_container(file))
    opened.close()
    assert found == [chosen, silent]


def test_a_track_is_looked_at_no_further_than_its_first_sound():
    data = muxed("matroska", "pcm_s16le", np.tile(HIGH, 30), np.tile(HIGH, 30), picture=False)

    class Counted(io.BytesIO):
        bytes_read = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counted.bytes_read += len(data)
            return data

    file = Counted(data)
    choose_track(file, open_container(file))[0].close()
    assert Counted.bytes_read < len(data) / 2


# --- headers ----------------------------------------------------------------------------------------------


def wav(samples: np.ndarray, counted: int, behind: bytes = b"") -> bytes:
    data = samples.tobytes()
    size = counted.to_bytes(4, "little")
    head = b"WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data" + size
    return b"RIFF" + min(len(head) + counted, 0xFFFFFFFF).to_bytes(4, "little") + head + data + behind


@pytest.mark.parametrize(
    ("counted", "behind", "seconds"),
    [
        pytest.param(64000, b"", 2.0, id="right"),
        pytest.param(16000, b"", 2.0, id="less than there is"),
        pytest.param(64000, b"LIST\4\0\0\0INFO", 2.0, id="a chunk behind"),
        pytest.param(0, b"", 2.0, id="none"),
        pytest.param(0xFFFFFFFF, b"", 2.0, id="as into a pipe"),
    ],
)
def test_a_wav_is_heard_to_its_end_whatever_its_header_counts(counted, behind, seconds):
    assert len(sound(wav(BURSTS, counted, behind))) / RATE == pytest.approx(seconds, abs=0.001)


# --- what clients read ------------------------------------------------------------------------------------


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_joined_parts_of_any_rate_and_channels_are_all_heard(tmp_path):
    stereo = np.stack([BURSTS, BURSTS])
    parts = [(stereo, 44100), (BURSTS, 22050), (BURSTS, 48000)]
    data = b"".join(muxed("mp3", "libmp3lame", part, rate=rate, picture=False) for part, rate in parts)
    samples = np.frombuffer(b"".join(decode(write(tmp_path / "ads.mp3", data))), np.int16)
    assert len(onsets(samples)) == 6


def test_another_track_than_the_first_is_told(tmp_path):
    warnings: list[str] = []
    path = write(tmp_path / "film.mp4", muxed("mp4", "aac", SILENCE, HIGH, picture=False))
    assert any(b"".join(decode(path, warnings)))
    assert warnings == ["Track 1 of film.mp4 is silent, so track 2 was sent."]


def test_sides_that_are_each_other_upside_down_do_not_cancel(tmp_path):
    path = write(tmp_path / "sides.flac", muxed("flac", "flac", np.stack([BURSTS, -BURSTS]), picture=False))
    samples = np.frombuffer(b"".join(decode(path)), np.int16)
    assert onsets(samples) == pytest.approx([0.5, 1.5], abs=0.035)
    assert np.abs(samples).max() == pytest.approx(8000, rel=0.05)


def test_channels_stay_apart_where_they_are_split(tmp_path):
    path = write(tmp_path / "sides.flac", muxed("flac", "flac", np.stack([BURSTS, -BURSTS]), picture=False))
    assert channels(path) == 2
    sides = np.frombuffer(b"".join(decode(path, split=True)), np.int16).reshape(-1, 2)
    np.testing.assert_array_equal(sides, np.stack([BURSTS, -BURSTS]).T)
    assert channels(DATA / "talk.flac") == 1
    assert channels(tmp_path / "none.flac") == 1


HOSTILE = [
    pytest.param(wav(BURSTS, 64000).replace(b"data", b"HURF"), id="a chunk that nobody knows"),
    pytest.param(b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", id="data before its format"),
    pytest.param(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0data\4\0\0\0abcd", id="no channels"),
    pytest.param(b"RIFF$\0\0\0WAVEfmt \xff\xff\xff\x7f", id="a format of 2 GiB"),
]


@pytest.mark.parametrize("data", HOSTILE)
def test_a_hostile_wav_is_refused_in_a_sentence(tmp_path, data):
    with pytest.raises(BadAudio, match=r"evil\.wav"):
        b"".join(decode(write(tmp_path / "evil.wav", data)))
