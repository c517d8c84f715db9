"""Flags, settings and what is imported when: what happens before the first screen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convo_tui import __main__, settings
from convo_tui.arguments import parse
from convo_tui.settings import Settings, edited, load, remember


def test_flags() -> None:
    options = parse(
        ["--connect", "unix:/x", "--token", "t", "--device", "3", "--captions", "--theme", "nord", "--ascii"]
    )
    assert (options.connect, options.token, options.device) == ("unix:/x", "t", "3")
    assert (options.captions, options.theme, options.ascii) == (True, "nord", True)
    assert (parse(["--play", "a.wav"]).play, parse(["--session", "6b"]).session) == ("a.wav", "6b")


@pytest.mark.parametrize("words", [["--play", "a", "--session", "b"], ["--what"], ["file"]])
def test_wrong_flags(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 2
    assert "convo-tui: error:" in capsys.readouterr().err


def test_a_recording_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert __main__.main(["--play", "/nowhere.wav"]) == 2
    assert "give --play a recording" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_is_there_without_textual(words: list[str]) -> None:
    script = f"import sys; from convo_tui.__main__ import main\ntry: main({words})\nexcept SystemExit: pass\n"
    script += (
        "print([name for name in sys.modules if name.partition('.')[0] in ('textual', 'rich', 'trio', 'asyncio')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_first_screen_imports_nothing_that_can_wait() -> None:
    heavy = ("sounddevice", "av", "numpy", "trio", "wsproto", "convo_tui.screens.history", "convo_tui.work.uploads")
    script = f"import sys, convo_tui.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_are_read_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tui.toml"
    assert load(path) == (Settings(), [])
    path.write_text('theme = "nord"\ntimes = true\ndevice = 3\nwhat = 1\n')
    found, wrong = load(path)
    assert (found.theme, found.times, found.device) == ("nord", True, "")
    assert len(wrong) == 2
    assert "device must be a string in quotes" in wrong[0]
    assert "unknown setting 'what'" in wrong[1]
    path.write_text('language = "de"\nlanguages = "de, xx"\n')
    found, wrong = load(path)
    assert (found.spoken, found.languages) == (["de"], "")
    assert "languages: 'xx' is not a language" in wrong[0]
    path.write_text("theme =")
    found, wrong = load(path)
    assert found == Settings()
    assert "not valid TOML" in wrong[0]
    path.write_bytes(b"\xff\xfe")
    assert "not valid TOML" in load(path)[1][0]


def test_a_setting_is_remembered_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tui.toml"
    assert remember(path, device='A "good" \\ one\n') == ""
    assert load(path)[0].device == 'A "good" \\ one\n'
    path.write_text('# mine\ntheme = "nord"  # the best\n[later]\nx = 1\n')
    assert remember(path, theme="convo-light", times=True) == ""
    assert path.read_text() == '# mine\ntheme = "convo-light"  # the best\ntimes = true\n[later]\nx = 1\n'
    path.chmod(0o640)
    link = tmp_path / "tui.toml"
    link.symlink_to(path)
    assert remember(link, times=None) == ""
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text() == '# mine\ntheme = "convo-light"  # the best\n[later]\nx = 1\n'


@pytest.mark.parametrize(
    ("text", "name", "value", "changed"),
    [
        ("", "times", True, "times = true\n"),
        ("times = false # why\n", "times", True, "times = true # why\n"),
        ("times = false # why\n", "times", None, " # why\n"),
        ("times = false", "times", None, ""),
        ("  'times'=1\r\nascii = true\r\n", "times", True, "times = true\r\nascii = true\r\n"),
        ('theme = "a # b"\n', "theme", "c", 'theme = "c"\n'),
        ('theme = "a\\" # b" # mine\n', "theme", "c", 'theme = "c" # mine\n'),
        ("theme = 'a'# mine", "theme", "c", 'theme = "c"# mine'),
        ("summary_width = 38\n", "summary_width", 44, "summary_width = 44\n"),
        ("[x]\ntimes = 1\n", "times", True, "times = true\n[x]\ntimes = 1\n"),
        ('a = """\ntimes = false\n"""\n', "times", True, 'times = true\na = """\ntimes = false\n"""\n'),
        ('a = [\n["x"],\n]\n', "times", True, 'times = true\na = [\n["x"],\n]\n'),
        ("# only this\n", "ascii", True, "ascii = true\n# only this\n"),
        ("times = true\n", "times", True, "times = true\n"),
    ],
)
def test_one_setting_changes_and_nothing_else(text: str, name: str, value: object, changed: str) -> None:
    assert edited(text, name, value) == changed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("theme =", "correct it first"), ('theme = """\na"""\n', 'write `theme = "c"` there yourself')],
)
def test_a_file_that_only_a_person_can_change_stays_as_it_is(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "tui.toml"
    path.write_text(text)
    assert problem in remember(path, theme="c")
    assert path.read_text() == text


def test_what_cannot_be_remembered_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Cannot save" in remember(tmp_path / "file" / "tui.toml", times=True)


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings.settings_path() == tmp_path / "convo" / "tui.toml"


@pytest.mark.parametrize(
    ("mode", "found"), [("off", Settings(summary=False)), ("final", Settings(rolling=False)), ("rolling", Settings())]
)
def test_which_summary_is_asked_for(mode: str, found: Settings) -> None:
    assert found.summary_mode == mode
