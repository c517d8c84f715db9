"""Check and prepare what the daemon needs to start: names in the settings, limits of the process, its directory.

In: settings. Out: a directory that is this daemon's alone, or `CannotStart` with a sentence that says what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import resource
import secrets
from collections.abc import Iterator
from pathlib import Path

from convo.messages import SummaryOptions
from convod.disk import sync_folder
from convod.engine import models, selection
from convod.ops.config import Settings
from convod.store import StoreFailed, database_at
from convod.summary import Summarizers, SummarySettings


class CannotStart(Exception):
    """The daemon cannot run here; the text is a sentence that says what to do."""


def check(settings: Settings, *, worker: bool = False) -> None:
    """Check that the configured model, summarizer and style exist, and the addresses of the store and the broker.

    Raises:
        CannotStart: one does not exist, or is no such address.
    """
    try:
        database_at(settings.store.url, Path())
    except StoreFailed as error:
        raise CannotStart(str(error)) from error
    if settings.spool.path and not settings.store.url:
        raise CannotStart("spool.path is for convods that share a PostgreSQL store: set store.url, or leave it out")
    try:
        if settings.engine.model != selection.AUTO:
            models.find(settings.engine.model)
    except models.UnknownModel as error:
        raise CannotStart(f"engine.model: {error}") from error
    except models.ModelNotHere:
        pass  # the engine downloads it and reports progress
    _check_broker(settings, worker)
    if settings.summary != SummarySettings():  # the defaults need no search through installed packages
        try:
            Summarizers(settings.summary).check(SummaryOptions())
        except ValueError as error:
            raise CannotStart(f"summary.provider or summary.style: {error}") from error


def spool_directory(settings: Settings, state: Path) -> Path:
    """Return the folder of audio, created if necessary.

    Raises:
        CannotStart: it cannot be written.
    """
    if not settings.spool.path:
        return state / "spool"
    path = Path(settings.spool.path).expanduser()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"spool.path {path} cannot be created ({error.strerror}); choose another") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise CannotStart(f"spool.path {path} cannot be written; choose another, or change who may write there")
    return path


def folder_id(folder: Path) -> str:
    """Return the id of a folder, which stays the same: what is in its file `id`, created if necessary.

    Raises:
        CannotStart: it cannot be read or written.
    """
    file, mine = folder / "id", folder / f".id-{secrets.token_hex(8)}"
    try:
        if not file.exists():
            mine.write_text(secrets.token_hex(16))
            with mine.open("rb") as written:
                os.fsync(written.fileno())
            with contextlib.suppress(FileExistsError):  # another convod was first: of several, one id
                os.link(mine, file)
            mine.unlink()
            sync_folder(folder)
        found = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"{file} cannot be read or written ({error}); look at its disk") from error
    if not re.fullmatch("[0-9a-f]{32}", found):
        raise CannotStart(f"{file} holds no id; delete it")
    return found


def _check_broker(settings: Settings, worker: bool) -> None:
    engine = settings.engine
    if not engine.broker:
        if worker:
            raise CannotStart("a worker needs the address of a Redis: convod worker --broker redis://HOST")
        if engine.remote_only:
            raise CannotStart("engine.remote_only = true leaves no worker: set engine.broker as well")
        return
    if not engine.broker.startswith(("redis://", "rediss://")):
        raise CannotStart("engine.broker: expected a URL redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS")
    needed = ("redis", "celery") if worker else ("redis",)
    if not all(importlib.util.find_spec(name) for name in needed):
        raise CannotStart("engine.broker needs Celery and redis-py: run pip install 'convo[cluster]'")


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: each connection and each session needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def state_directory(path: Path) -> Iterator[Path]:
    """Create the state directory if necessary, and lock it for the length of the block.

    Raises:
        CannotStart: it cannot be written, or another daemon holds it.
    """
    try:
        # `parents` creates directories with the default mode, so the directory itself comes first.
        # The lock is created last: without it an earlier start may have failed before it synced.
        made = not (path / "lock").exists()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "spool").mkdir(mode=0o700, exist_ok=True)
        if made:
            for folder in (path, path.absolute().parent):
                sync_folder(folder)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(
            f"the state directory {path} cannot be written ({error.strerror}); choose another with --state-dir"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(
                f"another convod works in {path}; stop it, or choose another place with --state-dir"
            ) from error
        if not os.access(path / "spool", os.W_OK | os.X_OK):
            raise CannotStart(f"the state directory {path} cannot be written; choose another with --state-dir")
        yield path
    finally:
        os.close(lock)
