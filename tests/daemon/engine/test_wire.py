from __future__ import annotations

import io

import msgspec
import pytest

from convod.engine.wire import (
    FRAME_LIMIT,
    HEADER,
    Load,
    Loaded,
    NotLoaded,
    Results,
    Trouble,
    Work,
    frame_length,
    from_worker,
    pack,
    read_frame,
    to_worker,
)
from convod.speech.decoding import Hypothesis, Lead, Options, TimedWord, Voiceprints, Window

HEARD = Hypothesis(
    text="Grüße, 世界",
    language="de",
    language_probability=0.5,
    avg_logprob=-0.25,
    no_speech_prob=0.0,
    voice_s=1.5,
    words=[TimedWord(start=0.0, end=0.5, word="Grüße,", probability=1.0)],
    voiced=b"\x00\x01\x01",
    uncovered=(0.5, 1.5),
    truncated=True,
    voiceprints=Voiceprints(starts=[0.0, 0.8], window_s=1.6, vectors=[b"\x00\x00\x80\x3f", b""]),
)


@pytest.mark.parametrize(
    "part",
    [
        Load(directory="/m", context="full"),
        Load(directory="/m", context="short", device="cuda", compute_type="float16", threads=3, voices="/v"),
        Work(
            windows=[
                Window(audio=b"", stream_key="a:0", voiceprints=True),
                Window(audio=b"\x00\x01", lead=Lead(audio=b"\x02\x03", text="Grüße,"), expected="de"),
            ],
            rate=16000,
            options=Options(),
        ),
        Work(
            windows=[],
            rate=8000,
            options=Options(language="en", prompt="p", hotwords="h", words=True, beam=1, margin=400),
        ),
    ],
)
def test_what_the_daemon_says_arrives(part):
    assert to_worker(pack(part)[HEADER.size :]) == part


@pytest.mark.parametrize(
    "part",
    [
        Loaded(device="cpu", compute_type="int8", languages=["en"], multilingual=False),
        NotLoaded(message="no"),
        Results(hypotheses=[HEARD], seconds=0.5),
        Results(hypotheses=[msgspec.structs.replace(HEARD, words=None, voiced=None, uncovered=None)], seconds=0.5),
        Results(hypotheses=[], seconds=0.0),
        Trouble(message="no"),
    ],
)
def test_what_a_worker_says_arrives(part):
    assert from_worker(pack(part)[HEADER.size :]) == part


def test_neither_takes_what_only_the_other_says():
    with pytest.raises(msgspec.ValidationError):
        to_worker(pack(Trouble(message="no"))[HEADER.size :])
    with pytest.raises(msgspec.ValidationError):
        from_worker(pack(Load(directory="/m", context="full"))[HEADER.size :])


def test_frames_are_read_one_after_the_other_until_the_end():
    stream = io.BytesIO(pack(Trouble(message="one")) + pack(Trouble(message="two")))
    assert from_worker(read_frame(stream.read)) == Trouble(message="one")
    assert from_worker(read_frame(stream.read)) == Trouble(message="two")
    assert read_frame(stream.read) is None


@pytest.mark.parametrize("length", range(1, 12))
def test_a_frame_that_breaks_off_is_the_end(length):
    frame = pack(Trouble(message="a sentence"))
    assert length < len(frame)
    assert read_frame(io.BytesIO(frame[:length]).read) is None


def test_a_frame_over_the_limit_is_not_read():
    assert frame_length(HEADER.pack(FRAME_LIMIT)) == FRAME_LIMIT
    with pytest.raises(ValueError, match="over the limit"):
        frame_length(HEADER.pack(FRAME_LIMIT + 1))


def test_eight_windows_of_half_a_minute_at_48_khz_fit():
    assert FRAME_LIMIT > 8 * 30 * 48000 * 2
