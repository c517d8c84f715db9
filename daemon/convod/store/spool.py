"""Audio on disk, one file a session, appended to before it is acknowledged.

In: bytes. Out: bytes from any offset, after any death of the process. It never interprets what it holds, and a
session's id (made by the daemon) is the only name it uses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"[0-9a-z]{8,64}")


class NoRoom(OSError):
    """The disk took not all bytes; those it took before are safe."""


class SpoolFile:
    """One session's audio. `size` bytes are in the file."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self.path = path
        self._fsync = fsync
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size

    def append(self, data: bytes) -> None:
        """Write to the end.

        Raises:
            NoRoom: the disk is full; nothing of `data` counts.
        """
        try:
            written = os.pwrite(self._file, data, self.size)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._fsync:
                os.fdatasync(self._file)
        except OSError as error:
            # What was not acknowledged must not be there after a restart.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise NoRoom(error.errno, "there is no room on the disk for more audio") from error
            raise
        self.size += len(data)

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on."""
        return os.pread(self._file, min(length, max(0, self.size - offset)), offset)

    def close(self) -> None:
        """Let go of the file; it stays on disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Spool:
    """The folder of all sessions' audio."""

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = folder
        self._fsync = fsync

    def path(self, session: str) -> Path:
        """Where a session's audio is."""
        if not _ID.fullmatch(session):
            raise ValueError(f"{session!r} is no session id")
        return self.folder / f"{session}.audio"

    def open(self, session: str) -> SpoolFile:
        """The session's file, made if it is not there."""
        return SpoolFile(self.path(session), fsync=self._fsync)

    def remove(self, session: str) -> None:
        """Delete the session's audio, if there is any."""
        self.path(session).unlink(missing_ok=True)

    def sessions(self) -> Iterator[str]:
        """Ids that have audio here."""
        for file in self.folder.glob("*.audio"):
            yield file.stem
