from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "numpy", "ctranslate2", "faster_whisper", "av", "onnxruntime", "textual", "sounddevice", "rich",
    "huggingface_hub", "tokenizers",
}  # fmt: skip

LATER = {
    "trio_websocket", "wsproto", "h11", "webrtcvad", "httpx", "prometheus_client", "hypercorn", "email", "tomllib",
    "celery", "kombu", "redis", "psycopg", "starlette", "python_multipart", "convo_gateway",
}  # fmt: skip
"""What is imported when it is first needed: the daemon has said hello long before."""


def imported_by(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    names = done.stdout.split()
    return {*names, *(name.partition(".")[0] for name in names)}


@pytest.mark.parametrize("module", ["convod.daemon", "convod.__main__"])
def test_the_daemons_parent_process_imports_nothing_heavy(module):
    imported = imported_by(module)
    assert "convod" in imported
    assert imported & HEAVY == set()


def test_the_daemon_starts_without_what_it_may_never_need():
    assert imported_by("convod.daemon") & {*LATER, "convod.cluster"} == set()


def test_the_check_would_see_a_heavy_import():
    assert "numpy" in imported_by("numpy")
