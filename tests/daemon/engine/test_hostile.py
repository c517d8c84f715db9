"""Headers that lie: a decoder takes bounded memory and time, and says one sentence or gives what sound there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.support.hostile import FILES

MEMORY_MB = 512


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_lies_takes_little(tmp_path, name):
    path = tmp_path / "file"
    path.write_bytes(FILES[name]())
    begun = time.monotonic()
    with path.open("rb") as file:
        words = [sys.executable, "-P", "-m", "convod.engine.decoder", "0", "86400", "mix"]
        with subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            sound = process.stdout.read()
            said = process.stderr.read()  # little: a pipe holds it all
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    lines = [json.loads(line) for line in said.splitlines()]
    assert usage.ru_maxrss * 1024 < MEMORY_MB * 1e6
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
