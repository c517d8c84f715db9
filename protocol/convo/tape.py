"""Audio that a daemon may not have stored yet, kept to be sent again after a lost connection.

In: pieces of a stream in order, and how much of it is safe. Out: the rest of the stream from any byte that is not.
This module sends nothing.
"""

from __future__ import annotations

from collections import deque

from .errors import RemoteProtocolError
from .messages import Code


class Tape:
    """A stream's end, by its place in the stream. As long as the daemon's credit."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._start = 0

    @property
    def end(self) -> int:
        """Bytes of the stream so far."""
        return self._start + sum(map(len, self._pieces))

    def add(self, data: bytes) -> None:
        """More audio, after what was there."""
        self._pieces.append(data)

    def forget(self, offset: int) -> None:
        """The daemon has stored `offset` bytes."""
        while self._pieces and self._start + len(self._pieces[0]) <= offset:
            self._start += len(self._pieces.popleft())

    def after(self, offset: int) -> bytes:
        """Everything from byte `offset` of the stream on.

        Raises:
            RemoteProtocolError: it was forgotten, because the daemon had said that it was safe.
        """
        if offset < self._start:
            raise RemoteProtocolError(Code.BAD_AUDIO, "The daemon lost audio that it had stored: look into its log.")
        return b"".join(self._pieces)[offset - self._start :]
