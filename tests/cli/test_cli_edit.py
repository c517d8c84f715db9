"""`convo edit`: in an editor and without one, and what is kept of it when something is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from convo.messages import CorrectSegment, Error, Segment
from convo_cli import sheet
from tests.cli.conftest import Run, Start
from tests.cli.fake import WAIT_S, FakeDaemon

TEXTS = ("The butcher is fine.", "", "See\tyou \x1b[2Jin 2 days.")


@pytest.fixture
def talk(fake: FakeDaemon) -> FakeDaemon:
    fake.add("aaaa1111", *TEXTS, title="Budget\n\x07")
    return fake


def stored(fake: FakeDaemon) -> list[tuple[int, str]]:
    return [(one.segment, one.text) for one in fake.of(CorrectSegment)]


def test_lines_that_changed_become_corrections(talk: FakeDaemon, run: Run, tmp_path: Path) -> None:
    lines = run("edit", "aaaa", "--print").out
    assert lines.splitlines()[0] == "# Budget"
    assert lines.splitlines()[-3:] == ["0  The butcher is fine.", "1", "2  See you in 2 days."]
    file = tmp_path / "lines.txt"
    file.write_text(lines.replace("butcher", "budget").replace("\n2  See", "\n2 Meet"))
    result = run("edit", "aaaa", "--from", file)
    assert (result.code, result.out, result.err) == (0, "", "convo: Corrected 2 segments.\n")
    assert stored(talk) == [(0, "The budget is fine."), (2, "Meet you in 2 days.")]
    assert run("edit", "aaaa", "--from", file).err == "convo: Nothing was changed.\n"
    assert "0  The budget is fine." in run("edit", "aaaa", "--print").out


def test_an_empty_line_hides_and_json_says_what_was_done(talk: FakeDaemon, run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\ufeff 0 \r\n# 2 nothing\r\n\r\n")
    assert run("edit", "aaaa", "--json", "--from", tmp_path / "lines.txt").out == '{"segment": 0, "text": ""}\n'
    assert stored(talk) == [(0, "")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Hello", "Line 2 does not begin with the number of a segment: Hello"),
        ("0x  Hello", "Line 2 does not begin with the number of a segment: 0x  Hello"),
        ("-1 Hello", "Line 2 does not begin"),
        ("3  Hello" + "o" * 100, "Line 2 begins with 3, which no segment has: 3  Hello"),
        ("0  Again", "Line 2 is the second one for segment 0: 0  Again"),
        ("9" * 5000, "Line 2 does not begin"),
    ],
)
def test_a_line_that_cannot_be_read_stores_nothing(
    talk: FakeDaemon, run: Run, tmp_path: Path, line: str, says: str
) -> None:
    file = tmp_path / "lines.txt"
    file.write_text(f"0  The budget is fine.\n{line}\n")
    result = run("edit", "aaaa", "--from", file)
    assert (result.code, result.out) == (1, "")
    assert says in result.err
    assert result.err.count("\n") == 1
    assert len(result.err) < 200
    assert not stored(talk)


@pytest.mark.parametrize(("data", "says"), [(None, "Cannot read"), (b"\xff", "not UTF-8")])
def test_a_file_that_cannot_be_read(talk: FakeDaemon, run: Run, tmp_path: Path, data: bytes | None, says: str) -> None:
    file = tmp_path / "lines.txt"
    if data is not None:
        file.write_bytes(data)
    result = run("edit", "aaaa", "--from", file)
    assert result.code == 1
    assert says in result.err


def test_a_daemon_that_stops_taking_them(talk: FakeDaemon, run: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("0  x\n")
    talk.refuse[CorrectSegment] = Error(code="limit_exceeded", message="It is full.")
    assert run("edit", "aaaa", "--from", tmp_path / "lines.txt").err == "convo: It is full.\n"
    talk.features = []
    assert "update it" in run("edit", "aaaa", "--print").err


def test_without_a_terminal_it_says_how_it_is_done(talk: FakeDaemon, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        result = run("edit", "aaaa")
        monkeypatch.undo()
    assert result.code == 2
    assert "--print" in result.err


EDITOR = """
import sys
path = sys.argv[-1]
text = open(path).read()
open(path, "w").write(text.replace(sys.argv[1], sys.argv[2]))
sys.exit(int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("old", "new", "status", "code", "says", "kept"),
    [
        ("butcher", "budget", 0, 0, "Corrected 1 segment.", False),
        ("butcher", "butcher", 0, 0, "Nothing was changed.", False),
        ("0  The", "The", 0, 1, "Nothing was stored.", True),
        ("butcher", "budget", 3, 1, "ended with 3", True),
        ("butcher", "butcher", 3, 1, "ended with 3", False),
    ],
)
def test_an_editor(
    talk: FakeDaemon, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    old: str, new: str, status: int, code: int, says: str, kept: bool,
) -> None:  # fmt: skip
    (tmp_path / "editor.py").write_text(EDITOR)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("VISUAL", f"{sys.executable} {tmp_path}/editor.py '{old}' '{new}' {status}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    ours, theirs = os.openpty()
    child = start("edit", "aaaa", stdin=theirs, stdout=theirs)
    os.close(theirs)
    assert child.stderr is not None
    told = child.stderr.read().decode()
    assert child.wait(WAIT_S) == code, told
    os.close(ours)
    assert says in told
    left = list((tmp_path / "tmp").iterdir())
    assert len(left) == kept
    for path in left:
        assert path.stat().st_mode & 0o777 == 0o600
        assert f"--from {path}" in told
        assert new in path.read_text()
    assert stored(talk) == ([(0, "The budget is fine.")] if says.startswith("Corrected") else [])


def test_an_editor_that_is_not_there(
    talk: FakeDaemon, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", "/no/such/editor -n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ours, theirs = os.openpty()
    child = start("edit", "aaaa", stdin=theirs, stdout=theirs)
    os.close(theirs)
    assert child.stderr is not None
    assert "set EDITOR" in child.stderr.read().decode()
    assert child.wait(WAIT_S) == 1
    os.close(ours)
    assert not list(tmp_path.glob("convo-*.txt"))


def test_what_was_shown_and_not_touched_is_no_change() -> None:
    segments = [
        Segment(segment=at, start=0.0, end=1.0, text=text, language="en", confidence=1.0)
        for at, text in enumerate([" # a ", "b\u2028c\r", "", "4 5", "\ud800x"] * 5)
    ]
    assert sheet.changes(sheet.write("", segments), segments) == {}
    assert sheet.changes(sheet.write("a\n0 b", segments), segments) == {}
    assert sheet.write("", []).startswith("#")
