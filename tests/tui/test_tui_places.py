"""Captions mode, the device picker, help, palette, themes, small terminals, the first start without a daemon."""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

import pytest

from convo.messages import CreateSession, Error, PullModel
from convo_tui.messages import SetupChanged
from convo_tui.settings import settings_path
from convo_tui.widgets.captions import BigCaptions
from convo_tui.widgets.letters import LARGE, MIDDLE, NARROW
from convo_tui.work.setup import Download
from tests.cli.fake import SUMMARY, FakeDaemon
from tests.fakes.portaudio import FakePortAudio
from tests.tui.conftest import Open, Stage

TONE = array("h", [8000, -8000] * 640).tobytes()
SECOND = bytes(32000)


async def say(stage: Stage, sound: FakePortAudio, *texts: str) -> None:
    await stage.press("s")
    await stage.until(lambda: bool(stage.app.context.live.model.session), "a session")
    for text in texts:
        sound.say(SECOND)
        await stage.until(lambda text=text: any(line.text == text for line in stage.app.context.live.model.lines), text)


@pytest.mark.parametrize(
    ("size", "letters"), [((40, 12), None), ((80, 24), MIDDLE), ((200, 50), LARGE), ((60, 24), NARROW)]
)
async def test_captions_are_as_large_as_the_terminal_allows(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, size: tuple[int, int], letters: object
) -> None:
    fake.says(["Hello there."])
    fake.segment_every = 32000
    async with connected("--captions", size=size) as stage:
        await stage.until(lambda: stage.app.screen.query("BigCaptions"), "captions")
        await say(stage, sound, "Hello there.")
        captions = stage.app.screen.query_one("BigCaptions")
        assert captions.letters() is letters  # type: ignore[attr-defined]
        await stage.sees("Hello there." if letters is None else "▘" if letters is NARROW else "█")
        await stage.press("minus", "minus", "minus")
        await stage.sees("Hello there.")
        await stage.press("plus", "k")
        await stage.sees_no("Larger")
        await stage.press("escape")
        await stage.sees("Hello there.")


async def test_captions_in_a_script_without_large_letters(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    fake.says(["안녕하세요 여러분."])
    fake.segment_every = 32000
    async with connected(size=(80, 24)) as stage:
        await stage.press("2")
        await say(stage, sound, "안녕하세요 여러분.")
        await stage.sees("안녕하세요 여러분.", "need the font Unifont")
        await stage.pilot.resize_terminal(30, 5)
        await stage.sees("안녕하세요 여러분.")
        await stage.sees_no("Unifont")


async def test_a_font_that_is_installed_draws_them(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, tmp_path: Path
) -> None:
    font = tmp_path / "data" / "unifont" / "unifont.hex"
    font.parent.mkdir(parents=True)
    font.write_text("0020:" + "00" * 16 + "\n" + "".join(f"{ord(char):04X}:{'FFFF' * 16}\n" for char in "日本語です。"))
    fake.says(["日本語です。", "Ж", "ok"])
    fake.segment_every = 32000
    async with connected(size=(80, 24)) as stage:
        await stage.press("2")
        await say(stage, sound, "日本語です。")
        await stage.sees(8 * 6 * "█")
        assert stage.text().count(8 * 6 * "█") == 8
        sound.say(SECOND)
        await stage.sees("Ж", "There are no large letters for what was said last")
        font.unlink()
        await stage.press("1", "2")
        await stage.sees("日本語です。", "Ж", "need the font Unifont")


async def test_captions_flow_on_until_a_pause(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["I think the", "plan is late."])
    fake.segment_every = 32000
    async with connected("--captions", "--ascii", size=(80, 24)) as stage:
        await say(stage, sound, "I think the", "plan is late.")
        await stage.sees("I think the plan is late.")


async def test_captions_are_never_blank(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["Hello there."])
    fake.segment_every = 32000
    async with connected("--captions", size=(100, 5)) as stage:
        await say(stage, sound, "Hello there.")
        captions = stage.app.screen.query_one(BigCaptions)
        for _ in range(4):  # letters that would be higher than the screen
            await stage.press("plus")
            assert captions.letters() is None
            await stage.sees("Hello there.")


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 6)])
async def test_small_terminals_show_captions(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, size: tuple[int, int]
) -> None:
    fake.says(["Hello there.", "日本語です。"])
    fake.segment_every = 32000
    async with connected(size=size) as stage:
        await say(stage, sound, "Hello there.", "日本語です。")
        await stage.sees("Hello there.", "です。")
        assert all(len(line) <= size[0] for line in stage.text().splitlines())


async def test_the_device_picker_shows_levels_and_remembers(connected: Open, sound: FakePortAudio) -> None:
    async with connected() as stage:
        await stage.press("d")
        await stage.sees("Microphone", "Built-in Microphone", "48 kHz, default", "USB Headset", "44.1 kHz")
        assert "Speakers" not in stage.text()
        await stage.press("down", "down")
        await stage.until(lambda: sound.streams[-1].settings["device"] == "USB Headset", "listened to")
        await stage.until(lambda: sound.streams[-1].running, "running")
        sound.say(TONE)
        await stage.sees("-12 dB", "━━━")
        await stage.press("enter")
        await stage.until(lambda: not any(stream.running for stream in sound.streams), "off again")
        await stage.sees("USB Headset")
        assert 'device = "USB Headset"' in settings_path().read_text()


async def test_another_microphone_in_the_middle_of_a_session(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected() as stage:
        await say(stage, sound)
        sound.say(b"one.")
        sound.last_words = b"two."
        stage.app.context.live.choose_device("USB Headset")
        sound.say(b"more")
        await stage.until(lambda: bytes(fake.only.audio) == b"one.two.more", "all of it")
        await stage.sees("USB Headset")


async def test_the_picker_without_a_microphone(connected: Open, sound: FakePortAudio) -> None:
    sound.devices = {}
    async with connected() as stage:
        await stage.press("d")
        await stage.sees("No microphone found")
        sound.devices = {"New": 16000.0}
        await stage.press("r")
        await stage.sees("New")
        await stage.press("escape")


async def test_without_the_package_it_says_what_to_install(connected: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    async with connected() as stage:
        await stage.press("d")
        await stage.sees("needs the package sounddevice", "install 'convo[mic]'")
        await stage.press("escape", "s")
        await stage.until(lambda: any("pip install" in toast for toast in stage.toasts()), "told")


async def test_help_lists_the_keys_that_work_here(connected: Open) -> None:
    async with connected(size=(100, 60)) as stage:
        await stage.press("question_mark")
        await stage.sees("Start a session with the microphone", "Turn recordings into transcripts")
        assert "End the session; the last words" not in stage.text()  # the other meaning of s
        await stage.press("escape", "3", "f1")
        await stage.sees("Search all transcripts")


@pytest.mark.parametrize("columns", [40, 80, 100])
async def test_footer_keys_are_whole_and_help_is_always_among_them(
    connected: Open, fake: FakeDaemon, columns: int
) -> None:
    fake.add("aaaa0001", "One.", title="T", summary=SUMMARY)
    async with connected(size=(columns, 24)) as stage:
        for keys in ((), ("2",), ("escape", "3"), ("x",), ("u", "enter"), ("b",), ("escape", "4")):
            await stage.press(*keys)
            await stage.until(lambda: stage.app.screen.query("FooterKey"), "a footer")
            await stage.until(
                lambda: all(key.region.right <= columns + 1 for key in stage.app.screen.query("FooterKey")), "whole"
            )
            await stage.until(lambda: "? Help" in stage.text().splitlines()[-1], "help")
            if keys == ("x",):
                await stage.sees("u Undo")
        await stage.pilot.resize_terminal(60, 24)
        await stage.until(lambda: stage.text().splitlines()[-1].rstrip().endswith("? Help"), "fits again")


async def test_help_names_keys_as_they_are_on_the_keyboard(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(100, 90)) as stage:
        await stage.press("question_mark")
        await stage.sees("On this screen", "In the transcript", "Everywhere", "Move to the next part of the screen")
        assert "full_stop" not in stage.text()
        assert "Focus" not in stage.text()


async def test_the_palette_has_every_action(connected: Open) -> None:
    async with connected() as stage:
        await stage.press("ctrl+p")
        await stage.until(lambda: stage.app.screen.query("CommandList"), "palette")
        await stage.press(*"history")
        await stage.sees("Browse and search all sessions")
        await stage.press("enter")
        await stage.sees("No sessions yet")
        titles = {command.title for command in stage.app.get_system_commands(stage.app.screen)}
        assert {"Search", "Microphone", "Files", "Play a recording", "Theme"} <= titles
        assert "Copy selected text" not in titles
        assert len(titles) == len(list(stage.app.get_system_commands(stage.app.screen)))


async def test_themes_change_with_a_key_and_stay(connected: Open) -> None:
    async with connected() as stage:
        assert stage.app.theme == "convo-dark"
        await stage.press("T")
        assert stage.app.theme == "convo-light"
        assert settings_path().read_text() == 'theme = "convo-light"\n'
        stage.app.theme = "nord"
        await stage.press("3")
        await stage.sees("No sessions yet")


async def test_flags_win_over_the_file(connected: Open) -> None:
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text('theme = "convo-light"\ntimes = 3\nwhat = 1\n')
    async with connected("--theme", "convo-contrast") as stage:
        assert stage.app.theme == "convo-contrast"
        assert any("times must be true or false" in toast for toast in stage.toasts())
        assert any("unknown setting 'what'" in toast for toast in stage.toasts())


async def test_ascii_draws_with_ascii_alone(connected: Open, fake: FakeDaemon, sound: FakePortAudio) -> None:
    fake.says(["Hello there."])
    fake.segment_every = 32000
    async with connected("--ascii") as stage:
        assert stage.text().isascii()
        await say(stage, sound, "Hello there.")
        sound.say(TONE)
        await stage.sees("===", "* live")
        assert stage.text().isascii()
        await stage.press("3")
        await stage.sees("1 session")
        assert stage.text().isascii()
        await stage.press("question_mark")
        await stage.sees("Keys")
        assert stage.text().isascii()


async def test_no_color_is_obeyed(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    fake.says(["Hello there."])
    fake.segment_every = 32000
    async with connected() as stage:
        await say(stage, sound, "Hello there.")
        await stage.press("S")
        await stage.sees("Settings")
        strips = stage.app.screen._compositor.render_strips()
        assert [
            segment.text.split()[0]
            for strip in strips
            for segment in strip
            if segment.style and segment.style.underline and segment.text.strip()
        ] == ["device"]  # the chosen row
        await stage.press("escape")
        for place in "2", "3", "4":  # where digits are text, that is the last
            before = stage.app.screen
            await stage.press(place)
            await stage.pilot.pause()
            assert stage.app.screen is not before, place
            for strip in stage.app.screen._compositor.render_strips():
                for segment in strip:
                    style = segment.style
                    assert style is None or style.color is None or style.color.is_default, (place, segment)
                    assert style is None or style.bgcolor is None or style.bgcolor.is_default, (place, segment)


async def test_a_recording_is_played(connected: Open, fake: FakeDaemon) -> None:
    talk = Path(__file__).parents[1] / "data" / "short.wav"
    async with connected("--play", str(talk)) as stage:
        await stage.sees("short", "Hello there.", "✓ done")
        await stage.press("o")
        await stage.sees("Play a recording")
        await stage.press(*"nothing.wav", "enter")
        await stage.until(lambda: any("is not a file" in toast for toast in stage.toasts()), "told")


async def test_a_wrong_token_is_said(open_app: Open, fake: FakeDaemon) -> None:
    fake.token = "right"
    async with open_app("--connect", fake.url, "--token", "wrong") as stage:
        await stage.sees("not allowed")
        assert any("CONVO_TOKEN" in toast for toast in stage.toasts())


async def test_the_first_start_waits_for_a_daemon(open_app: Open, tmp_path: Path) -> None:
    from tests.cli.fake import fake_daemon

    path = tmp_path / "later.sock"
    async with open_app("--connect", f"unix:{path}") as stage:
        await stage.sees("No daemon answers", "convod --model small", "Start one until I quit")
        with fake_daemon(path):
            await stage.sees("Connected to fake at")
            assert len(stage.app.screen_stack) == 1


async def test_a_first_start_with_a_private_daemon_that_ends_with_the_app(
    open_app: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVOD_MODEL", "builtin")
    socket = tmp_path / "own" / "convod.sock"
    socket.parent.mkdir()
    async with open_app("--connect", f"unix:{socket}") as stage:
        await stage.sees("No daemon answers")
        await stage.press("enter")
        await stage.sees("Connected to convod/")
        process = stage.app.context.daemon.private._process
        assert process is not None
        assert process.returncode is None
    assert process.returncode == 0
    assert not socket.exists()


async def test_the_first_screen_says_what_it_would_use_and_downloads_a_model(
    connected: Open, fake: FakeDaemon, sound: FakePortAudio
) -> None:
    async with connected(size=(80, 24)) as stage:
        await stage.sees("Built-in Microphone, the system's default", "understands synthetic English only")
        await stage.sees("Press D to", "Connected to fake at")
        await stage.press("D")
        await stage.sees("Speech model", "Automatic", "✓ tiny.en  78 MB, English only", "download: good, on most")
        await stage.press("end", "up", "enter")
        await stage.until(lambda: [one.model for one in fake.of(PullModel)] == ["small"], "asked for")
        await stage.until(lambda: "small is here. The next session uses it." in stage.toasts(), "told")
        await stage.press("escape")
        await stage.sees("small, understands people")
        assert 'model = "small"' in settings_path().read_text()
        await say(stage, sound)
        assert [one.model for one in fake.of(CreateSession)] == ["small"]


async def test_a_download_shows_its_progress_and_why_it_failed(connected: Open, fake: FakeDaemon) -> None:
    fake.refuse[PullModel] = Error(code="forbidden", message="Ask an admin to download it.")
    async with connected(size=(80, 24)) as stage:
        await stage.sees("Model ")
        setup = stage.app.context.setup
        setup.download = Download("small", 100_000_000, 400_000_000)
        stage.app.post_message(SetupChanged())
        await stage.sees("downloading small  ━━━─────────  100 MB of 400 MB")
        setup.pull("base")
        await stage.until(lambda: any("wait for its end" in toast for toast in stage.toasts()), "one at a time")
        setup.download = None
        await stage.press("D")
        await stage.sees("Speech model")
        await stage.press("end", "up", "enter")
        await stage.until(lambda: "Ask an admin to download it." in stage.toasts(), "told")
        assert not stage.app.context.settings.model


async def test_without_a_microphone_the_first_screen_says_what_to_do(
    connected: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    async with connected(size=(120, 30)) as stage:
        await stage.sees("pip install", "'convo[mic]'", "start listening")


async def test_settings_are_changed_at_once_and_written_with_their_comments(connected: Open, fake: FakeDaemon) -> None:
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text("# mine\nrolling = true  # while I speak\n")
    fake.add("aaaa0001", "Hello there.", title="Talk")
    async with connected("--session", "aaaa0001", size=(80, 30)) as stage:
        await stage.sees("Hello there.")
        await stage.press("S")
        await stage.sees("Settings", "rolling        yes", "times          auto", "languages      any, detected")
        await stage.choose("rolling")
        await stage.sees("rolling        no")
        await stage.choose("languages")
        await stage.sees("Which languages may be spoken?")
        await stage.answer("ko")
        await stage.sees("languages      ko")
        await stage.choose("connect")
        await stage.press(*"ftp://x", "enter")
        await stage.until(lambda: any("ftp" in toast for toast in stage.toasts()), "told")
        await stage.choose("summary_width")
        await stage.sees("summary_width: cells")
        await stage.press("backspace", "backspace", "9", "enter")
        await stage.until(lambda: any("from 26 to 80" in toast for toast in stage.toasts()), "told")
        await stage.choose("times")
        await stage.sees("from 100 columns on")
        await stage.press("down", "enter")
        await stage.sees("times          yes", "summary_width  38")
        await stage.press("escape")
        await stage.sees("00:00  Hello there.")
        written = settings_path().read_text()
        assert written == '# mine\nrolling = false  # while I speak\nlanguages = "ko"\ntimes = true\n'
