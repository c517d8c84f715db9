from __future__ import annotations

import itertools
import math
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.messages import SAMPLE_BYTES
from convod.speech.pcm import CHANNELS, RATES, Frames, PcmFormat, PcmReader, UnsupportedAudio


def shorts(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 2}h", data))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"encoding": "opus"}, "opus"),
        ({"encoding": ""}, "s16le"),
        ({"rate": 7999}, "7999"),
        ({"rate": 48001}, "48001"),
        ({"rate": 0}, "8000 to 48000"),
        ({"channels": 0}, "1 to 8"),
        ({"channels": 9}, "9"),
    ],
)
def test_a_format_out_of_range_is_refused_with_what_is_in_range(fields, named):
    with pytest.raises(UnsupportedAudio, match=named):
        PcmFormat(**fields)


@pytest.mark.parametrize("encoding", SAMPLE_BYTES)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_borders_of_the_range_are_in_it(encoding, rate, channels):
    pcm = PcmFormat(encoding, rate, channels)
    assert pcm.bytes_per_second == SAMPLE_BYTES[encoding] * rate * channels


def test_mono_s16le_passes_through_untouched():
    data = struct.pack("<5h", 0, 1, -1, 32767, -32768)
    assert PcmReader(PcmFormat()).feed(data) == data


def test_channels_are_averaged_without_overflow():
    data = struct.pack("<6h", 32767, 32767, -32768, -32768, 100, -50)
    assert shorts(PcmReader(PcmFormat(channels=2)).feed(data)) == [32767, -32768, 25]


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_sides_that_are_each_other_upside_down_do_not_cancel(encoding):
    left = [round(5000 * math.sin(at / 5)) for at in range(1600)]
    pairs = [side for sample in left for side in (sample, -sample)]
    kind, scale = ("h", 1) if encoding == "s16le" else ("f", 32768)
    data = array(kind, (sample if scale == 1 else sample / scale for sample in pairs)).tobytes()
    mono = shorts(PcmReader(PcmFormat(encoding, 16000, 2)).feed(data))
    assert mono[:320] == [0] * 320  # before anything is known
    assert mono[320:] == left[320:]


def test_channels_that_are_split_are_not_mixed_even_upside_down():
    pairs = array("h", (side for at in range(1600) for side in (at, -at))).tobytes()
    assert PcmReader(PcmFormat(channels=2), split=True).feed(pairs) == pairs


def test_floats_are_scaled_and_clipped_and_what_is_no_number_is_silence():
    data = struct.pack("<8f", 0.0, 0.5, -0.5, 1.0, -1.0, math.inf, -math.inf, math.nan)
    reader = PcmReader(PcmFormat("f32le"))
    assert shorts(reader.feed(data)) == [0, 16384, -16384, 32767, -32768, 32767, -32768, 0]


def test_mulaw_is_g711():
    # Values of ITU-T G.711, table 2: the two zeros, both ends, and a step of each sign.
    assert shorts(PcmReader(PcmFormat("mulaw", 8000)).feed(b"\xff\x7f\x00\x80\xf0\x70")) == [
        0, 0, -32124, 32124, 120, -120,
    ]  # fmt: skip


def test_alaw_is_g711():
    # Values of ITU-T G.711, table 1: the smallest of each sign, both ends, and the second segment's first.
    assert shorts(PcmReader(PcmFormat("alaw", 8000)).feed(b"\xd5\x55\xaa\x2a\xc5\x45")) == [
        8, -8, 32256, -32256, 264, -264,
    ]  # fmt: skip


FORMATS = st.builds(
    PcmFormat, st.sampled_from(sorted(SAMPLE_BYTES)), st.sampled_from([8000, 16000, 44100]), st.integers(1, 8)
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(borders)]


@given(pcm=FORMATS, data=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_where_the_stream_is_cut_changes_no_sample(pcm, data, cuts):
    whole, cut = PcmReader(pcm), PcmReader(pcm)
    assert b"".join(map(cut.feed, pieces(data, cuts))) == whole.feed(data)
    assert cut.rest_bytes == whole.rest_bytes == len(data) % pcm.frame_bytes


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_frames_follow_each_other_without_gap_and_never_drift(rate, frame_ms):
    frames = Frames(rate, frame_ms).feed(bytes(2 * 10 * rate))
    assert len(frames) == 10_000 // frame_ms
    assert frames[0].start == 0
    assert all(one.end == two.start for one, two in itertools.pairwise(frames))
    assert frames[-1].end == len(frames) * frame_ms * rate // 1000


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
def test_the_detector_gets_frames_of_the_one_length_it_takes(rate):
    frames = Frames(rate)
    assert frames.vad_rate in (8000, 16000, 32000, 48000)
    assert {len(frame.samples) for frame in frames.feed(bytes(2 * rate))} == {2 * frames.vad_rate * 30 // 1000}


def test_a_resampled_frame_keeps_its_shape():
    ramp = array("h", range(1323)).tobytes()  # 30 ms at 44100 Hz
    (frame,) = Frames(44100).feed(ramp)
    picked = shorts(frame.samples)
    assert picked == sorted(picked)
    assert picked[0] < 5
    assert picked[-1] > 1317


@given(
    rate=st.sampled_from([8000, 11025, 44100]),
    samples=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 6000), max_size=6),
)
def test_where_the_samples_are_cut_changes_no_frame(rate, samples, cuts):
    data = array("h", (i % 1000 for i in range(samples))).tobytes()
    cut = Frames(rate)
    assert [frame for piece in pieces(data, cuts) for frame in cut.feed(piece)] == Frames(rate).feed(data)
