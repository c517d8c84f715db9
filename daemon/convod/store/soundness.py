"""Whether a database file is sound, and whether that must be checked again before it is served.

In: a connection, a path. Out: nothing, or `StoreFailed`. A clean shutdown of a file that was checked whole is noted
beside it, with the size and times that the file had. Anything that touches the file afterwards, such as a kill, a copy
or another program, leaves it without a note that fits. Nothing here repairs a file.
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
    """Check the whole file, or one table and its indexes. Blocks, some seconds for a gigabyte.

    Raises:
        StoreFailed: it is damaged.
        sqlite3.Error: it cannot be read at all, or the connection was interrupted.
    """
    what = "1" if table is None else f"'{table}'"
    verdict = " ".join(connection.execute(f"PRAGMA quick_check({what})").fetchone()[0].split())
    if verdict != "ok":
        raise StoreFailed(f"{path} is damaged ({verdict}); {TO_DO}")


def record_clean_shutdown(path: Path) -> None:
    """Note that the file is sound and closed by everybody; a full disk gets no note."""
    if path.with_name(f"{path.name}-wal").exists():
        return  # another process has it open, and may write
    with contextlib.suppress(OSError):
        descriptor = os.open(_note_of(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(_identity(path), file)


def take_clean_shutdown(path: Path) -> bool:
    """Return whether a clean shutdown was noted and nothing touched the file since; delete the note."""
    note = _note_of(path)
    try:
        noted = json.loads(note.read_bytes())
    except (OSError, ValueError):
        noted = None
    with contextlib.suppress(FileNotFoundError):
        note.unlink()
    return bool(noted == _identity(path)) and not path.with_name(f"{path.name}-wal").exists()


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-sound")


def _identity(path: Path) -> list[int]:
    about = path.stat()
    # The time of change cannot be set: a file that was copied back has a new one.
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]
