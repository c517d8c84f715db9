"""Which speaker embedder there is: the one of the package index by its name, or any ONNX file by its path.

In: `engine.voices` of the settings. Out: a path, or a sentence that says what to do. It opens no model.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from convod.engine import models
from convod.engine.packaged import VOICES, is_installed

NAME: Final = VOICES.directory
"""What `convo models pull` calls it."""


class NoVoices(Exception):
    """There is no embedder; the text says how to get one."""


def place(setting: str) -> Path:
    """Where the embedder of that name or path is, or would be."""
    if setting != NAME:
        return Path(setting).expanduser().absolute()
    return models.package_store() / VOICES.directory / VOICES.made


def fingerprint(setting: str) -> str:
    """What tells this embedder from all others: only embeddings of the same one can be compared. Reads its file.

    Raises:
        NoVoices: it is not here.
    """
    path = find(setting)
    about = path.stat()
    return _digest(path, about.st_size, about.st_mtime_ns)


@lru_cache(4)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(setting: str) -> Path:
    """The embedder of that name or path.

    Raises:
        NoVoices: it is not here.
    """
    path = place(setting)
    if setting != NAME and not path.is_file():
        raise NoVoices(f"{path} is no file: set engine.voices to an ONNX speaker embedder, or leave it as {NAME}")
    if setting == NAME and not is_installed(VOICES, path.parent):
        raise NoVoices(
            f"telling speakers apart needs a model that is not here; fetch it with `convo models pull {NAME}`"
        )
    return path
