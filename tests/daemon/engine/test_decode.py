from __future__ import annotations

import io
import os
import re
import shutil
import signal
import struct
from contextlib import aclosing

import av
import numpy as np
import pytest
import trio
import trio.testing

from convo.messages import Code
from convod.engine import decode
from convod.engine.decode import Decoding, decoding
from convod.engine.truncated import mp3_s
from tests.support.speech import DATA, pcm
from tests.support.until import until

RATE = 16000


async def decoded(path, **how) -> tuple[bytes, Decoding]:
    async with decoding(path, **how) as process:
        sound = b"".join([piece async for piece in process.pieces()])
    return sound, process


def encoded(
    container: str, codec: str, rate: int, layout: str, seconds: float = 1.0, *tones: int, **options: str
) -> bytes:
    """A file with an audio track for each tone (440 Hz unless said); `options` are the container's."""
    file = io.BytesIO()
    with av.open(file, "w", container, options=options) as out:
        streams = [out.add_stream(codec, rate=rate, layout=layout) for _ in tones or (440,)]
        for stream, tone in zip(streams, tones or (440,), strict=True):
            channels = len(stream.layout.channels)
            wave = (8000 * np.sin(2 * np.pi * tone * np.arange(int(rate * seconds)) / rate)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[np.newaxis, :], "s16", layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                for packet in stream.encode(piece):
                    out.mux(packet)
            for packet in stream.encode(None):
                out.mux(packet)
    return file.getvalue()


def tone(sound: bytes) -> float:
    """The frequency of a sine, by its crossings of zero in the middle of the sound, Hz."""
    samples = np.frombuffer(sound, np.int16)[2000:14000]
    return int(np.count_nonzero((samples[:-1] < 0) & (samples[1:] >= 0))) * RATE / len(samples)


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
        ("wav", "pcm_s24le", 44100, "stereo"),
        ("wav", "pcm_s32le", 96000, "mono"),
        ("wav", "pcm_f32le", 22050, "stereo"),
        ("wav", "pcm_u8", 11025, "mono"),
        ("flac", "flac", 44100, "5.1"),
        ("flac", "flac", 192000, "7.1"),
        ("mp3", "libmp3lame", 44100, "stereo"),
        ("ipod", "aac", 48000, "stereo"),
        ("adts", "aac", 44100, "mono"),
        ("mp4", "aac", 44100, "5.1"),
        ("ogg", "libopus", 48000, "mono"),
        ("webm", "libopus", 48000, "stereo"),
        ("matroska", "pcm_s16le", 32000, "mono"),
        ("aiff", "pcm_s16be", 44100, "stereo"),
    ],
)
async def test_any_rate_and_number_of_channels_becomes_mono_at_16_khz(tmp_path, container, codec, rate, layout):
    path = tmp_path / "sound"
    path.write_bytes(encoded(container, codec, rate, layout))
    sound, process = await decoded(path)
    # Lossy codecs add a frame before and after.
    assert len(sound) // 2 == pytest.approx(RATE, abs=200 if codec.startswith(("pcm", "flac")) else 2500)
    assert (process.refusal, process.warning) == (None, None)
    assert tone(sound) == pytest.approx(440, abs=3)
    assert process.total_s is None or process.total_s == pytest.approx(1.0, abs=0.2)


async def test_the_track_that_is_asked_for_is_decoded(tmp_path):
    path = tmp_path / "film.mkv"
    path.write_bytes(encoded("matroska", "pcm_s16le", 16000, "mono", 1.0, 440, 880))
    for track, frequency in ((None, 440), (1, 440), (2, 880)):
        sound, process = await decoded(path, track=track)
        assert process.refusal is None
        assert tone(sound) == pytest.approx(frequency, abs=3)
    sound, process = await decoded(path, track=3)
    assert sound == b""
    assert process.refusal == (Code.BAD_AUDIO, "the file has 2 audio tracks; choose one that it has, not 3")


async def test_hours_of_silence_in_a_small_file_are_refused_at_once(tmp_path):
    path = tmp_path / "bomb.flac"
    path.write_bytes(encoded("flac", "flac", 16000, "mono", 100.0, 0))
    assert path.stat().st_size < 100_000
    sound, process = await decoded(path, limit_s=99.0)
    assert sound == b""
    assert process.refusal is not None
    assert process.refusal[0] is Code.LIMIT_EXCEEDED
    sound, process = await decoded(path, limit_s=101.0)
    assert process.refusal is None


async def test_a_file_that_hides_its_length_is_refused_when_it_has_shown_it(tmp_path):
    path = tmp_path / "bomb.aac"
    path.write_bytes(encoded("adts", "aac", 16000, "mono", 100.0, 0))
    sound, process = await decoded(path, limit_s=50.0)
    assert len(sound) <= 2 * RATE * 52
    assert process.refusal is not None
    assert process.refusal[0] is Code.LIMIT_EXCEEDED


async def test_a_track_that_changes_its_format_half_way_is_heard_to_its_end(tmp_path):
    # Streams of radio stations do that; each part is a valid MPEG stream of its own.
    path = tmp_path / "radio.mp3"
    parts = [encoded("mp3", "libmp3lame", rate, layout) for rate, layout in ((44100, "stereo"), (22050, "mono"))]
    path.write_bytes(b"".join(parts))
    sound, process = await decoded(path)
    assert process.refusal is None
    assert len(sound) // 2 == pytest.approx(2 * RATE, abs=6000)


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


MP3S = [
    pytest.param(44100, "stereo", {}, id="MPEG-1"),
    pytest.param(48000, "mono", {}, id="MPEG-1 mono"),
    pytest.param(22050, "stereo", {}, id="MPEG-2"),
    pytest.param(16000, "mono", {}, id="MPEG-2 mono"),
    pytest.param(8000, "mono", {}, id="MPEG-2.5"),
    pytest.param(44100, "stereo", {"id3v2_version": "0"}, id="without ID3"),
]


@pytest.mark.parametrize(("rate", "layout", "options"), MP3S)
async def test_an_mp3_that_counts_its_frames_is_said_to_be_cut_where_it_lacks_seconds(tmp_path, rate, layout, options):
    data = encoded("mp3", "libmp3lame", rate, layout, 30.0, **options)
    path = tmp_path / "file.mp3"
    for part, warns in ((0.92, True), (0.95, True), (1.0, False)):
        path.write_bytes(data[: int(len(data) * part)])
        sound, process = await decoded(path)
        assert len(sound) / 2 / RATE == pytest.approx(30.0 * part, abs=0.3)
        assert process.refusal is None
        assert (process.warning is not None) is warns
        # The count takes in what an encoder puts before and after the sound.
        assert not warns or re.search(r" s of the 30\.\d s that it announces", process.warning)


async def test_an_mp3_whose_length_is_a_guess_is_believed_up_to_a_tenth(tmp_path):
    data = encoded("mp3", "libmp3lame", 44100, "stereo", 60.0, write_xing="0")
    assert mp3_s(io.BytesIO(data)) is None
    write(tmp_path / "file", data)
    assert (await decoded(tmp_path / "file"))[1].warning is None
    # Of two that were joined the first one's count is there, and is no length of both.
    data = encoded("mp3", "libmp3lame", 44100, "stereo", 30.0) * 2
    assert mp3_s(io.BytesIO(data)) == pytest.approx(30.0, abs=0.1)
    write(tmp_path / "file", data)
    sound, process = await decoded(tmp_path / "file")
    assert len(sound) / 2 / RATE == pytest.approx(60.0, abs=0.2)
    assert "announces" not in (process.warning or "")


@pytest.mark.parametrize(("container", "codec"), [("aiff", "pcm_s16be"), ("au", "pcm_s16be")])
async def test_other_formats_that_count_their_samples_are_held_to_it(tmp_path, container, codec):
    data = encoded(container, codec, 16000, "mono", 60.0)
    for part in (0.96, 1.0):
        _, process = await decoded(write(tmp_path / "file", data[: int(len(data) * part)]))
        assert process.refusal is None
        assert (process.warning is None) is (part == 1.0)


def write(path, data: bytes):
    path.write_bytes(data)
    return path


def frame_with(tag: bytes, *, header: str = "fffb9000", place: int = 36) -> bytes:
    return (bytes.fromhex(header) + bytes(place - 4) + tag).ljust(417, b"\0")


def xing(name: bytes, frames: int, flags: int = 15) -> bytes:
    return name + struct.pack(">II", flags, frames)


def vbri(frames: int) -> bytes:
    return b"VBRI" + struct.pack(">HHHII", 1, 0, 75, 100_000, frames)


def id3(size: int, flags: int = 0) -> bytes:
    lengths = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0" + bytes([flags]) + lengths + b"\xff\xfb".ljust(size + (10 if flags & 16 else 0), b"\0")


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        pytest.param(frame_with(xing(b"Xing", 3828)), 3828 * 1152 / 44100, id="Xing"),
        pytest.param(frame_with(xing(b"Info", 3828), header="fff390c0", place=13), 3828 * 576 / 22050, id="Info"),
        pytest.param(frame_with(vbri(3828)), 3828 * 1152 / 44100, id="VBRI"),
        pytest.param(frame_with(vbri(3828), header="fff390c0"), 3828 * 576 / 22050, id="VBRI in mono"),
        pytest.param(id3(300_000) + id3(20, 16) + frame_with(vbri(100)), 100 * 1152 / 44100, id="behind ID3 tags"),
        pytest.param(b"Info" * 9 + frame_with(vbri(100)), 100 * 1152 / 44100, id="behind junk"),
        pytest.param(frame_with(xing(b"Xing", 3828, flags=14)), None, id="no count"),
        pytest.param(frame_with(xing(b"Info", 0)), None, id="a count of none, as into a pipe"),
        pytest.param(frame_with(xing(b"Info", 3828), place=40), None, id="at another place"),
        pytest.param(frame_with(xing(b"Info", 3828), header="fffd9000"), None, id="layer II"),
        pytest.param(frame_with(b"Xing")[:40], None, id="cut in its tag"),
        pytest.param(id3(300_000)[:500], None, id="cut in its ID3 tag"),
        pytest.param(b"ID3", None, id="three bytes"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_an_mp3_counts_its_frames_in_the_first_one(data, seconds):
    found = mp3_s(io.BytesIO(data))
    assert found == (None if seconds is None else pytest.approx(seconds))


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


async def test_a_decoder_that_cannot_be_started_says_nothing_of_the_file(tmp_path):
    sound, process = await decoded(tmp_path / "there is none")
    assert (sound, process.refusal, process.died) == (b"", None, "No such file or directory")


@pytest.mark.parametrize(
    ("number", "named"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "SIGTERM"), (signal.SIGSEGV, "SIGSEGV"), (40, "signal 40")],
)
async def test_a_decoder_that_is_killed_gives_what_it_read_and_says_nothing_of_the_file(number, named):
    async with decoding(DATA / "minutes.flac") as process, aclosing(process.pieces()) as pieces:
        sound = await anext(pieces)
        process.process.send_signal(number)  # which waits until somebody takes more of it
        async for piece in pieces:
            sound += piece
    assert pcm("minutes.flac").startswith(sound)
    assert len(sound) < len(pcm("minutes.flac"))
    assert (process.refusal, process.warning, process.died) == (None, None, named)


async def test_a_decoder_is_in_no_terminals_foreground_and_ends_with_who_reads_it():
    async with decoding(DATA / "minutes.flac") as process:
        async with aclosing(process.pieces()) as pieces:
            await anext(pieces)
        child = process.process
        assert os.getpgid(child.pid) == child.pid
        # As long as it is in the daemon's session it counts that it is nice.
        assert os.getsid(child.pid) == os.getsid(0)
        assert child.stdout is not None
        await child.stdout.aclose()  # as when the daemon is killed
        with trio.fail_after(30):
            assert await child.wait() != 0


async def test_leaving_early_ends_the_process():
    async with decoding(DATA / "minutes.flac") as process:
        async with aclosing(process.pieces()) as pieces:
            assert await anext(pieces)
        child = process.process
    assert child.returncode is not None


def wav(*, rate: int = 16000, channels: int = 1, bits: int = 16, data: bytes = bytes(32000), claims: int = -1) -> bytes:
    """A WAV that says of itself what it likes."""
    size = len(data) if claims < 0 else claims
    block = max(1, channels * bits // 8) & 0xFFFF
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    head = b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size & 0xFFFFFFFF) + data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: wav(rate=0), id="no samples a second"),
        pytest.param(lambda: wav(rate=0xFFFFFFFF), id="four thousand million samples a second"),
        pytest.param(lambda: wav(channels=0), id="no channels"),
        pytest.param(lambda: wav(channels=65535), id="65535 channels"),
        pytest.param(lambda: wav(bits=0), id="no bits"),
        pytest.param(lambda: wav(bits=65535), id="65535 bits"),
        pytest.param(lambda: b"fLaC\x00\x00\x00\x22" + b"\xff" * 34 + b"\xff\xf8" * 500, id="flac of ones"),
        pytest.param(lambda: b"OggS" + b"\xff" * 5000, id="ogg of ones"),
        pytest.param(lambda: b"\x1aE\xdf\xa3" + b"\xff" * 5000, id="matroska of ones"),
        pytest.param(lambda: b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 5000, id="m4a of ones"),
        pytest.param(lambda: b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"\x00" * 5000, id="a tag of 256 MB"),
        pytest.param(lambda: encoded("ipod", "aac", 48000, "mono")[:3000], id="m4a cut before its index"),
    ],
)
async def test_absurd_headers_are_refused_or_heard_but_stop_nothing(tmp_path, data):
    path = tmp_path / "file.mp3"
    path.write_bytes(data())
    with trio.fail_after(30):
        sound, process = await decoded(path, limit_s=3600.0)
    assert len(sound) <= 2 * RATE * 10
    if process.refusal is None:
        assert sound
    else:
        assert process.refusal[1][-1] not in ".\n"
        assert "\n" not in process.refusal[1]


async def test_a_header_that_promises_more_than_there_is_gives_a_warning(tmp_path):
    path = tmp_path / "file.wav"
    path.write_bytes(wav(claims=320_000))
    sound, process = await decoded(path)
    assert len(sound) == 32000
    assert process.refusal is None
    assert process.warning is not None
    assert "announces" in process.warning
    path.write_bytes(wav(claims=0xFFFFFFFF - 36))  # as FFmpeg writes into a pipe
    assert (await decoded(path))[1].warning is None


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s24le"), ("flac", "flac"), ("ogg", "libopus"), ("webm", "libopus"), ("adts", "aac")],
)
async def test_the_readable_half_of_a_file_under_a_wrong_name_is_heard(tmp_path, container, codec):
    data = encoded(container, codec, 48000, "mono", 4.0)
    path = tmp_path / "letter.docx"
    path.write_bytes(data[: len(data) // 2])
    sound, process = await decoded(path)
    assert process.refusal is None
    assert 1.2 < len(sound) / 2 / RATE < 2.8
    assert tone(sound) == pytest.approx(440, abs=3)
    if container != "adts":  # which says nowhere how long it is
        assert process.warning is not None
        assert "what is there was transcribed" in process.warning


async def test_a_whole_ogg_file_of_any_length_is_not_said_to_be_cut(tmp_path):
    for seconds in (0.02, 1.0, 90.0):
        path = tmp_path / "file.opus"
        path.write_bytes(encoded("ogg", "libopus", 48000, "mono", seconds))
        assert (await decoded(path))[1].warning is None


@pytest.mark.parametrize("part", [0.3, 0.9])
async def test_an_mp4_without_the_index_at_its_end_is_said_to_be_cut_off(tmp_path, part):
    data = encoded("mp4", "aac", 44100, "mono", 4.0)
    path = tmp_path / "file.m4a"
    path.write_bytes(data[: int(data.rindex(b"moov") * part)])
    sound, process = await decoded(path)
    assert sound == b""
    assert process.refusal == (
        Code.BAD_AUDIO, "the file is cut off: its end, where its index stands, is missing; copy it again"
    )  # fmt: skip


BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
DURATION = {b"mvhd": 16, b"mdhd": 16, b"tkhd": 20, b"elst": 8}
TABLE = {b"stts": 4, b"stsz": 8, b"stco": 4}


def listed_again(data: bytes, times: int) -> bytes:
    """An MP4 whose samples are listed so many times: its index is as long as that of a recording of that length."""
    out, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + size]
        if kind in BOXES:
            body = listed_again(body, times)
        for place in [places[kind] for places in (DURATION, TABLE) if kind in places]:
            number = struct.pack(">I", struct.unpack_from(">I", body, place)[0] * times)
            body = body[:place] + number + body[place + 4 :] * (times if kind in TABLE else 1)
        out.append(struct.pack(">I4s", len(body) + 8, kind) + body)
        at += size
    return b"".join(out)


async def test_the_index_of_a_whole_day_fits_into_the_memory_that_a_decoder_may_take(tmp_path):
    path = write(tmp_path / "day.m4a", listed_again(encoded("mp4", "aac", 48000, "mono", 10.0), 8640))
    async with decoding(path) as process, aclosing(process.pieces()) as pieces:
        assert await anext(pieces)
        await until(lambda: process.total_s is not None)  # told by another pipe than the sound
        assert process.total_s == pytest.approx(86400, rel=0.01)
    assert process.refusal is None


class Stalling:
    """A decoding process that is not there: what it gives, the test gives."""

    def __init__(self) -> None:
        self.gives, self.stdout = trio.testing.memory_stream_one_way_pair()
        self.says, self.stderr = trio.testing.memory_stream_one_way_pair()

    async def wait(self) -> int:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_decoder_that_gives_nothing_is_given_up(autojump_clock):
    process = Stalling()
    decoded = Decoding(process)
    await process.gives.send_all(bytes(32000))
    begun = trio.current_time()
    assert [len(piece) async for piece in decoded.pieces()] == [32000]
    assert trio.current_time() - begun == pytest.approx(decode.STALL_S)
    assert decoded.refusal == (Code.INTERNAL, decode.STALLED)
    assert decoded.died is None


async def test_a_decoder_that_gives_all_but_does_not_end_is_given_up(autojump_clock):
    process = Stalling()
    decoded = Decoding(process)
    await process.gives.aclose()
    assert [piece async for piece in decoded.pieces()] == []
    assert decoded.refusal == (Code.INTERNAL, decode.STALLED)


async def test_a_decoder_slower_than_speech_is_given_up_and_a_slow_engine_is_no_fault_of_it(autojump_clock):
    process = Stalling()
    decoded = Decoding(process)

    async def drip(every_s: float) -> None:
        while True:
            await process.gives.send_all(bytes(3200))
            await trio.sleep(every_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, 50.0)
        given = [len(piece) async for piece in decoded.pieces()]
        assert decoded.refusal == (Code.INTERNAL, decode.STALLED)
        assert len(given) == 2
        nursery.cancel_scope.cancel()
    decoded = Decoding(process := Stalling())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip, 20.0)
        async with aclosing(decoded.pieces()) as pieces:
            for _ in range(20):
                await trio.sleep(1000)  # the engine has other things to do
                assert await anext(pieces)
        nursery.cancel_scope.cancel()


async def test_a_decoder_that_computes_for_too_long_says_so(tmp_path):
    async with decoding(DATA / "minutes.flac") as process, aclosing(process.pieces()) as pieces:
        await anext(pieces)
        process.process.send_signal(signal.SIGXCPU)  # as the system does
        async for _ in pieces:
            pass
    assert process.refusal == (Code.BAD_AUDIO, decode.TOO_SLOW)
    assert process.died is None
