"""What a worker, a decoder and a fetcher are told of the daemon's environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import trio

from convod.engine import environment
from convod.engine.fetch import fetch
from convod.engine.process import worker_process

SECRETS = {
    "CONVOD_LISTEN_TOKEN": "secret",
    "CONVOD_OPENAI_KEY": "secret",
    "CONVO_TOKEN": "secret",
    "OPENAI_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "CREDENTIALS_DIRECTORY": "/run/secret",
    "DATABASE_URL": "postgres://me:secret@db",
    "SSH_AUTH_SOCK": "/run/secret",
}
"""That no process of the engine's gets."""

ASKED = {
    "HF_TOKEN": "secret",
    "HUGGING_FACE_HUB_TOKEN": "secret",
    "PIP_INDEX_URL": "https://me:secret@index",
    "https_proxy": "http://me:secret@proxy",
}
"""That only a fetcher gets: it gives them to whom it asks."""

NEEDED = {"PATH": "/usr/bin", "HOME": "/var/lib/convod", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

DEVICES = {"OMP_NUM_THREADS": "2", "CT2_VERBOSE": "0", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_CACHE": "/models"}


def all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECRETS | ASKED | DEVICES | {"LANG": "C.UTF-8"}).items():
        monkeypatch.setenv(name, value)


def test_each_gets_what_it_needs_and_no_secret_of_somebody_else():
    everything = SECRETS | ASKED | NEEDED | DEVICES | {"PYTHONPATH": "/lib"}
    worker = environment.for_worker(everything)
    assert worker == NEEDED | DEVICES | {"PYTHONPATH": "/lib"} | {
        "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    assert environment.for_decoder(everything) == {"PYTHONPATH": "/lib"}
    fetcher = environment.for_fetcher(everything)
    assert fetcher == ASKED | NEEDED | {"HF_HUB_CACHE": "/models", "PYTHONPATH": "/lib"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system does not show a process' environment")
async def test_no_secret_arrives_at_a_worker(monkeypatch):
    all_of_it(monkeypatch)
    async with worker_process() as worker:
        given = await trio.Path(f"/proc/{worker.process.pid}/environ").read_bytes()
    names = {entry.partition(b"=")[0].decode() for entry in given.split(b"\0")}
    assert b"secret" not in given
    assert not names & (SECRETS.keys() | ASKED.keys())
    assert names >= DEVICES.keys() | {"LANG"}


async def test_a_fetcher_has_the_keys_of_those_it_asks_and_no_others(monkeypatch, tmp_path):
    all_of_it(monkeypatch)
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport json, os\njson.dump(dict(os.environ), open({str(tmp_path / 'env')!r}, 'w'))\n"
        "print(json.dumps({'directory': '/'}))\n"
    )
    python.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(python))
    await fetch("tiny", "a/b", lambda done, total: None)
    given = json.loads((tmp_path / "env").read_text())
    assert given.items() >= ASKED.items()
    assert not given.keys() & SECRETS.keys()
