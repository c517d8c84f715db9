"""Which files of a watched folder are ready: complete, and not done before.

In: the files in the folder, and when they were listed. Out: the files to transcribe now. Sans-IO, without a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """Identifies a file's content without reading it. A renamed file keeps its stamp."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @property
    def key(self) -> str:
        """The idempotency key of its session: the same file never gets two."""
        return f"watch-folder {self.device:x} {self.inode:x} {self.size:x} {self.modified_ns:x}"


@dataclass
class _Seen:
    stamp: Stamp
    since: float
    done: bool = False


class Settling:
    """Remembers when each file changed last. A file is ready once it has not changed for `settle_s` seconds.

    One that is at work is not ready under another name either. Memory is bounded by the files in the folder: those that
    are gone are forgotten.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[Path, _Seen] = {}
        self._at_work: set[Stamp] = set()

    def look(self, now: float, files: Mapping[Path, Stamp]) -> list[Path]:
        """Take the files in the folder at `now` (seconds of any clock); return those that are ready, oldest first."""
        before, self._seen = self._seen, {}
        for path, stamp in files.items():
            seen = before.get(path)
            self._seen[path] = seen if seen is not None and seen.stamp == stamp else _Seen(stamp, now)
        ready = [
            (seen.stamp.modified_ns, path)
            for path, seen in self._seen.items()
            if not seen.done and seen.stamp not in self._at_work and seen.stamp.size
            if now - seen.since >= self._settle_s
        ]
        return [path for _, path in sorted(ready)]

    def begin(self, path: Path) -> Stamp:
        """Take note that a ready file is being transcribed."""
        stamp = self._seen[path].stamp
        self._at_work.add(stamp)
        return stamp

    def end(self, path: Path, stamp: Stamp) -> None:
        """Take note that it is done: ready again only if it changes."""
        self._at_work.discard(stamp)
        seen = self._seen.get(path)
        if seen is not None and seen.stamp == stamp:
            seen.done = True

    def put_back(self, path: Path, stamp: Stamp, now: float) -> None:
        """Take note that it could not be done now: it is ready again after another `settle_s`."""
        self._at_work.discard(stamp)
        seen = self._seen.get(path)
        if seen is not None and seen.stamp == stamp:
            seen.since = now
