"""Deliveries that are still to be made, as files: they survive whatever the store survives.

In: ids of sessions, with the number of the event that ended them. Out: the same after a crash. A file holds no words:
what is sent is read from the store when it is sent. Everything here blocks: call it in a thread, or at the start.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from convod.disk import write_whole

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Outbox:
    """A folder with a file for each session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> dict[str, tuple[int, float]]:
        """Create the folder if necessary. Returns what is in it: the number of the event, and when it was put there
        (Unix seconds).

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = {}
        for file in self._folder.iterdir():
            if _NAME.fullmatch(file.name) and (text := file.read_text(errors="replace")).isdigit():
                found[file.name] = int(text), file.stat().st_mtime
        return found

    def put(self, session: str, seq: int) -> None:
        """Note a delivery. A power cut does not undo it.

        Raises:
            OSError: the disk does not take it.
        """
        if not _NAME.fullmatch(session):
            raise ValueError(f"{session!r} is not the id of a session")
        write_whole(self._folder / session, str(seq).encode())

    def remove(self, session: str) -> None:
        """Forget a delivery."""
        (self._folder / session).unlink(missing_ok=True)
