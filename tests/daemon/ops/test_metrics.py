"""Numbers are told whatever the disk does."""

from __future__ import annotations

import os
from pathlib import Path

from convod.ops import metrics


def test_a_file_that_is_deleted_meanwhile_and_a_disk_that_says_nothing_are_no_fault(tmp_path, monkeypatch):
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "0123456789.audio").write_bytes(b"four")
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [*os.scandir(folder), folder / "gone.audio"])

    def statvfs(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert metrics.size_of(tmp_path / "spool" / "gone.audio") == 0
    made = metrics.MetricsExporter(None, None, None, None, tmp_path).system([])  # type: ignore[arg-type]
    values = {one.name: [sample.value for sample in one.samples] for one in made}
    assert values["convo_spool_bytes"] == [4]
    assert values["convo_disk_free_bytes"] == []
