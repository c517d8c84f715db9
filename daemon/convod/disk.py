"""Write files so that a power cut is harmless. Everything here blocks: call it in a thread, or at the start."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a disk without room."""

FAILING: Final = FULL | {errno.EIO, errno.EROFS}
"""Error numbers of a disk that takes no writes at all."""


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: of new, renamed and removed files.

    Raises:
        OSError: the disk did not take them.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, mode: int = 0o600, *, owner: tuple[int, int] | None = None) -> None:
    """Write a file so that its name stands for the old content or the whole new one, after a power cut too.

    A new one gets `mode`, less the umask, and `owner` (user, group) if that is given.

    Raises:
        OSError: it could not be written, `filename` says what; the old content is there, unless all but the very last
            step, the folder's sync, was done.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        # Never through a link that another user put there.
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
