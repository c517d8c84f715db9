"""Which speaker embedder there is: the one of the package index by its name, or any ONNX file by its path.

In: `engine.voices` of the settings. Out: a path, or a sentence that says what to do. It opens no model.
"""

from __future__ import annotations

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
