"""A power supply that fails: a daemon's state on a file system of its own, of which a copy shows what a cut leaves.

In: a directory. Out: images as the disk had them at a moment; what the kernel had not written by then is not in them.
Needs root and a loop device; a test that uses it is skipped elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

SIZE_MIB: Final = 48

COMMIT_S: Final = 1
"""The file system's own commits of its metadata come this often: names and lengths get to the disk well before data
does, which is written after half a minute. So a file that is deleted too early is gone at once.
"""


class Disk:
    """A small ext4 in a file; `state` is a directory on it."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.mounted = directory / "disk"
        self.mounted.mkdir()

    def cut(self, pid: int, target: Path) -> None:
        """Copy the image as it is now. The daemon stands still meanwhile, as the copy takes some milliseconds."""
        os.kill(pid, signal.SIGSTOP)
        try:
            subprocess.run(["cp", "--sparse=always", self.image, target], check=True)
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def disk(directory: Path) -> Iterator[Disk]:
    """A new disk, mounted until the end of the block."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root can mount a disk of its own")
    made = Disk(directory)
    made.image.write_bytes(b"")
    os.truncate(made.image, SIZE_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", made.image], check=True)
    with mounted(made.image, made.mounted):
        yield made


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    """A disk, mounted until the end of the block."""
    where.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-o", f"loop,commit={COMMIT_S}", str(image), str(where)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no loop device can be mounted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fail(where: Path) -> None:
    """Let the file system on it give up, as after an error of its disk: reading goes on, all writing is refused."""
    done = subprocess.run(["mount", "-o", "remount,abort", str(where)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be made to fail here: {done.stderr.strip()}")
