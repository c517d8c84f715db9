"""Compare models across machines: the digests of their files, the versions of the programs that compute with them."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from convod import __version__
from convod.engine.models import DESCRIPTION

PROGRAMS: Final = ("ctranslate2", "faster-whisper", "av", "onnxruntime")
"""Packages that decode, resample and find voices."""

READ: Final = ("model.bin", "config.json", "tokenizer.json", "preprocessor_config.json", "vocabulary.*", DESCRIPTION)
"""Files of a model that are read; other files depend on where it came from."""


def digest(directory: Path) -> str:
    """Return the SHA-256 of a model's files. It reads gigabytes: call it in a thread."""
    whole = hashlib.sha256()
    for file in sorted(file for pattern in READ for file in directory.glob(pattern)):
        with file.open("rb") as opened:
            whole.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


class VoicesDigest:
    """SHA-256 of a speaker embedder's file; "" while there is none. It may be installed or replaced at any time.

    Args:
        path: The ONNX file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._digest = ""

    def read(self) -> str:
        """Return the digest. It is computed again only if the file has changed."""
        try:
            status = self._path.stat()
            seen = status.st_ino, status.st_size, status.st_mtime_ns
            if seen != self._seen:
                with self._path.open("rb") as opened:
                    self._digest = hashlib.file_digest(opened, "sha256").hexdigest()
                self._seen = seen
        except OSError:
            self._seen, self._digest = (), ""
        return self._digest


def versions() -> str:
    """Return the versions of convod and PROGRAMS."""
    return ", ".join([f"convod {__version__}", *(f"{name} {version(name)}" for name in PROGRAMS)])
