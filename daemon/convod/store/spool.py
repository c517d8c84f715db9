"""Audio on disk, one file a session, appended to before it is acknowledged.

In: bytes. Out: bytes from any offset, after any death of the process. It never interprets what it holds, and a
session's id (made by the daemon) is the only name it uses. Audio that no session claims lies in a folder beside it,
until it is deleted there or its session comes back.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from convod.disk import FAILING, FULL, sync_folder
from convod.store.usage import OwnerFull, Usage

LAST: Final = 1 << 14
"""Most bytes that are kept of what was written last: it is read next, and was in hand a moment ago."""

DIGESTED: Final = 1 << 20
"""Bytes that are read at a time for a digest: a millisecond or two."""

UNCLAIMED: Final = "unclaimed"
"""Folder beside the spool."""

_ID: Final = re.compile(r"[0-9a-z]{8,64}")


class SpoolFailed(OSError):
    """The disk did not take or give audio; `strerror` says what and why. What it took before is safe."""


class NoRoom(SpoolFailed):
    """The disk did not take all bytes, or is not allowed to."""


class OverQuota(NoRoom):
    """The quota is used up."""


class SpoolFile:
    """One session's audio. `size` bytes are in the file."""

    def __init__(self, path: Path, *, fsync: bool, spool: Spool | None = None, owner: str = "") -> None:
        self.path = path
        self._spool = spool
        self._owner = owner
        self._fsync = fsync
        # Never follow a link, and never wait for anything but a plain file.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            about = os.fstat(self._file)
            if not stat.S_ISREG(about.st_mode):
                raise OSError(errno.EINVAL, "it is not a plain file", str(path))
            if fsync:
                self._sync_name(empty=about.st_size == 0)
        except OSError:
            os.close(self._file)
            raise
        self.size = about.st_size
        self._last = b""  # the file's last bytes
        self._unsynced = False  # a sync failed: what the system says it wrote may be lost

    def _sync_name(self, *, empty: bool) -> None:
        try:
            sync_folder(self.path.parent)
        except OSError:
            if empty:  # created just now: a refusal must leave nothing behind
                with contextlib.suppress(OSError):
                    self.path.unlink()
            raise

    def append(self, data: bytes) -> None:
        """Write to the end.

        Raises:
            NoRoom: the disk is full, or the quota is used up; none of `data` was written.
            SpoolFailed: the disk refused it for another reason; the same.
        """
        if self._spool is not None:
            self._spool.charge(len(data), self._owner)
        try:
            written = os.pwrite(self._file, data, self.size)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._fsync:
                os.fdatasync(self._file)
        except OSError as error:
            if self._spool is not None:
                self._spool.count(-len(data), self._owner)
            # What was not acknowledged must not be there after a restart.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            if error.errno in FULL:
                failed: SpoolFailed = NoRoom(error.errno, "there is no room on the disk for more audio")
            else:
                failed = SpoolFailed(error.errno, f"the audio could not be written ({error.strerror})")
            if self._spool is not None:
                self._spool.trouble = failed.strerror
            raise failed from error
        if self._spool is not None:
            self._spool.trouble = None
        self.size += len(data)
        self._last = data if len(data) <= LAST else b""

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on.

        Raises:
            SpoolFailed: the disk does not give them.
        """
        if offset == self.size - len(self._last) and length >= len(self._last) > 0:
            return self._last
        with _told("the audio could not be read"):
            return os.pread(self._file, min(length, max(0, self.size - offset)), offset)

    def sync(self) -> None:
        """Wait until what was appended is on the disk, and the file found there. Blocks: for a thread.

        Raises:
            SpoolFailed: the disk did not take it.
        """
        try:
            descriptor = os.dup(self._file)
        except OSError:
            return  # closed: its audio is not needed any more
        try:
            with _told("the audio could not be written", self._spool):
                if self._unsynced:
                    self._write_again(descriptor)
                self._unsynced = True
                os.fdatasync(descriptor)
                sync_folder(self.path.parent)
                self._unsynced = False
        finally:
            os.close(descriptor)

    def _write_again(self, descriptor: int) -> None:
        # The system reports a failed write once; a second sync would succeed without having written anything.
        for at in range(0, self.size, DIGESTED):
            data = os.pread(descriptor, min(DIGESTED, self.size - at), at)
            if os.pwrite(descriptor, data, at) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Let go of the file; it stays on disk."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextlib.contextmanager
def _told(what: str, written_to: Spool | None = None) -> Iterator[None]:
    """Errors of the disk within the block become SpoolFailed; of a spool that is written to, its trouble, too."""
    try:
        yield
    except SpoolFailed:
        raise
    except OSError as error:
        failed = SpoolFailed(error.errno, f"{what} ({error.strerror})")
        if written_to is not None and error.errno in FAILING:
            written_to.trouble = failed.strerror
        raise failed from error


class Spool:
    """The folder of all sessions' audio: `used` bytes, `quota` at most (0: as much as the disk takes). What an owner's
    audio takes is counted in `usage`, and limited by it.
    """

    def __init__(self, folder: Path, *, fsync: bool = False, quota: int = 0, usage: Usage | None = None) -> None:
        self.folder = folder
        self.quota = quota
        self.usage = usage or Usage()
        self._fsync = fsync
        self._counting = threading.Lock()
        self.trouble: str | None = None
        """Why the disk takes no audio, as far as is known."""
        self.used = sum(_plain_size(self.path(session)) or 0 for session in self.sessions())

    def charge(self, count: int, owner: str) -> None:
        """Count bytes of an owner that are about to be written.

        Raises:
            OverQuota: there is no room for them, or the owner may not write them.
        """
        try:
            self.usage.check(owner, count)
        except OwnerFull as error:
            raise OverQuota(errno.EDQUOT, str(error)) from error
        if self.quota and self.used + count > self.quota:
            raise OverQuota(errno.EDQUOT, f"kept audio has used up its {self.quota} bytes (limits.disk_bytes)")
        self.count(count, owner)

    def count(self, change: int, owner: str | None) -> None:
        """Count a change of so many bytes, for `owner` unless that is None. Call it from any thread."""
        with self._counting:
            self.used += change
        if owner is not None:
            self.usage.count(owner, change)

    def path(self, session: str) -> Path:
        """Where a session's audio is."""
        if not _ID.fullmatch(session):
            raise ValueError(f"{session!r} is no session id")
        return self.folder / f"{session}.audio"

    def voices(self, session: str) -> Path:
        """Where what is known of a session's voices is, as long as its audio is here."""
        return self.path(session).with_suffix(".voices")

    def open(self, session: str, owner: str = "") -> SpoolFile:
        """The session's file, which is the owner's, made if it is not there.

        Raises:
            SpoolFailed: it cannot be opened or created, or is not a plain file.
        """
        with _told("the audio's file could not be opened", self):
            return SpoolFile(self.path(session), fsync=self._fsync, spool=self, owner=owner)

    def probe(self) -> None:
        """Check whether the disk takes audio again, and note it. Blocks: call it in a thread."""
        path = self.folder / "probe"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, bytes(4096), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                path.unlink()
        except OSError as error:
            self.trouble = f"audio cannot be written ({error.strerror})"
        else:
            self.trouble = None

    def size(self, session: str) -> int | None:
        """Bytes of the session's audio, None if there is none."""
        try:
            with _told("the audio could not be found"):
                return self.path(session).stat().st_size
        except SpoolFailed as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def read(self, session: str, offset: int, length: int) -> bytes:
        """At most `length` bytes of the session's audio from `offset` on. Blocks: for a thread.

        Raises:
            SpoolFailed: the disk does not give them, or there is no audio.
        """
        with _told("the audio could not be read"), self.path(session).open("rb") as file:
            return os.pread(file.fileno(), length, offset)

    def digest(self, session: str, go_on: Callable[[], bool] = lambda: True) -> str:
        """SHA-256 of the session's audio, hexadecimal. Reads all of it, or as long as `go_on` says so: for a thread."""
        digest = hashlib.sha256()
        with _told("the audio could not be read"), self.path(session).open("rb") as file:
            while go_on() and (data := file.read(DIGESTED)):
                digest.update(data)
        return digest.hexdigest()

    def written(self, session: str) -> float:
        """When the session's audio was last written to, Unix seconds; 0 if there is none."""
        try:
            return self.path(session).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def share(self, session: str, new: str, owner: str = "") -> None:
        """Give a new session, the owner's, the audio of another one, without copying it where the file system can.

        It survives a power cut. Blocks: for a thread.
        """
        source, target = self.path(session), self.path(new)
        with _told("the audio could not be read"):
            size = source.stat().st_size
        self.charge(size, owner)
        try:
            os.link(source, target)
        except OSError:
            try:
                shutil.copyfile(source, target)
                target.chmod(0o600)
                with target.open("rb") as copy:
                    os.fsync(copy.fileno())
            except OSError as error:
                self._unshare(target, size, owner)
                if error.errno in FULL:
                    raise NoRoom(error.errno, "there is no room on the disk for a copy of the audio") from error
                with _told("the audio could not be copied", self):
                    raise
        try:
            with _told("the audio could not be copied", self):
                sync_folder(self.folder)
        except SpoolFailed:
            self._unshare(target, size, owner)  # the copy was never announced
            raise

    def _unshare(self, target: Path, size: int, owner: str | None) -> None:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        self.count(-size, owner)

    def remove(self, session: str, owner: str | None = None, *, durable: bool = False) -> None:
        """Delete the session's audio, if there is any, which was counted for its owner.

        If `durable`, a power cut does not bring it back.
        """
        with _told("the audio could not be deleted", self):
            self.voices(session).unlink(missing_ok=True)
            size = self.size(session)
            if size is not None:
                self.path(session).unlink(missing_ok=True)
                self.count(-size, owner)
            if durable:
                sync_folder(self.folder)

    def sessions(self) -> Iterator[str]:
        """Ids that have something here, be it audio that can be read or not."""
        return _sessions(self.folder)

    def sizes(self) -> dict[str, int]:
        """Bytes of each session's audio. Looks at each file: for a thread."""
        return {session: size for session in self.sessions() if (size := _plain_size(self.path(session)))}

    # --- audio that no session claims -------------------------------------------------------------------------

    @property
    def unclaimed(self) -> Path:
        """The folder of audio that no session claims."""
        return self.folder.with_name(UNCLAIMED)

    def unclaimed_sessions(self) -> Iterator[str]:
        """Ids that have audio in that folder."""
        return _sessions(self.unclaimed)

    def count_unclaimed(self) -> tuple[int, int]:
        """Files in that folder, and their bytes."""
        sizes = [_plain_size(file) for file in self.unclaimed.glob("*")]
        return len(sizes), sum(size or 0 for size in sizes)

    def set_aside(self, session: str) -> None:
        """Move a session's audio to that folder: the store does not know the session.

        Raises:
            OSError: it could not be moved, and stays where it is.
        """
        source = self.path(session)
        size = _plain_size(source)
        self.unclaimed.mkdir(mode=0o700, exist_ok=True)
        target = self.unclaimed / source.name
        number = 0
        while os.path.lexists(target):  # what was set aside before stays what it is
            number += 1
            target = target.with_name(f"{session}.{number}.audio")
        source.rename(target)
        self.count(-(size or 0), None)
        self._sync_both()

    def take_up(self, session: str) -> bool:
        """Move a session's audio back from that folder, unless it has some here; whether it was.

        Raises:
            OSError: it could not be moved, and stays where it is.
        """
        if self.size(session):
            return False
        source = self.unclaimed / f"{session}.audio"
        size = _plain_size(source)
        if size is None:
            return False
        source.rename(self.path(session))
        self.count(size, None)
        self._sync_both()
        return True

    def _sync_both(self) -> None:
        # Where it was not synced, a power cut leaves the audio in one of both, and the next start moves it again.
        for folder in (self.unclaimed, self.folder):
            with contextlib.suppress(OSError):
                sync_folder(folder)


def _sessions(folder: Path) -> Iterator[str]:
    for file in folder.glob("*.audio"):
        if _ID.fullmatch(file.stem):
            yield file.stem


def _plain_size(path: Path) -> int | None:
    """Bytes of a plain file, None if there is none or it cannot be looked at."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_size if stat.S_ISREG(about.st_mode) else None
