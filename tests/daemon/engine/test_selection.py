from __future__ import annotations

import json
from pathlib import Path

import pytest

from convod.engine import models, selection
from convod.engine.selection import BEST_FIRST, best_of, choose, has_gpu


@pytest.mark.parametrize(
    ("here", "cores", "gpu", "model"),
    [
        (["builtin", "tiny.en"], 1, False, "tiny.en"),
        (["builtin", "tiny.en", "tiny"], 1, False, "tiny"),  # nobody said that it will be English
        (["builtin", "tiny", "base", "base.en"], 1, False, "tiny"),
        (["builtin", "tiny", "base.en"], 2, False, "base.en"),
        (["builtin", "base", "small", "large-v3"], 4, False, "base"),
        (["builtin", "base", "small", "large-v3"], 8, False, "small"),
        (["builtin", "small", "medium", "large-v3-turbo"], 64, False, "medium"),
        (["builtin", "tiny", "large-v2", "large-v3", "large-v3-turbo"], 2, True, "large-v3"),
        (["builtin", "tiny.en", "distil-small.en"], 2, True, "distil-small.en"),
        # Better slow than not at all.
        (["builtin", "large-v3", "small", "small.en"], 2, False, "small.en"),
        (["builtin", "large-v3"], 64, False, "large-v3"),
        # What nobody knows the size of is taken only if it is named.
        (["builtin", "someone/other"], 64, True, "builtin"),
        (["builtin"], 2, False, "builtin"),
    ],
)
def test_the_best_that_this_machine_can_hear_with(here, cores, gpu, model):
    assert best_of(here, cores, gpu=gpu).model == model


@pytest.mark.parametrize(
    ("here", "says"),
    [
        (["builtin", "tiny"], "the best of the models here for live speech on 1 processor"),
        (["builtin", "medium"], "too large to keep up with live speech on 1 processor; `convo models pull tiny.en`"),
        (["builtin"], "does not understand people; run `convo models pull tiny.en` and start convod again"),
    ],
)
def test_the_reason_says_what_to_do(here, says):
    assert says in best_of(here, 1, gpu=False).reason


def test_every_size_has_its_place_and_the_larger_goes_first():
    known = [name for name, _ in BEST_FIRST]
    assert {models.SIZES[name] for name in known} == set(models.SIZES.values())
    assert len(known) == len(set(known))
    needs = [cores if cores is not None else 1000 for _, cores in BEST_FIRST]
    assert needs == sorted(needs, reverse=True)


@pytest.mark.parametrize("model", ["builtin", "small", "/some/where", "no model"])
def test_a_model_that_is_named_is_taken_as_it_is(model):
    choice = choose(model, "auto")
    assert (choice.model, choice.reason) == (model, "set by engine.model or --model")


@pytest.fixture
def tiny_and_large(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    for size in ("tiny", "large-v3"):
        folder = tmp_path / ("models--" + models.SIZES[size].replace("/", "--"))
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        for file in ("model.bin", "tokenizer.json"):
            (folder / "snapshots" / "abc" / file).write_text(json.dumps({}))


@pytest.mark.parametrize(
    ("device", "driver", "model"),
    [("cuda", False, "large-v3"), ("cpu", True, "tiny"), ("auto", True, "large-v3"), ("auto", False, "tiny")],
)
def test_the_device_that_is_set_or_there_decides(tiny_and_large, monkeypatch, device, driver, model):
    monkeypatch.setattr(selection, "has_gpu", lambda: driver)
    assert choose("auto", device).model == model


def test_a_gpu_is_there_if_its_driver_is_and_it_is_not_hidden(monkeypatch, tmp_path):
    monkeypatch.setattr(selection, "GPU_DRIVERS", (tmp_path / "driver",))
    assert not has_gpu({})
    Path(tmp_path / "driver").touch()
    assert has_gpu({})
    assert has_gpu({"CUDA_VISIBLE_DEVICES": "0,1"})
    assert not has_gpu({"CUDA_VISIBLE_DEVICES": ""})
    assert not has_gpu({"CUDA_VISIBLE_DEVICES": "-1"})
