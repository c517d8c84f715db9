"""Which format, and which file, a transcript goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from convo_cli.errors import Exit, Problem
from convo_cli.transcripts import expand, fit, format_of, outputs


@pytest.mark.parametrize(
    ("given", "output", "expected"),
    [
        (None, None, "txt"),
        ("vtt", None, "vtt"),
        (None, "talk.SRT", "srt"),
        (None, "talk.jsonl", "jsonl"),
        (None, ".", "txt"),
        (None, "talk", "txt"),
        ("md", "talk.txt", "md"),
        ("txt", "talk.log", "txt"),
    ],
)
def test_format(given: str | None, output: str | None, expected: str) -> None:
    assert format_of(given, None if output is None else Path(output)) == expected


@pytest.mark.parametrize("name", ["talk.doc", "talk.wav", "minutes.v2"])
def test_a_name_that_says_a_format_there_is_not(name: str) -> None:
    with pytest.raises(Problem, match=r"end the name in \.txt, .* or say which it is with --format") as caught:
        format_of(None, Path(name))
    assert caught.value.code is Exit.USAGE


def test_no_transcript_is_written_over_its_recording(tmp_path: Path) -> None:
    recording, other = tmp_path / "talk.txt", tmp_path / "link.txt"
    recording.write_bytes(b"RIFF")
    other.symlink_to(recording)
    for target in (recording, other, tmp_path):
        with pytest.raises(Problem, match="is the recording itself: name another file") as caught:
            outputs(expand([str(recording)]), target, "txt")
        assert caught.value.code is Exit.USAGE
    assert outputs(expand([str(recording)]), tmp_path, "srt") == [tmp_path / "talk.srt"]


def test_json_flag() -> None:
    assert format_of(None, None, json=True) == "json"
    assert format_of("srt", None, json=True) == "srt"


def test_names_in_a_directory(tmp_path: Path) -> None:
    files = ["a/one.mp3", "two.wav", "-"]
    assert outputs(expand(files), tmp_path, "srt") == [tmp_path / name for name in ("one.srt", "two.srt", "stdin.srt")]


def test_names_that_differ_only_in_their_ending(tmp_path: Path) -> None:
    files = ["talk.mp3", "talk.wav", "other.wav"]
    assert outputs(expand(files), tmp_path, "txt") == [
        tmp_path / name for name in ("talk.mp3.txt", "talk.wav.txt", "other.txt")
    ]


def test_two_of_the_same_name(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="one by one") as caught:
        outputs(expand(["a/talk.mp3", "b/talk.mp3"]), tmp_path, "txt")
    assert caught.value.code is Exit.USAGE


def test_several_files_into_one(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="not a directory") as caught:
        outputs(expand(["a", "b"]), tmp_path / "x.txt", "txt")
    assert caught.value.code is Exit.USAGE


def test_one_file_and_standard_output(tmp_path: Path) -> None:
    assert outputs(expand(["a"]), tmp_path / "x.txt", "txt") == [tmp_path / "x.txt"]
    assert outputs(expand(["a", "b"]), None, "txt") == [None, None]


def test_fit() -> None:
    assert fit("a\x1b[1mb", "txt") == "ab\n"
    assert fit("", "txt") == ""
    assert fit('{"a": "\x9b"}\n', "json") == '{"a": "\\u009b"}\n'
