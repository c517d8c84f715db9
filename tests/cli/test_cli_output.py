"""Where things are written: files whole or not at all, and streams that somebody closes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
import trio

from convo.messages import TranscriptSegment
from convo_cli.errors import ClosedPipe, Problem
from convo_cli.output import Lines, json_line, put, write_file


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_file(target, "ä\n")
    assert target.read_bytes() == "ä\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_new_file_has_the_usual_rights_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "new", "x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_file(tmp_path / "new", "y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(Problem, match=r"Cannot write .*: No space left"):
        write_file(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.txt")
    write_file(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "x"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(tmp_path / "pipe", "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        write_file(tmp_path / "no" / "a.txt", "x")


def test_an_event_as_json() -> None:
    event = TranscriptSegment(
        session="s", seq=3, segment=0, start=0, end=1, text="\x9b1mHé", language="en", confidence=1, lag_ms=5
    )
    line = json_line(event, file="a.wav")
    assert line.endswith("\n")
    assert "\x9b" not in line
    value = json.loads(line)
    assert list(value)[:2] == ["file", "type"]
    assert value["text"] == "\x9b1mHé"


@contextmanager
def nobody_reads() -> Iterator[None]:
    """Standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, redirect_stdout(stream):
        yield


def test_a_closed_pipe() -> None:
    with nobody_reads(), pytest.raises(ClosedPipe):
        put("x")


async def test_lines_after_the_reader_went_away_are_nobodys() -> None:
    with nobody_reads():
        lines = Lines()
        lines.put("a\n")
        with pytest.raises(ClosedPipe):
            await lines.run()
        lines.put("b\n")
        lines.close()


async def test_lines_keep_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.run)
        for number in range(100):
            lines.put(f"{number}\n")
        lines.close()
    assert capfd.readouterr().out.split() == [str(number) for number in range(100)]


def test_standard_output_that_is_closed_from_the_start(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m convo_cli --connect unix:{tmp_path}/none status <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 3
