"""Find a model's directory by its name, and what is known about it before it is loaded.

In: `builtin`, a size such as `small`, a hub id such as `org/name`, or a directory. Out: a `Model`, or one sentence
that says which command works instead. Only looks at names and sizes of files: nothing is loaded, nothing fetched
(`fetcher` does that). `selection` resolves `auto`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from convo.languages import CODES
from convod.engine.packaged import PACKAGES, is_installed

BUILTIN: Final = "builtin"
BUILTIN_DIRECTORY: Final = Path(__file__).with_name("builtin")

DESCRIPTION: Final = "convo.json"
"""A model made for convo says here what it is; others need none."""

SIZES: Final = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""faster-whisper's names (its `_MODELS`); a test holds them together."""

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

Context = Literal["full", "short"]

Source = Literal["builtin", "hub", "index", "directory"]
"""Where a model came from; `index` is the Python package index."""


class UnknownModel(ValueError):
    """No model goes by this name; the text says which names there are."""


class ModelNotHere(Exception):
    """The model is known but not on this machine; the text says how to get it."""

    def __init__(self, name: str, repository: str) -> None:
        super().__init__(f"model {name!r} is not on this machine; fetch it with `convo models pull {name}`")
        self.name = name
        self.repository = repository


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this machine.

    `context`: `short` models are made for windows shorter than 30 s, others need each window padded to 30 s (`full`),
    or they lose accuracy. `threads`: threads a worker should use, 0 for as many as pay. `languages`: None if many.
    """

    name: str
    directory: Path
    context: Context
    threads: int
    languages: tuple[str, ...] | None
    source: Source

    @property
    def size_bytes(self) -> int:
        """The size of its files in bytes."""
        return sum(file.stat().st_size for file in self.directory.iterdir() if file.is_file())


def find(name: str) -> Model:
    """Return the model of that name.

    Raises:
        UnknownModel: no such name, or a directory that holds no model.
        ModelNotHere: it would have to be fetched.
    """
    if name == BUILTIN:
        return _describe(BUILTIN, BUILTIN_DIRECTORY, "builtin")
    if name and name not in SIZES and Path(name).expanduser().is_dir():
        directory = Path(name).expanduser().resolve()
        for needed in ("model.bin", "config.json", "tokenizer.json"):
            if not (directory / needed).is_file():
                raise UnknownModel(f"{directory} is no CTranslate2 Whisper model: {needed} is missing")
        return _describe(str(directory), directory, "directory")
    repository = repository_of(name)
    if (snapshot := _snapshot(repository)) is not None:
        return _describe(name, snapshot, "hub")
    if (copy := _package_copy(repository)) is not None:
        return _describe(name, copy, "index")
    raise ModelNotHere(name, repository)


def languages(name: str) -> tuple[str, ...]:
    """Return the languages a model may know, as far as that can be told without loading it."""
    try:
        known = find(name).languages
    except (UnknownModel, ModelNotHere):
        known = None
    return known or (("en",) if name.endswith(".en") else CODES)


def repository_of(name: str) -> str:
    """Return the hub id for a size or hub id.

    Raises:
        UnknownModel: neither.
    """
    if name in SIZES:
        return SIZES[name]
    if _HUB_ID.fullmatch(name):
        return name
    if name.startswith(("/", "./", "../", "~")):
        raise UnknownModel(
            f"{name} is not a directory; give one with a CTranslate2 Whisper model, or a name: builtin, a size such as "
            "small, or a hub id"
        )
    raise UnknownModel(
        f"no model is called {name!r}; use builtin, a size ({', '.join(SIZES)}), a hub id such as "
        "Systran/faster-whisper-small, or a directory with a CTranslate2 model"
    )


def here() -> Iterator[Model]:
    """Return the models that can be loaded without fetching: the built-in one, the hub cache's, the package index's."""
    yield find(BUILTIN)
    by_repository = {repository: name for name, repository in reversed(SIZES.items())}
    found = set()
    for folder in sorted(hub_cache().glob("models--*--*")):
        repository = "/".join(folder.name.split("--")[1:])
        snapshot = _snapshot(repository)
        if snapshot is not None and (snapshot / "tokenizer.json").is_file():
            found.add(repository)
            yield _describe(by_repository.get(repository, repository), snapshot, "hub")
    for repository in PACKAGES:
        if repository not in found and (copy := _package_copy(repository)) is not None:
            yield _describe(by_repository.get(repository, repository), copy, "index")


def package_store() -> Path:
    """Where models from the package index are kept: in the service's cache directory, else in the user's."""
    service = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]  # systemd's CacheDirectory=
    return (Path(service) if service else _user_cache() / "convod") / "models"


def _describe(name: str, directory: Path, source: Source) -> Model:
    context: Context = "full"
    threads = 0
    languages: tuple[str, ...] | None = ("en",) if name.endswith(".en") else None
    try:
        about = json.loads((directory / DESCRIPTION).read_text())
        context = "short" if about.get("context") == "short" else "full"
        threads = int(about.get("threads", 0))
        languages = tuple(about["languages"]) if "languages" in about else None
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UnknownModel(f"{directory / DESCRIPTION} cannot be read: {error}") from error
    return Model(name, directory, context, threads, languages, source)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it fetched (its documented environment variables)."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else _user_cache() / "huggingface") / "hub"


def _snapshot(repository: str) -> Path | None:
    folder = hub_cache() / ("models--" + repository.replace("/", "--"))
    try:
        commit = (folder / "refs" / "main").read_text().strip()
    except OSError:
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if (snapshot / "model.bin").is_file() else None


def _package_copy(repository: str) -> Path | None:
    """The directory of a model from the package index, if every file of it is there in full."""
    package = PACKAGES.get(repository)
    if package is None:
        return None
    directory = package_store() / package.directory
    return directory if is_installed(package, directory) else None
