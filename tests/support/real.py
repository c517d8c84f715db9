"""Recorded speech and real weights for tests marked `real`, which are skipped by name where either is missing.

In: `$CONVO_REAL_SPEECH`, a folder with recordings and their truth (default: `shared/real` beside the repository), and
`$CONVO_REAL_WEIGHTS` (`tests.support.weights` fetches them); `shared/cases`, small inputs that users reported. Out:
talks, utterances, noises, cases, models. None of it is ever
part of the repository. With CONVO_REAL=required what is missing is a failure.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convo_bench.talk import Talk, decode, load_folder
from tests.support import weights

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "real"
CASES = BESIDE.with_name("cases")


@dataclass(frozen=True)
class Corpus:
    """A folder of recorded speech, as its README describes it."""

    folder: Path

    @cached_property
    def manifest(self) -> list[dict[str, Any]]:
        """What is known of each recording; `file` is relative to the folder."""
        return [json.loads(line) for line in (self.folder / "manifest.jsonl").read_text().splitlines()]

    def talk(self, name: str) -> Talk:
        """A talk by name."""
        (talk,) = load_folder(self.folder / "talks" / f"{name}.json")
        return talk

    def pcm(self, line: dict[str, Any]) -> bytes:
        """The sound of a line of the manifest: mono s16le at 16 kHz."""
        return decode(self.folder / line["file"])

    def samples(self, line: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The same as float samples (n,) in [-1, 1)."""
        return np.frombuffer(self.pcm(line), np.int16).astype(np.float32) / np.float32(32768)

    @property
    def noises(self) -> list[Path]:
        """Recordings in which nobody speaks."""
        return sorted(self.folder / line["file"] for line in self.manifest if line["kind"] == "noise")


def corpus() -> Corpus:
    """The recordings; skips the test if they are not there."""
    folder = Path(os.environ.get("CONVO_REAL_SPEECH") or BESIDE)
    if not (folder / "manifest.jsonl").is_file():
        _missing(f"needs recorded speech: {folder} has no manifest.jsonl; set CONVO_REAL_SPEECH to a folder that has")
    return Corpus(folder)


def case(name: str) -> Path:
    """An input of `shared/cases` beside the repository; skips the test if it is not there."""
    path = CASES / name
    if not path.is_file():
        _missing(f"needs the input {path}")
    return path


def model(name: str) -> Path:
    """The directory of a model of `weights.WEIGHTS`; skips the test if it is not there."""
    directory = weights.folder() / name
    if not weights.is_complete(directory, weights.WEIGHTS[name]):
        _missing(f"needs the weights of {name} in {directory}; fetch them with python -m tests.support.weights")
    return directory


def _missing(reason: str) -> None:
    if os.environ.get("CONVO_REAL") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
