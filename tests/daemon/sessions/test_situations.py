"""What people do, and what they should read: real sound, the real model, without clocks or processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import pytest

from convod.speech.pcm import PcmFormat
from tests.daemon.support.ears import Ears
from tests.support.speech import DATA, RATE, excerpt, pcm, truth, word_error_rate, words

Samples = np.ndarray[Any, np.dtype[np.float64]]

UNTIL = 16.0
TALK, SAID = excerpt("talk", UNTIL)
TURNS = [turn for turn in json.loads((DATA / "talk.json").read_text())["utterances"] if turn["end"] < UNTIL]


def samples(sound: bytes) -> Samples:
    return np.frombuffer(sound, np.int16).astype(float)


def sound_of(values: Samples) -> bytes:
    return np.clip(np.round(values), -32768, 32767).astype(np.int16).tobytes()


def db(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def dice() -> np.random.Generator:
    return np.random.default_rng(7)


def tight(name: str) -> bytes:
    """A recording without the silence around its sound."""
    values = samples(pcm(name))
    loud = np.flatnonzero(abs(values) > 300)
    return sound_of(values[loud[0] : loud[-1] + 1])


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


# --- sounds beside the words ------------------------------------------------------------------------------


def fast() -> bytes:
    """A tenth of a second between sentences: no endpoint in them."""
    turns = [samples(TALK)[int(turn["start"] * RATE) : int(turn["end"] * RATE)] for turn in TURNS]
    return sound_of(np.concatenate([part for turn in turns for part in (turn, np.zeros(RATE // 10))]))


def hurried() -> bytes:
    values = samples(TALK)
    return sound_of(np.interp(np.arange(0, len(values) - 1, 1.15), np.arange(len(values)), values))


def whispered() -> bytes:
    """The talk's spectrum over noise instead of a voice."""
    values, out, chance = samples(TALK), np.zeros(len(TALK) // 2 + 512), dice()
    window = np.hanning(512)
    for at in range(0, len(values) - 512, 128):
        spectrum = np.abs(np.fft.rfft(values[at : at + 512] * window))
        out[at : at + 512] += np.fft.irfft(spectrum * np.exp(2j * np.pi * chance.random(257))) * window
    return sound_of(0.2 * out[: len(values)])


def two_distances() -> bytes:
    """One speaker at the microphone, one across the room."""
    values = samples(TALK).copy()
    for turn in TURNS:
        if turn["speaker"] != TURNS[0]["speaker"]:
            values[int(turn["start"] * RATE) : int(turn["end"] * RATE)] *= db(-18)
    return sound_of(values)


def two_at_once() -> bytes:
    """Somebody else, far away, talks all the time."""
    values = samples(TALK)
    return sound_of(values + db(-35) * np.roll(values, int(3.7 * RATE)))


def music_bed() -> bytes:
    values = samples(TALK)
    time = np.arange(len(values)) / RATE
    music = np.zeros(len(values))
    for chord, begins in (((220, 277, 330), 0), ((196, 247, 294), 1)):
        on = (time // 2 % 2) == begins
        music += on * sum(np.sin(2 * np.pi * hz * time) + 0.4 * np.sin(4 * np.pi * hz * time) for hz in chord)
    music *= 0.5 + 0.5 * np.abs(np.sin(2 * np.pi * time))
    loud = np.sqrt(np.mean(values**2) / np.mean(music**2))
    return sound_of(values + db(-25) * loud * music)


def burst(seconds: float, fades: float, peak: float, smooth: int = 1) -> Samples:
    """Noise that begins at once and fades: a door, a cough."""
    count = int(seconds * RATE)
    noise = np.convolve(dice().standard_normal(count), np.ones(smooth) / np.sqrt(smooth), "same")
    return np.asarray(32768 * db(peak) * noise * np.exp(-np.arange(count) / (fades * RATE)))


def door_slam() -> bytes:
    return sound_of(np.concatenate([burst(0.3, 0.04, -8), np.zeros(RATE // 5), samples(TALK)]))


def door_slam_before_a_quiet_speaker() -> bytes:
    return sound_of(np.concatenate([burst(0.3, 0.04, -8), np.zeros(RATE // 5), db(-20) * samples(TALK)]))


def coughs() -> bytes:
    cough = np.concatenate([np.zeros(RATE), burst(0.35, 0.1, -18, 4), np.zeros(RATE)])
    return sound_of(np.concatenate([cough, samples(TALK), cough]))


@pytest.mark.parametrize(
    ("sound", "most_wrong"),
    [
        (lambda: TALK, 0.0),
        (fast, 0.05),
        (hurried, 0.05),
        (whispered, 0.05),
        (two_distances, 0.05),
        (two_at_once, 0.1),
        (music_bed, 0.05),
        (door_slam, 0.0),
        (door_slam_before_a_quiet_speaker, 0.05),
        (coughs, 0.0),
        (lambda: sound_of(db(-20) * samples(TALK)), 0.05),
        (lambda: sound_of(4 * samples(TALK)), 0.1),  # clipped
        (lambda: sound_of(samples(TALK) + 3000), 0.05),  # a sound card with an offset
        (lambda: sound_of(db(-20) * samples(TALK) - 300), 0.05),
    ],
    ids=[
        "as it is", "no pauses", "hurried", "whispered", "two distances", "two at once", "music", "door slam",
        "door slam, quiet speaker", "coughs", "quiet", "too loud", "offset", "quiet, offset",
    ],
)  # fmt: skip
def test_the_words_are_heard_whatever_is_beside_them(sound: Callable[[], bytes], most_wrong: float) -> None:
    ears = Ears().hear(sound()).flush()
    assert word_error_rate(SAID, ears.text) <= most_wrong, ears.text
    assert max(keep.end - keep.start for keep in ears.kept if keep.text) <= 28.0


# --- the edges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["single.flac", "short.wav"])
@pytest.mark.parametrize("before", [0.0, 0.05, 3.0])
def test_speech_from_the_first_sample_to_the_last_is_whole(name: str, before: float) -> None:
    sound = tight(name)
    ears = Ears().hear(silence(before) + sound).flush()
    assert word_error_rate(truth(name.partition(".")[0]), ears.text) == 0.0
    assert min(job.start for job in ears.jobs) / RATE <= before
    assert ears.kept[-1].checkpoint_sample == (len(silence(before)) + len(sound)) // 2


# --- how it is sent ---------------------------------------------------------------------------------------


def encoded(rate: int, channels: int, encoding: str) -> bytes:
    """The talk as somebody else's recorder would send it; the channels differ in loudness."""
    values = np.frombuffer(TALK, np.int16)
    if rate != RATE:
        resampler = av.AudioResampler("s16", "mono", rate)
        frame = av.AudioFrame.from_ndarray(values[np.newaxis, :], "s16", "mono")
        frame.sample_rate = RATE
        values = np.concatenate(
            [piece.to_ndarray()[0] for piece in [*resampler.resample(frame), *resampler.resample(None)]]
        )
    frames = np.stack([values.astype(float) / (channel + 1) for channel in range(channels)], 1).ravel()
    if encoding == "f32le":
        return (frames / 32768).astype("<f4").tobytes()
    if encoding == "mulaw":
        return mulaw(frames)
    return sound_of(frames)


def mulaw(values: Samples) -> bytes:
    """ITU-T G.711."""
    values = np.clip(values, -32635, 32635)
    biased = np.abs(values).astype(int) + 132
    exponent = np.floor(np.log2(biased)).astype(int) - 7
    code = ((values < 0).astype(int) << 7) | (exponent << 4) | (biased >> (exponent + 3) & 15)
    return (~code & 255).astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("encoding", "rate", "channels"),
    [
        ("mulaw", 8000, 1),  # a telephone
        ("s16le", 8000, 1),
        ("s16le", 11025, 1),
        ("s16le", 22050, 2),
        ("s16le", 44100, 2),
        ("s16le", 48000, 2),
        ("f32le", 48000, 1),
        ("s16le", 16000, 8),
    ],
)
def test_any_format_is_heard(encoding: str, rate: int, channels: int) -> None:
    ears = Ears(PcmFormat(encoding, rate, channels)).hear(encoded(rate, channels, encoding)).flush()
    assert word_error_rate(SAID, ears.text) <= 0.05, ears.text
    turns = [keep for keep in ears.kept if keep.text]
    assert len(turns) == pytest.approx(len(TURNS), abs=1)
    assert turns[-1].end == pytest.approx(TURNS[-1]["end"], abs=0.3)


@pytest.mark.parametrize("size", [3, 640, 32000, len(TALK)])
def test_the_size_of_the_pieces_changes_no_word(size: int) -> None:
    sound = TALK[: 2 * 6 * RATE]
    usual, other = Ears().hear(sound).flush(), Ears().hear(sound, size).flush()
    assert [(keep.text, keep.start, keep.end) for keep in other.kept] == [
        (keep.text, keep.start, keep.end) for keep in usual.kept
    ]


@pytest.mark.parametrize("late", [1, 5, 30])
def test_a_slow_engine_changes_no_word(late: int) -> None:
    """Answers come after 0.1 s, 0.5 s and 3 s of further sound."""
    ears = Ears(interim=True, late=late).hear(TALK).flush()
    assert word_error_rate(SAID, ears.text) == 0.0
    shown: dict[int, list[str]] = {}
    for partial in ears.partials:
        stable = partial.stable.split()
        assert stable[: len(shown.get(partial.segment, []))] == shown.get(partial.segment, [])
        shown[partial.segment] = stable
    for segment, stable in shown.items():
        assert words(ears.texts[segment])[: len(stable)] == words(" ".join(stable))


# --- endpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint_ms", [200, 500, 1000, 3000])
def test_the_endpoint_is_when_it_was_asked_for(endpoint_ms: int) -> None:
    ears = Ears(endpoint_ms=endpoint_ms).hear(TALK + silence(4.0), 960)
    assert word_error_rate(SAID, ears.text) == 0.0
    # Published while the silence lasts: 200 ms after the last speech is the segment's end.
    end, noticed = ears.ended[-1]
    assert noticed - (end - 0.2) == pytest.approx(endpoint_ms / 1000, abs=0.07)
    longest = max(keep.end - keep.start for keep in ears.kept)
    assert (longest > 8.0) == (endpoint_ms >= 1000)  # the talk's own pauses last 0.6 to 0.8 s


# --- interrupted ------------------------------------------------------------------------------------------


def cuts() -> Iterator[float]:
    """Within words of the one sentence there is, and between them."""
    (turn,) = json.loads((DATA / "single.json").read_text())["utterances"]
    for word in turn["words"][1:5]:
        yield (word["start"] + word["end"]) / 2
        yield word["end"]


@pytest.mark.parametrize("at", list(cuts()))
def test_a_flush_in_mid_sentence_loses_no_sample(at: float) -> None:
    """`finalize`, or a client that stops sending: what follows goes on where it was cut, as segments of their own."""
    sound = pcm("single.flac") + silence(1.0)
    cut = 2 * round(at * RATE)
    ears = Ears().hear(sound[:cut]).flush()
    assert ears.kept[-1].checkpoint_sample == cut // 2
    ears.hear(sound[cut:]).flush()
    finals = {job.utterance: job for job in ears.jobs}
    assert finals[1].start == finals[0].end == cut // 2
    heard = words(ears.text)
    # Of a word that is cut in two either half may be heard as the word, or none; all others are there, once.
    (turn,) = json.loads((DATA / "single.json").read_text())["utterances"]
    halved = {words(word["text"])[0] for word in turn["words"] if word["start"] < at < word["end"]}
    whole = [word for word in words(truth("single")) if word in heard and word not in halved]
    assert len(whole) >= 6 - 1 - len(halved)
    assert all(heard.count(word) == 1 for word in whole)


@pytest.mark.parametrize("pause", [0.05, 0.15, 0.25, 0.35, 0.45])
@pytest.mark.parametrize("late", [0, 4])
def test_an_end_during_the_pause_after_the_last_word_gives_it_once(pause: float, late: int) -> None:
    """The text of the pause is perhaps decoded, perhaps being decoded, perhaps not asked for yet."""
    ears = Ears(late=late).hear(tight("single.flac") + silence(pause), 640).flush()
    assert ears.texts == [truth("single")]
