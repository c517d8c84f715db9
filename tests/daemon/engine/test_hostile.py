"""Headers that lie: a decoder takes bounded memory and time, and says one sentence or gives what sound there is."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.support.hostile import FILES

MEMORY_MB = 512

# A process begins with the peak of the one that forks it: a small one is between a decoder and these tests.
MEASURED = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps({"peak": peak}), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_lies_takes_little(tmp_path, name):
    path = tmp_path / "file"
    path.write_bytes(FILES[name]())
    begun = time.monotonic()
    with path.open("rb") as file:
        decoder = [sys.executable, "-P", "-m", "convod.engine.decoder", "0", "86400", "mix"]
        words = [sys.executable, "-P", "-c", MEASURED, *decoder]
        process = subprocess.run(words, stdin=file, capture_output=True, env={}, check=False)
    sound = process.stdout
    lines = [json.loads(line) for line in process.stderr.splitlines()]
    assert lines.pop()["peak"] < MEMORY_MB * 1e6
    assert time.monotonic() - begun < 30
    errors = [line["error"] for line in lines if "error" in line]
    assert process.returncode == len(errors)
    if errors:
        assert len(errors) == 1
        assert "\n" not in errors[0]
        assert errors[0][-1] != "."
    else:
        assert 0 < len(sound) < 10 * 32000
    assert not [line for line in lines if "open" in line], "it was not shut in"
