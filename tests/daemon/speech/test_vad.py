from __future__ import annotations

from array import array

import pytest

from convod.speech.endpointer import Endpointer, UtteranceEnded, UtteranceStarted
from convod.speech.pcm import Frames
from convod.speech.vad import SILENCE_DBFS, Vad, VadSettings, level_dbfs
from tests.daemon.support import sounds
from tests.daemon.support.sounds import RATE
from tests.support.speech import pcm


def verdicts(sound: bytes, vad: Vad | None = None) -> list[bool]:
    vad = vad or Vad(RATE)
    return [vad.feed(frame.samples)[0] for frame in Frames(RATE).feed(sound)]


def utterances(sound: bytes) -> tuple[int, int, int]:
    """Utterances opened, closed, and the longest in samples; a flush comes at the end as a session's would."""
    vad, endpointer = Vad(RATE), Endpointer(RATE)
    happened = []
    for frame in Frames(RATE).feed(sound):
        happened += endpointer.frame(frame.end, *vad.feed(frame.samples))
    happened += endpointer.flush(len(sound) // 2)
    closed = [one for one in happened if isinstance(one, UtteranceEnded)]
    longest = max((one.end - one.start for one in closed), default=0)
    return sum(isinstance(one, UtteranceStarted) for one in happened), len(closed), longest


@pytest.mark.parametrize(
    ("samples", "dbfs"),
    [
        ([0] * 480, SILENCE_DBFS),
        (([32767] * 8 + [-32768] * 8) * 30, 0.0),
        (([3277] * 8 + [-3277] * 8) * 30, -20.0),
        (([6277] * 8 + [-277] * 8) * 30, -20.0),  # over an offset, which is no sound
        ([3000] * 480, SILENCE_DBFS),
    ],
)
def test_a_level_is_the_root_mean_square_below_full_scale(samples, dbfs):
    assert level_dbfs(array("h", samples).tobytes()) == pytest.approx(dbfs, abs=0.01)


def test_an_empty_frame_has_the_level_of_silence():
    assert level_dbfs(b"") == SILENCE_DBFS


def test_most_frames_of_speech_are_speech():
    said = pcm("single.flac")[2 * round(0.4 * RATE) : 2 * round(2.7 * RATE)]
    heard = verdicts(said)
    assert sum(heard) > 0.6 * len(heard)


def test_speech_below_the_floor_is_none():
    said = array("h", (sample // 512 for sample in array("h", pcm("single.flac")))).tobytes()
    assert not any(verdicts(said))
    assert any(verdicts(pcm("single.flac"), Vad(RATE, VadSettings(floor_dbfs=-90.0))))


def test_the_noise_floor_falls_at_once_and_rises_slowly():
    vad = Vad(RATE)
    for frame in Frames(RATE).feed(sounds.white(6.0, -50.0)):
        vad.feed(frame.samples)
    assert vad.noise_dbfs == pytest.approx(-50.0, abs=3.0)
    vad.feed(bytes(960))
    assert vad.noise_dbfs == SILENCE_DBFS


def test_a_sentence_does_not_become_the_noise_floor():
    vad = Vad(RATE)
    verdicts(pcm("talk.flac")[: 2 * 20 * RATE], vad)
    assert vad.noise_dbfs < -45.0


# --- what is no speech ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(lambda: sounds.silence(60), id="digital silence"),
        pytest.param(lambda: sounds.tone(12, 50, -23), id="50 Hz"),
        pytest.param(lambda: sounds.hum(12, -30), id="hum"),
        pytest.param(lambda: sounds.hum(12, -18), id="loud hum"),
        pytest.param(lambda: sounds.tone(12, 440, -23), id="440 Hz"),
        pytest.param(lambda: sounds.tone(12, 1000, -20), id="1 kHz"),
        pytest.param(lambda: sounds.tone(12, 1000, -8), id="loud 1 kHz"),
        pytest.param(lambda: sounds.tone(12, 3000, -40), id="3 kHz"),
    ],
)
def test_silence_hum_and_a_steady_tone_open_no_utterance(sound):
    assert utterances(sound()) == (0, 0, 0)


def test_speech_over_a_hum_is_still_heard():
    said = array("h", pcm("single.flac"))
    under = array("h", sounds.hum(4.0, -45))
    mixed = array("h", (max(-32768, min(32767, a + b)) for a, b in zip(said, under, strict=False))).tobytes()
    assert utterances(mixed)[0] == 1


def test_under_a_loud_hum_as_much_is_heard_as_without_it():
    said = pcm("talk.flac")[: 2 * 30 * RATE]
    rumble = sounds.hum(30.0, -33)
    heard = verdicts(mixed(said, rumble))
    assert sum(heard) > 0.8 * sum(verdicts(said))
    assert utterances(rumble) == (0, 0, 0)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(lambda: sounds.white(30, -30), id="white noise"),
        pytest.param(lambda: sounds.white(30, -18), id="loud white noise"),
        pytest.param(lambda: sounds.clicks(32), id="keyboard"),
        pytest.param(lambda: sounds.breath(20), id="breath"),
    ],
)
def test_no_noise_keeps_an_utterance_open_for_ever(sound):
    opened, closed, longest = utterances(sound())
    assert opened == closed
    assert longest <= 28 * RATE


@pytest.mark.parametrize("noise", [sounds.hum, sounds.white, lambda seconds: sounds.tone(seconds, 440)])
def test_a_steady_noise_that_begins_is_its_own_floor_within_seconds(noise):
    sound = sounds.silence(2) + noise(10) + sounds.silence(1)
    opened, closed, longest = utterances(sound)
    assert opened == closed <= 1
    assert longest < 4 * RATE


# --- quiet speakers ---------------------------------------------------------------------------------------


def quieter(sound: bytes, db: float) -> bytes:
    gain = 10 ** (-db / 20)
    return array("h", (round(sample * gain) for sample in array("h", sound))).tobytes()


def mixed(one: bytes, other: bytes) -> bytes:
    pairs = zip(array("h", one), array("h", other), strict=False)
    return array("h", (max(-32768, min(32767, a + b)) for a, b in pairs)).tobytes()


@pytest.mark.parametrize("db", [10, 20, 30])
def test_a_quiet_speaker_is_heard_as_a_loud_one_is(db):
    said = pcm("talk.flac")[: 2 * 30 * RATE]
    assert sum(verdicts(quieter(said, db))) > 0.7 * sum(verdicts(said))


def test_a_quiet_speaker_in_a_quiet_room_is_heard():
    said = quieter(pcm("talk.flac")[: 2 * 30 * RATE], 20)
    room = sounds.white(30.0, -65.0)
    assert sum(verdicts(mixed(said, room))) > 0.4 * sum(verdicts(pcm("talk.flac")[: 2 * 30 * RATE]))


@pytest.mark.parametrize("offset", [-4000, 300, 4000])
@pytest.mark.parametrize("db", [0, 20])
def test_a_sound_card_with_an_offset_is_heard_as_one_without(offset, db):
    said = quieter(pcm("talk.flac")[: 2 * 20 * RATE], db)
    lifted = mixed(said, array("h", [offset] * (len(said) // 2)).tobytes())
    assert sum(verdicts(lifted)) > 0.9 * sum(verdicts(said))


def test_quiet_noise_is_not_raised_to_speech():
    for level in (-80.0, -65.0, -50.0):
        assert not any(verdicts(sounds.white(10.0, level))[70:])


def test_a_loud_peak_in_a_quiet_frame_is_clipped_and_not_an_error():
    vad = Vad(RATE)
    verdicts(quieter(pcm("single.flac"), 30), vad)
    frame = array("h", [0] * 480)
    frame[5] = 32767  # between the samples that tell the level
    vad.feed(frame.tobytes())
