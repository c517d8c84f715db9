"""Whether a database file is sound, and whether that has to be asked again before it is served.

In: a connection, a path. Out: nothing, or `StoreFailed`. A file that was looked through whole and then closed is
sealed: its seal says which size and times it had. Whatever changes a file after that, a kill, a copy, another program,
leaves one without a seal that fits. Nothing here mends a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Final

from convod.store.base import StoreFailed

TO_DO: Final = (
    "nothing was changed: keep a copy of it, then restore a backup or what `sqlite3 FILE .recover` finds, "
    "or move it aside to begin anew"
)


def examine(connection: sqlite3.Connection, path: Path, table: str | None = None) -> None:
    """Look through the whole file, or through a table and its indexes. Blocks, some seconds for a gigabyte.

    Raises:
        StoreFailed: it is damaged.
        sqlite3.Error: it cannot be read at all, or the connection was interrupted.
    """
    what = "1" if table is None else f"'{table}'"
    verdict = " ".join(connection.execute(f"PRAGMA quick_check({what})").fetchone()[0].split())
    if verdict != "ok":
        raise StoreFailed(f"{path} is damaged ({verdict}); {TO_DO}")


def seal(path: Path) -> None:
    """Note that the file is sound as it lies there, closed by everybody; a disk that is full makes no seal."""
    if path.with_name(f"{path.name}-wal").exists():
        return  # somebody has it open, and may write
    with contextlib.suppress(OSError):
        descriptor = os.open(_seal_of(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(_looks(path), file)


def break_seal(path: Path) -> bool:
    """Whether nothing touched the file since it was sealed. The seal is gone afterwards."""
    sealed = _seal_of(path)
    try:
        said = json.loads(sealed.read_bytes())
    except (OSError, ValueError):
        said = None
    with contextlib.suppress(FileNotFoundError):
        sealed.unlink()
    return bool(said == _looks(path)) and not path.with_name(f"{path.name}-wal").exists()


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-sound")


def _looks(path: Path) -> list[int]:
    about = path.stat()
    # The time of change cannot be set: a file that was copied back has a new one.
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]
