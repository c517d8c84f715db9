"""Playing back what was said: the passage of a live talk, of a file, stopped; what was not kept; no loudspeaker."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path

import pytest

from convo.media import decode
from convo.messages import CreateSession, Error, GetAudio
from convo_tui.work.loudspeaker import resampled
from convo_tui.work.playback import Recording
from tests.cli.fake import FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.support.speech import DATA
from tests.tui.conftest import Open, Stage

NUMBERED = array("h", (at // 800 for at in range(16000 * 20))).tobytes()  # a number for each 50 ms


@pytest.mark.parametrize(
    ("samples", "rate", "after"),
    [
        ([1, 2, 3], 16000, [1, 2, 3]),
        ([], 48000, []),
        ([0, 300, -300], 48000, [0, 100, 200, 300, 100, -100, -300, -300, -300]),
        ([0, 100, 200, 300], 8000, [0, 200]),
        ([0, 160], 44100, [0, 58, 116, 160, 160]),
    ],
)
def test_samples_at_another_rate(samples: list[int], rate: int, after: list[int]) -> None:
    assert array("h", resampled(array("h", samples).tobytes(), rate)).tolist() == after


def test_a_file_is_decoded_as_far_as_it_is_read(tmp_path: Path) -> None:
    whole = b"".join(decode(DATA / "talk.flac"))
    recording = Recording(DATA / "talk.flac", tmp_path / "decoded", None)
    assert recording.read(1.0, 2.0) == whole[32000:64000]
    assert (tmp_path / "decoded").stat().st_size < len(whole) / 2
    assert recording.read(0.0, 1.5) == whole[:48000]
    assert recording.read(1e6, 2e6) == b""
    recording.close()
    assert recording.read(0.0, 1.0) == b""


async def opened(stage: Stage, *keys: str) -> None:
    await stage.sees("Line 3.")
    await stage.press("home", *keys, "space")


def left_in(place: Path) -> list[Path]:
    return list(place.glob("convo-tui-*"))


def talk(fake: FakeDaemon, **fields: object) -> None:
    fake.pause_s = 1.5  # a line each three seconds
    session = fake.add("aaaa0001", *[f"Line {at}." for at in range(4)], title="Talk", **fields)
    session.audio += NUMBERED


async def test_the_passage_is_played_and_only_it_is_fetched(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    talk(fake)
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await opened(stage)
        await stage.until(lambda: any("Select what to play" in toast for toast in stage.toasts()), "told")
        await stage.press("j", "j", "J", "space")
        await stage.sees("Playing 00:03; space stops.")
        heard = array("h", sound.running.play(16000 * 5)).tolist()
        assert (heard[0], heard[-1]) == (58, 0)  # from a tenth of a second before the first line
        assert max(heard) == 153  # to a fifth behind the second
        await stage.sees_no("Playing")
        assert [one.offset for one in fake.of(GetAudio)[1:]] == [92_800, 132_800, 172_800, 212_800]
        await stage.press("k", "space")
        await stage.sees("Playing 00:03")
        await stage.press("space")
        await stage.sees_no("Playing")
        assert not [stream for stream in sound.streams if stream.running]
        sound.outputs = {48000}
        await stage.press("space")
        await stage.sees("Playing 00:03")
        assert sound.running.settings["samplerate"] == 48000
        await stage.press("escape")
        await stage.until(lambda: not [stream for stream in sound.streams if stream.running], "it ends with the screen")
    assert left_in(tmp_path) == []


async def test_the_sound_of_a_file_is_fetched_once(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    talk(fake, kind="file")
    fake.sessions["aaaa0001"].audio[:] = (DATA / "talk.flac").read_bytes()
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await opened(stage, "j")
        await stage.sees("Playing 00:00")
        assert sound.running.play(16000) == b"".join(decode(DATA / "talk.flac"))[:32000]
        count = len(fake.of(GetAudio))
        await stage.press("space", "j")
        await stage.sees_no("Playing")
        await stage.press("space")
        await stage.sees("Playing 00:03")
        assert len(fake.of(GetAudio)) == count


async def test_why_nothing_is_played(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    talk(fake)
    fake.refuse[GetAudio] = Error(code="bad_state", message="the audio of this session was not kept")
    async with connected("--session", "aaaa0001", size=(80, 24)) as stage:
        await opened(stage, "j")
        await stage.until(lambda: any("was not kept: keep_audio" in one for one in stage.toasts()), "told")
        del fake.refuse[GetAudio]
        fake.sessions["aaaa0001"].audio.clear()
        await stage.press("space")
        await stage.until(lambda: "There is no sound at this place." in stage.toasts(), "told")
        sound.outputs = set()
        await stage.press("space")
        await stage.until(lambda: any("No device plays sound here" in one for one in stage.toasts()), "told")
        await stage.sees_no("space stops")


async def test_the_sound_is_kept_if_the_settings_say_so(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        await stage.press("s")
        await stage.sees("● live")
        await stage.press("s")
        await stage.sees("✓ done")
        await stage.press("S")
        await stage.sees("keep_audio     no")
        await stage.choose("keep_audio")
        await stage.press("escape", "s")
        await stage.until(lambda: len(fake.of(CreateSession)) == 2, "begun again")
    assert [one.keep_audio for one in fake.of(CreateSession)] == [None, True]
