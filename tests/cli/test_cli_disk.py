"""A transcript is written whole, or the one that was there stays: each call that the disk refuses, one in each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from convo_cli.errors import Problem
from convo_cli.output import write_file
from tests.support.disk import ERRORS, watched


@pytest.mark.parametrize("before", [None, "before\n"])
def test_a_transcript_is_the_old_or_the_new_one(tmp_path: Path, before: str | None) -> None:
    def prepared(name: str) -> Path:
        path = tmp_path / name / "talk.srt"
        path.parent.mkdir()
        if before is not None:
            path.write_text(before)
        return path

    path = prepared("none")
    with watched(path.parent) as disk:
        write_file(path, "after\n")
    calls = [call.split()[0] for call in disk.seen]
    assert {"open", "write", "fsync", "replace"} <= set(calls)
    for at in range(len(calls)):
        path = prepared(str(at))
        with watched(path.parent) as disk:
            disk.refuse(at, ERRORS[at % len(ERRORS)])
            with pytest.raises(Problem, match=r"Cannot write .*talk.srt: [A-Z][\w/ -]+\."):
                write_file(path, "after\n")
        assert disk.refused
        assert [file.name for file in path.parent.iterdir()] == ([] if before is None else ["talk.srt"])
        assert before is None or path.read_text() == before
        write_file(path, "after\n")
        assert path.read_text() == "after\n"
