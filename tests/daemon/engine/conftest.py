"""The built-in model as tests of decoding look at it, and one of many languages made of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convod.engine.whisper import Whisper
from convod.engine.wire import Load
from tests.daemon.support.ears import model
from tests.daemon.support.whispers import Core, watched

ROOT = Path(__file__).parents[3]


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> Core:
    return watched(model(), monkeypatch)


@pytest.fixture(scope="module")
def polyglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whisper]:
    """A model that knows English, German and Korean by name, and no word: its weights are dice."""
    out = tmp_path_factory.mktemp("polyglot") / "model"
    program = ROOT / "scripts" / "nano" / "random-model"
    sizes = ["--vocabulary", "2700", "--width", "64", "--layers", "1", "--quantization", "float32"]
    subprocess.run([sys.executable, program, out, *sizes], check=True, capture_output=True, timeout=120)
    for name in ("tokenizer.json", "vocabulary.json"):
        text = (out / name).read_text()
        for number, code in enumerate(("de", "ko")):
            assert f"<|unused{number}|>" in text
            text = text.replace(f"<|unused{number}|>", f"<|{code}|>")
        (out / name).write_text(text)
    names = json.loads((out / "vocabulary.json").read_text())
    names[names.index("<|unused2|>")] = ""  # by this token CTranslate2 knows a model of many languages
    (out / "vocabulary.json").write_text(json.dumps(names))
    config = json.loads((out / "config.json").read_text())
    config["lang_ids"] = [names.index(f"<|{code}|>") for code in ("en", "de", "ko")]
    (out / "config.json").write_text(json.dumps(config))
    yield Whisper(Load(directory=str(out), context="short", device="cpu", compute_type="float32", threads=1))
    shutil.rmtree(out)
