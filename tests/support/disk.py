"""A disk that refuses one call: each that changes something in a directory is counted, and one of them fails.

In: a directory, a number of a call, an error. Out: the calls there were, by name and place; an OSError in one of them.
What SQLite does goes past Python, and past this: `refusing` in a real process is for that.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

ERRORS: Final = (errno.EIO, errno.ENOSPC, errno.EROFS)

CALLS: Final = (
    "open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "fchown", "mkdir", "rmdir", "link", "unlink",
    "remove", "rename", "replace", "chmod", "chown",
)  # fmt: skip
"""Of the module `os`, which pathlib, shutil and tempfile call too."""

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class RefusingDisk:
    """Watches what is under `folder`. `seen` are the calls so far, `refused` those that failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.seen: list[str] = []
        self.refused: list[str] = []
        self._at: int | None = None
        self._number = errno.EIO

    def refuse(self, at: int, number: int) -> None:
        """Let the call with that index, from 0, fail with that error."""
        self._at, self._number = at, number

    def asked(self, name: str, place: str) -> None:
        """A call is about to be made.

        Raises:
            OSError: it is the one that is refused.
        """
        path = os.path.abspath(place)
        if not path.startswith(self.folder):
            return
        call = f"{name} {os.path.relpath(path, self.folder)}"
        self.seen.append(call)
        if len(self.seen) - 1 == self._at:
            self.refused.append(call)
            raise OSError(self._number, os.strerror(self._number), place)


def _place(first: Any) -> str:
    return os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fsdecode(first)


@contextmanager
def watched(folder: Path) -> Iterator[RefusingDisk]:
    """All calls that this process makes in `folder` until the end of the block are seen."""
    disk = RefusingDisk(folder)

    def asking(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def asked(first: Any, *rest: Any, **options: Any) -> Any:
            reads = name == "open" and not (rest[0] if rest else options["flags"]) & _WRITES
            # Of what is there already every disk says so, a broken one too.
            if not reads and not (name == "mkdir" and os.path.isdir(first)):
                disk.asked(name, _place(first))
            if name in ("fsync", "fdatasync"):
                return None  # no power is cut here, and they take long
            return call(first, *rest, **options)

        return asked

    def opening(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not isinstance(file, int) and set(mode) & set("wax+"):
            disk.asked("open", _place(file))
        opened = plain_open(file, mode, *rest, **options)
        return _Written(opened, disk) if set(mode) & set("wax+") else opened

    plain_open = io.open
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, asking(name, getattr(os, name)))
        patch.setattr(io, "open", opening)
        patch.setattr(builtins, "open", opening)
        yield disk


class _Written:
    """A file object whose writes are asked for."""

    def __init__(self, file: Any, disk: RefusingDisk) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: Any) -> Any:
        self._disk.asked("write", _place(self._file.fileno()).removesuffix(" (deleted)"))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)
