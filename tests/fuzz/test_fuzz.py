"""A short run of every target, and every input that was ever a finding."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
LEAST_COVERED = 3
"""Edges that each target takes at least; none or one where what it calls was not instrumented."""

SECONDS = int(os.environ.get("CONVO_FUZZ_SECONDS", "1"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_taken_or_refused(target: str) -> None:
    inputs = sorted((HERE / "corpus" / target).iterdir())
    assert inputs
    for file in inputs:
        TARGETS[target](file.read_bytes())


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_short_run(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, str(tmp_path), f"-max_total_time={SECONDS}", "-timeout=5",
         "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/", "-max_len=65536"],
        cwd=HERE.parents[1], capture_output=True, text=True, timeout=SECONDS + 60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    covered = re.search(r"DONE\s+cov: (\d+)", done.stderr)
    assert covered, done.stderr[-1000:]
    assert int(covered[1]) >= LEAST_COVERED, "the target was fuzzed blindly"


def test_a_finding_would_be_found(tmp_path: Path) -> None:
    """The loop itself works: a target that fails on a byte of its corpus ends it with a status."""
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    script = (
        "import atheris, sys\ndef f(data):\n    assert b'x' not in data\natheris.Setup(sys.argv, f)\natheris.Fuzz()\n"
    )
    (tmp_path / "seed").write_bytes(b"axb")
    done = subprocess.run(
        [sys.executable, "-c", script, f"-artifact_prefix={tmp_path}/", "-max_total_time=5", str(tmp_path)],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
