"""How much audio may be sent now: the sending side of the credit rule.

In: bytes that were sent, and what each `audio_ack` grants. Out: `room` in bytes. This module never touches
audio itself. The limit is the largest `offset + credit` ever granted; it never shrinks, so an ack that comes
late or twice changes nothing.
"""

from __future__ import annotations


class SendWindow:
    """Counts one session's audio in bytes from the start of its stream.

    Args:
        offset: where sending begins: 0, or `audio_offset` of an attach.
        credit: bytes that may be sent beyond that at once.
    """

    def __init__(self, offset: int = 0, credit: int = 0) -> None:
        self._sent = offset
        self._acknowledged = offset
        self._limit = offset + credit

    @property
    def sent(self) -> int:
        """Bytes sent: the offset of the next audio message."""
        return self._sent

    @property
    def acknowledged(self) -> int:
        """Bytes that the daemon said are safely stored."""
        return self._acknowledged

    @property
    def limit(self) -> int:
        """The offset up to which audio may be sent."""
        return self._limit

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return self._limit - self._sent

    def granted(self, offset: int, credit: int) -> None:
        """The daemon stored `offset` bytes and takes `credit` more beyond them."""
        self._acknowledged = max(self._acknowledged, offset)
        self._limit = max(self._limit, offset + credit)

    def take(self, size: int) -> int:
        """Use `size` bytes of the room; returns the offset at which they go.

        Raises:
            ValueError: there is less room than that.
        """
        if not 0 <= size <= self.room:
            raise ValueError(f"{size} bytes do not fit into a room of {self.room}.")
        offset = self._sent
        self._sent += size
        return offset
