"""The command line: what it takes, what it refuses, and that asking for help costs nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from convo_cli import __main__
from convo_cli.arguments import Options, make_parser, parse
from tests.cli.conftest import Run

HEAVY = ("trio", "rich", "numpy", "convo", "msgspec", "av", "sounddevice", "asyncio", "textual", "ctranslate2")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ls", {"command": "ls", "json": False, "connect": None, "limit": 50}),
        ("--json ls", {"json": True}),
        ("ls --json", {"json": True}),
        ("--connect unix:/a ls", {"connect": "unix:/a"}),
        ("--connect unix:/a ls --connect unix:/b", {"connect": "unix:/b"}),
        ("--token t status", {"token": "t"}),
        ("transcribe a.mp3 b.wav", {"files": ["a.mp3", "b.wav"], "format": None, "summary": False}),
        ("transcribe - --format srt -o x.srt", {"files": ["-"], "format": "srt", "output": "x.srt"}),
        ("stream", {"file": None, "encoding": None, "realtime": False, "mic": False}),
        ("stream - --encoding f32le --rate 48000 --channels 2", {"file": "-", "rate": 48000, "channels": 2}),
        ("stream a.pcm --rate 8000", {"file": "a.pcm", "rate": 8000}),
        ("stream a.bin --encoding f32le --rate 8000", {"rate": 8000}),
        ("stream --mic --device usb", {"mic": True, "device": "usb"}),
        ("ls --state failed --kind live --limit 3", {"state": "failed", "kind": "live", "limit": 3}),
        ("summarize abc --provider ollama --style brief", {"session": "abc", "provider": "ollama", "style": "brief"}),
        ("summaries abc", {"session": "abc", "number": None}),
        ("summaries abc 12", {"session": "abc", "number": 12}),
        ("stream - --rolling --style minutes", {"rolling": True, "style": "minutes"}),
        ("transcribe a.mp3 --summary --style lecture", {"summary": True, "style": "lecture"}),
        ("models", {"command": "models"}),
        ("models --json", {"command": "models", "json": True}),
        ("models pull small --json", {"command": "pull", "name": "small", "json": True}),
    ],
)
def test_what_a_line_means(line: str, expected: dict[str, Any]) -> None:
    options = parse(line.split())
    assert isinstance(options, Options)
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "COMMAND"),
        ("nonsense", "invalid choice"),
        ("ls --sta failed", "unrecognized"),
        ("transcribe", "FILE"),
        ("transcribe - -", "read once"),
        ("transcribe a --json --format srt", "one of them"),
        ("transcribe a --json -o b", "--format jsonl"),
        ("transcribe a b --format vtt", "--output-dir DIR"),
        ("stream a --mic", "one of them"),
        ("stream a --device b", "--mic"),
        ("stream --mic --encoding mulaw", "leave it out"),
        ("stream - --rate 7999", "between 8000 and 48000"),
        ("stream - --rate x", "'x' is not a whole number between 8000 and 48000"),
        ("stream a.wav --rate 8000", "give --encoding too"),
        ("stream a.flac --channels 2", "give --encoding too"),
        ("stream a --device b", "usage: convo stream "),
        ("transcribe - -", "usage: convo transcribe "),
        ("stream - --channels 9", "between 1 and 8"),
        ("stream - --languages de,,ko", "give codes with commas between, such as de,ko,en, not 'de,,ko'"),
        ("transcribe a --language de --languages de,ko", "not allowed with argument --language"),
        ("show", "ID"),
        ("export abc --format doc", "invalid choice"),
        ("models push small", "invalid choice"),
    ],
)
def test_a_wrong_line_is_code_2_and_says_why(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(line.split())
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert not captured.out


def test_the_token_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVO_TOKEN", "secret")
    assert parse(["status"]).token == "secret"
    assert parse(["status", "--token", "other"]).token == "other"


def test_every_command_has_a_home() -> None:
    (commands,) = [action for action in make_parser()._actions if action.dest == "command"]  # noqa: SLF001
    assert commands.choices is not None
    assert {*commands.choices, "pull"} == set(__main__.HOMES)


def test_help_names_every_exit_code_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from convo_cli.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for code in ("0", "1", "2", "3", "4", "5", "6", "130", "141"):
        assert f"\n  {code} " in done.stdout


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.code == 0
    assert result.out.startswith("convo 0.")
