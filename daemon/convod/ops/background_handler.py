"""Write log lines in the background, for a descriptor that may block, such as a terminal stopped by Ctrl-S.

In: log records. Out: their lines, written by a separate thread, so that logging never waits. At most a thousand lines
are queued; of lines beyond that, and of those that a full disk refused, only the number is written.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import Final

WAITING: Final = 1000
"""Most lines that are queued."""

GOODBYE_S: Final = 1.0
"""Longest wait for the last lines at the end."""


class BackgroundHandler(logging.Handler):
    """Writes to `descriptor` directly, so that a blocked write holds none of Python's own locks."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lines: deque[tuple[str, int]] = deque()  # and how many lines each stands for
        self._lost = 0
        self._ended = False
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        line = self.format(record) + "\n"
        with self.changed:
            if len(self.lines) >= WAITING:
                self._lost += 1
                return
            if self._lost:
                self.lines.append((f"({self._lost} lines were lost: the log was not read)\n", self._lost))
                self._lost = 0
            self.lines.append((line, 1))
            self.changed.notify_all()

    def flush(self) -> None:
        """Wait until all lines are written, for at most GOODBYE_S."""
        with self.changed:
            self.changed.wait_for(lambda: not self.lines, GOODBYE_S)

    def close(self) -> None:
        """Write the queued lines if that is possible soon, and end."""
        self.flush()
        with self.changed:
            self._ended = True
            self.changed.notify_all()
        super().close()

    def _write(self) -> None:
        torn = False  # the last line that was written is half of one
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.lines or self._ended)
                if self._ended:
                    return
                text, count = self.lines[0]
            data = ("\n" * torn + text).encode("utf-8", "backslashreplace")
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
                    torn = True
                torn = False
            except OSError:  # closed, and there is no other place to report it; or a disk that is full for now
                pass
            with self.changed:
                self.lines.popleft()
                self._lost += count if data else 0
                self.changed.notify_all()
