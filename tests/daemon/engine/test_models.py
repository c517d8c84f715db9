from __future__ import annotations

import json
from pathlib import Path

import pytest

from convo.languages import CODES
from convod.engine import models
from convod.engine.models import ModelNotHere, UnknownModel
from convod.engine.packaged import ModelPackage
from tests.fakes.index import package


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    return folder


def make_model(folder: Path, *, without: str = "", **about: object) -> Path:
    folder.mkdir(parents=True)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if name != without:
            (folder / name).write_bytes(b"x" * 10)
    if about:
        (folder / models.DESCRIPTION).write_text(json.dumps(about))
    return folder


def make_cached(hub: Path, repository: str, *, commit: str = "c0ffee", **options) -> Path:
    folder = hub / ("models--" + repository.replace("/", "--"))
    snapshot = make_model(folder / "snapshots" / commit, **options)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return snapshot


@pytest.fixture
def tiny(hub, monkeypatch) -> ModelPackage:
    """A small model in the place of tiny.en's package."""
    small = package(b"")
    monkeypatch.setitem(models.PACKAGES, models.SIZES["tiny.en"], small)
    return small


def make_packaged(package: ModelPackage) -> Path:
    folder = models.package_store() / package.directory
    folder.mkdir(parents=True)
    for file in package.files:
        (folder / file.name).write_bytes(bytes(file.size))
    return folder


def test_the_names_are_those_of_faster_whisper():
    from faster_whisper.utils import _MODELS

    assert models.SIZES == _MODELS


def test_the_languages_are_those_of_faster_whisper():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert sorted(CODES) == sorted(_LANGUAGE_CODES)


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("builtin", ("en",)),
        ("small.en", ("en",)),  # it is not here, and its name says it
        ("small", CODES),
        ("someone/other", CODES),
        ("no model at all", CODES),
    ],
)
def test_what_a_model_may_be_asked_for_is_known_before_it_is_loaded(hub, name, languages):
    assert models.languages(name) == languages


def test_the_built_in_model_is_here_and_made_for_short_windows(hub):
    model = models.find("builtin")
    assert (model.name, model.context) == ("builtin", "short")
    assert model.size_bytes > 100_000
    assert model.languages == ("en",)


def test_a_size_that_was_fetched_is_found_in_the_hubs_cache(hub):
    snapshot = make_cached(hub, "Systran/faster-whisper-small.en")
    model = models.find("small.en")
    assert (model.name, model.directory, model.context, model.threads) == ("small.en", snapshot, "full", 0)
    assert model.languages == ("en",)
    assert model.size_bytes == 30
    assert models.find("Systran/faster-whisper-small.en").directory == snapshot


@pytest.mark.parametrize("name", ["small", "Systran/faster-whisper-small", "some-one/some_model.v2"])
def test_a_model_that_is_not_here_is_named_with_the_command_that_fetches_it(hub, name):
    with pytest.raises(ModelNotHere, match=f"convo models pull {name}") as missing:
        models.find(name)
    assert missing.value.repository == models.SIZES.get(name, name)


def test_a_model_that_was_fetched_half_is_not_here(hub):
    make_cached(hub, "Systran/faster-whisper-small", without="model.bin")
    with pytest.raises(ModelNotHere):
        models.find("small")


@pytest.mark.parametrize("name", ["", "smal", "a/b/c", "/no/such/place", "../x", "a b/c", "-x/y", "x/"])
def test_a_name_that_is_none_is_told_what_there_is(hub, name):
    with pytest.raises(UnknownModel, match="builtin, a size") as unknown:
        models.find(name)
    assert "\n" not in str(unknown.value)


def test_a_directory_is_a_model(tmp_path):
    folder = make_model(tmp_path / "mine", context="short", threads=2, languages=["en", "de"])
    model = models.find(str(folder))
    assert (model.directory, model.context, model.threads, model.languages) == (folder, "short", 2, ("en", "de"))


@pytest.mark.parametrize("without", ["model.bin", "config.json", "tokenizer.json"])
def test_a_directory_that_is_no_model_is_told_what_it_lacks(tmp_path, without):
    folder = make_model(tmp_path / "mine", without=without)
    with pytest.raises(UnknownModel, match=f"{without} is missing"):
        models.find(str(folder))


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"threads": "many"}', '{"threads": null}', '{"languages": 3}', "\x00", '"short"']
)
def test_a_description_that_cannot_be_read_is_named(tmp_path, text):
    folder = make_model(tmp_path / "mine")
    (folder / models.DESCRIPTION).write_text(text)
    with pytest.raises(UnknownModel, match=r"convo\.json cannot be read"):
        models.find(str(folder))


def test_a_description_that_says_nothing_is_of_a_stock_model(tmp_path):
    folder = make_model(tmp_path / "mine")
    (folder / models.DESCRIPTION).write_text("{}")
    model = models.find(str(folder))
    assert (model.context, model.threads, model.languages) == ("full", 0, None)


def test_the_models_that_are_here_are_the_built_in_one_and_the_caches(hub):
    make_cached(hub, "Systran/faster-whisper-large-v3")
    make_cached(hub, "someone/else")
    make_cached(hub, "Systran/faster-whisper-base", without="tokenizer.json")
    make_cached(hub, "bert/base", without="model.bin")
    assert [model.name for model in models.here()] == ["builtin", "large-v3", "someone/else"]


@pytest.mark.parametrize("name", ["tiny.en", "Systran/faster-whisper-tiny.en"])
def test_a_model_from_the_package_index_is_found_by_both_names(tiny, name):
    with pytest.raises(ModelNotHere):
        models.find(name)
    folder = make_packaged(tiny)
    model = models.find(name)
    assert (model.directory, model.source, model.context) == (folder, "index", "full")
    assert [(model.name, model.source) for model in models.here()] == [("builtin", "builtin"), ("tiny.en", "index")]
    assert list(models.here())[1].languages == ("en",)


def test_the_hubs_copy_goes_first_and_a_model_is_listed_once(hub, tiny):
    make_packaged(tiny)
    snapshot = make_cached(hub, models.SIZES["tiny.en"])
    assert models.find("tiny.en").directory == snapshot
    assert [(model.name, model.source) for model in models.here()] == [("builtin", "builtin"), ("tiny.en", "hub")]


def test_a_copy_that_is_not_whole_is_not_here(tiny):
    (make_packaged(tiny) / "vocabulary.txt").write_bytes(b"")
    with pytest.raises(ModelNotHere):
        models.find("tiny.en")
    assert [model.name for model in models.here()] == ["builtin"]


def test_the_package_store_is_in_the_services_cache_else_the_users(monkeypatch):
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/h")
    assert models.package_store() == Path("/h/.cache/convod/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert models.package_store() == Path("/x/convod/models")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/convod:/var/cache/other")
    assert models.package_store() == Path("/var/cache/convod/models")


def test_without_a_cache_the_built_in_model_is_here(hub):
    assert [model.name for model in models.here()] == ["builtin"]


def test_the_cache_is_where_the_hub_says(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models.hub_cache() == tmp_path / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert models.hub_cache() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert models.hub_cache() == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert models.hub_cache() == Path("/c")
