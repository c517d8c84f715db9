"""Split the bytes of a streamed answer into lines and server-sent events, without I/O.

In: pieces of bytes, cut anywhere. Out: whole lines, or the data of whole events. It never reads a socket and
never looks inside the data.

Only CR and LF end a line here. `str.splitlines` and httpx's `aiter_lines` also split at U+2028, U+0085 and
their like, which may stand unescaped inside a JSON string and would tear it.
"""

from __future__ import annotations

from typing import Final

LINE_BYTES: Final = 1 << 20
"""Longest line in bytes; a server that never ends a line is stopped here."""


class LineTooLong(Exception):
    """A line has more than `LINE_BYTES` bytes."""


class Lines:
    """Cuts bytes into lines at LF or CRLF."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes and return the lines that are complete now, without their ends.

        Raises:
            LineTooLong: the line that is still open is longer than `LINE_BYTES`.
        """
        if b"\n" not in data:
            self._rest += data
            lines = []
        else:
            head, *lines_after = data.split(b"\n")
            lines = [bytes(self._rest) + head, *lines_after]
            self._rest = bytearray(lines.pop())
        if len(self._rest) > LINE_BYTES:
            raise LineTooLong
        return [line.removesuffix(b"\r") for line in lines]

    def end(self) -> list[bytes]:
        """Return the last line, if the stream ended without ending it."""
        rest, self._rest = bytes(self._rest).removesuffix(b"\r"), bytearray()
        return [rest] if rest else []


class Events:
    """Cuts lines into server-sent events and gives the data of each.

    Source: the WHATWG HTML standard, section 9.2.6 "Interpreting an event stream". Comments (lines that begin
    with a colon, used to keep the connection alive), `id` and `retry` are skipped; the name of an event is not
    needed by chat completions, which say everything in the data.
    """

    def __init__(self) -> None:
        self._lines = Lines()
        self._data: list[str] = []
        self._first = True

    def feed(self, data: bytes) -> list[str]:
        """Add bytes and return the data of the events that are complete now. Raises LineTooLong."""
        return self._take(self._lines.feed(data))

    def end(self) -> list[str]:
        """Return what is left when the stream ends; servers forget the last blank line."""
        return self._take([*self._lines.end(), b""])

    def _take(self, lines: list[bytes]) -> list[str]:
        events = []
        for raw in lines:
            line = raw.decode("utf-8", errors="replace")
            if self._first:
                line = line.removeprefix("\ufeff")
                self._first = False
            field, _, value = line.partition(":")
            if not line:
                if self._data:
                    events.append("\n".join(self._data))
                    self._data = []
            elif field == "data":
                self._data.append(value.removeprefix(" "))
        return events
