"""What a model is, to be compared across machines: the digest of its files, the versions of what computes with it."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from convod import __version__
from convod.engine.models import DESCRIPTION

PROGRAMS: Final = ("ctranslate2", "faster-whisper", "av", "onnxruntime")
"""They decode, resample, and find voices."""


READ: Final = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*", DESCRIPTION)
"""Files of a model that are read; what lies beside them depends on where it came from."""


def digest(directory: Path) -> str:
    """SHA-256 of a model's files. Reads gigabytes: not in the loop."""
    whole = hashlib.sha256()
    for file in sorted(file for pattern in READ for file in directory.glob(pattern)):
        with file.open("rb") as opened:
            whole.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def versions() -> str:
    """Of convod and PROGRAMS."""
    return ", ".join([f"convod {__version__}", *(f"{name} {version(name)}" for name in PROGRAMS)])
