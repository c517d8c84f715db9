"""Count the frames that a WebSocket client sends (RFC 6455, section 5.2).

In: bytes after the handshake, in pieces of any size. Out: how many messages are complete, and how many frames brought
none. It keeps at most a part of a header, and leaves errors to the WebSocket library, which reads the same bytes.
"""

from __future__ import annotations

from typing import Final

FRAGMENT_BYTES: Final = 1024
"""Smaller fragments cost more than they bring."""

_FINAL: Final = 0x80
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_LENGTH: Final = 0x7F
_EXTENDED: Final = {126: 2, 127: 8}
"""Bytes of the length that follow, where the length's own seven bits say so."""


class FrameCounter:
    """`messages`: data messages that are complete so far."""

    def __init__(self) -> None:
        self.messages = 0
        self._header = b""  # of a frame, as far as it is here
        self._payload = 0  # bytes of the current frame that are still to come
        self._last = False  # whether the current frame completes a message

    def receive_data(self, data: bytes) -> int:
        """Count the frames in `data`.

        Returns:
            How many of those that begin in it cost work but bring no message: control frames and tiny fragments.
        """
        if len(data) < self._payload:
            self._payload -= len(data)
            return 0
        self.messages += self._last
        data, self._last = self._header + data[self._payload :], False
        at = extra = 0
        while len(data) - at >= 2:
            first, second = data[at], data[at + 1]
            size = second & _LENGTH
            extended = _EXTENDED.get(size, 0)
            header = 2 + extended + (4 if second & _MASKED else 0)
            if len(data) - at < header:
                break
            if extended:
                size = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
            is_control, is_final = first & _CONTROL, first & _FINAL
            extra += bool(is_control or (not is_final and size < FRAGMENT_BYTES))
            at += header + size
            self._last = bool(is_final and not is_control)
            if at <= len(data):
                self.messages += self._last
                self._last = False
        self._header = data[at:]
        self._payload = max(0, at - len(data))
        return extra
