from __future__ import annotations

import pytest

from convod.engine.fetch import FetchFailed, fetch


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


async def no_model(name: str, repository: str) -> str:
    with pytest.raises(FetchFailed) as failed:
        await fetch(name, repository, lambda done, total: None)
    return str(failed.value)


async def test_without_a_hub_one_sentence_names_what_works_instead(no_hub):
    said = await no_model("small", "Systran/faster-whisper-small")
    assert "`convod --model builtin`" in said
    assert "'small'" in said
    assert "\n" not in said


async def test_a_hub_that_may_not_be_asked_is_the_same(no_hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "`convod --model builtin`" in await no_model("small", "Systran/faster-whisper-small")


async def test_a_fetching_process_that_dies_is_a_failure(no_hub, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "ended early" in await no_model("small", "Systran/faster-whisper-small")
