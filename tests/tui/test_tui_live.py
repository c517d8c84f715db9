"""The live screen: every key of it, with the microphone played by the test."""

from __future__ import annotations

from array import array
from pathlib import Path

from convo.messages import AddMark, CreateSession, EndSession, Finalize, UpdateSession
from convo_tui.settings import settings_path
from tests.cli.fake import FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.tui.conftest import Open

SECOND = bytes(32000)
TONE = array("h", [8000, -8000] * 640).tobytes()


async def test_start_and_stop_with_one_key(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["Hello there.", "Good bye."])
    fake.segment_every = 32000
    async with connected() as stage:
        await stage.sees("start listening")
        await stage.press("s")
        await stage.sees("● live", "quiet")
        sound.say(SECOND)
        await stage.sees("Hello there.")
        sound.last_words = b"the end."
        await stage.press("s")
        await stage.sees("Good bye.", "✓ done", "They made a plan.")
        assert bytes(fake.only.audio).endswith(b"the end.")
        assert sound.events[-2:] == ["stop None", "close None"]
        assert len(fake.of(EndSession)) == 1
        await stage.sees("00:03, 4 words")


async def test_the_level_is_shown_and_muted_is_silence(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(TONE)
        await stage.until(lambda: (stage.app.context.live.level or -60) > -20, "loud")
        await stage.sees("━━━")
        await stage.press("m")
        await stage.sees("muted")
        sound.say(TONE)
        await stage.until(lambda: len(fake.only.audio) == 2 * len(TONE), "sent")
        assert bytes(fake.only.audio) == TONE + bytes(len(TONE))
        await stage.press("m")
        await stage.sees("● live")
        sound.say(TONE)
        await stage.until(lambda: bytes(fake.only.audio).endswith(TONE), "heard again")


async def test_paused_the_microphone_is_off(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(b"one.")
        sound.last_words = b"two."
        await stage.press("space")
        await stage.sees("paused")
        assert not [stream for stream in sound.streams if stream.running]
        await stage.until(lambda: bytes(fake.only.audio) == b"one.two.", "what was recorded is sent")
        await stage.press("space")
        await stage.sees("● live")
        sound.say(b"more")
        await stage.until(lambda: bytes(fake.only.audio) == b"one.two.more", "it goes on")


async def test_finalise_correct_mark_and_name(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["First words."])
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(SECOND)
        await stage.until(lambda: bool(fake.sessions) and len(fake.only.audio) == 32000, "sent")
        await stage.press("f")
        await stage.sees("First words.")
        assert len(fake.of(Finalize)) == 1
        await stage.press("j", "e")
        await stage.sees("Correct the line at 00:00")
        await stage.answer("Last words.")
        await stage.sees("Last words.")
        await stage.press("b")
        await stage.sees("◆")
        assert [mark.time for mark in fake.of(AddMark)] == [1.0]
        await stage.press("R")
        await stage.sees("Name this session")
        await stage.press(*"Plans", "enter")
        await stage.until(lambda: stage.app.context.live.model.title == "Plans", "renamed")
        assert [request.title for request in fake.of(UpdateSession)] == ["Plans"]
        await stage.sees("convo   Plans")


async def test_times_summary_and_copy(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["Hello there."])
    fake.segment_every = 32000
    async with connected(size=(80, 24)) as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(SECOND)
        await stage.sees("Hello there.")
        await stage.press("t")
        await stage.sees("00:00  Hello there.")
        await stage.press("t")
        await stage.sees_no("00:00  Hello")
        await stage.press("v")
        await stage.sees("A summary of the talk so far")
        await stage.press("v")
        await stage.sees_no("A summary of the talk so far")
        await stage.press("y")
        assert stage.app.clipboard == "Hello there."


async def test_a_broken_link_is_shown_and_no_word_is_lost(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    fake.says(["Before.", "After."])
    fake.segment_every = 32000
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(SECOND)
        await stage.sees("Before.")
        fake.drop_after = 48000
        sound.say(SECOND)
        await stage.until(lambda: "Reconnected; nothing was lost." in stage.toasts(), "connected again")
        await stage.sees("After.")
        assert len(fake.only.audio) == 64000
        assert len(fake.sessions) == 1


async def test_stopped_before_there_was_a_daemon_nothing_is_left(open_app: Open, sound: FakePortAudio) -> None:
    async with open_app("--connect", "unix:/nowhere/convod.sock") as stage:
        await stage.sees("No daemon answers")
        await stage.press("escape", "s")
        await stage.sees("waiting")
        await stage.press("s")
        await stage.until(lambda: stage.app.context.live.session is None, "ended")
        assert sound.events[-1] == "close None"


async def test_a_microphone_that_goes_away_ends_the_session_with_its_words(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    fake.says(["Last words."])
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(b"word")
        sound.unplug()
        await stage.sees("Last words.", "✗ failed")
        assert any("was unplugged" in toast for toast in stage.toasts())


async def test_without_portaudio_it_says_what_to_install(
    connected: Open, monkeypatch: object, sound: FakePortAudio
) -> None:
    sound.broken = {None}  # type: ignore[arg-type]
    async with connected() as stage:
        await stage.press("s")
        await stage.until(lambda: any("Cannot open the microphone" in toast for toast in stage.toasts()), "told")
        assert stage.app.context.live.session is None


async def test_leaving_ends_the_session(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(b"word")
        sound.last_words = b"last"
        await stage.press("q")
        fake.wait_for(EndSession)
        assert bytes(fake.only.audio) == b"wordlast"


async def test_a_session_asks_for_what_the_settings_say(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected("--device", "USB Headset") as stage:
        await stage.press("s")
        await stage.sees("● live", "USB Headset")
        (request,) = fake.of(CreateSession)
        assert (request.kind, request.audio.rate, request.summary.mode) == ("live", 16000, "rolling")
        assert sound.running.settings["device"] == "USB Headset"


async def test_the_languages_that_may_be_spoken_are_chosen_for_talks_and_files(
    connected: Open, fake: FakeDaemon, tmp_path: Path
) -> None:
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text('language = "fr"\n')
    (tmp_path / "a.wav").write_bytes(b"data")
    async with connected() as stage:
        await stage.sees("Language     fr")
        await stage.press("L")
        await stage.sees("Which languages may be spoken?", "fr")
        await stage.answer("de,xx")
        await stage.until(lambda: any("'xx' is not a language" in toast for toast in stage.toasts()), "told")
        await stage.sees("Language     fr")
        await stage.press("L")
        await stage.answer("de, KO")
        await stage.sees("Language     de, ko")
        assert settings_path().read_text() == 'languages = "de,ko"\n'
        await stage.press("s")
        await stage.sees("● live")
        await stage.press("4")
        await stage.answer("a.wav")
        await stage.until(lambda: len(fake.of(CreateSession)) == 2, "sent")
        assert [(one.kind, one.language, one.languages) for one in fake.of(CreateSession)] == [
            ("live", None, ["de", "ko"]), ("file", None, ["de", "ko"]),
        ]  # fmt: skip


async def test_a_session_that_is_over_is_opened_and_a_mark_has_a_note(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    fake.says(["Hello there."])
    async with connected() as stage:
        await stage.press("s")
        await stage.sees("● live")
        sound.say(SECOND)
        await stage.until(lambda: bool(fake.sessions) and len(fake.only.audio) == 32000, "sent")
        await stage.press("B")
        await stage.sees("Note at 00:01")
        sound.say(SECOND)
        await stage.press(*"who?", "enter")
        await stage.until(lambda: bool(fake.of(AddMark)), "marked")
        assert [(mark.time, mark.text) for mark in fake.of(AddMark)] == [(1.0, "who?")]
        await stage.press("s")
        await stage.sees("✓ done", "enter Open")
        await stage.press("enter")
        await stage.sees("E Export", "Hello there.", "M Marks")
