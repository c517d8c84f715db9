"""Large letters of other scripts, from the bitmap font Unifont where it is installed: it is no part of convo.

In: `unifont.hex`, a line a character: its number, then 8 or 16 by 16 pixels, both in hexadecimal digits. Out: letters.
Scripts that join their letters or run from the right have none.
"""

from __future__ import annotations

import os
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from ..model.layout import spans
from .letters import Face, Size

_DIGITS = re.compile(rb"[0-9A-F]+")
_MOST = 16_000_000  # bytes; the font has 4
_SHAPED = ("M", "C")  # categories of what is drawn over another character, or not at all


def find_font() -> Path | None:
    """The font, where Debian's package `unifont` puts it, or in the user's own data."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    places = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    paths = (Path(place, "unifont", "unifont.hex") for place in (home, *places) if place)
    return next((path for path in paths if path.is_file()), None)


class Unifont(Face):
    """The font at `path`. Raises OSError."""

    height, wide, enough, lines = 16, 16, 8, 2

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._hex = file.read(_MOST)  # not mapped: a file that shrinks would end the program
        self._letter = lru_cache(2048)(self._read)

    def letter(self, char: str) -> tuple[str, ...] | None:
        """A letter, as wide as the terminal's own: 8 pixels a cell."""
        return self._letter(char)

    def wrap(self, text: str, width: int, size: Size) -> list[tuple[int, int]]:
        """Where each line starts and ends, as the terminal's own letters would be wrapped."""
        return spans(text, int(width / (8 * size.across)))

    def _read(self, char: str) -> tuple[str, ...] | None:
        if unicodedata.category(char)[0] in _SHAPED or unicodedata.bidirectional(char) in ("R", "AL"):
            return None
        key = b"\n%04X:" % ord(char)
        at = self._hex.find(key)
        if at < 0 and self._hex[: len(key) - 1] != key[1:]:
            return None
        found = _DIGITS.match(self._hex, at + len(key))
        cells = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if found is None or len(found[0]) != 32 * cells:  # not as wide as in a terminal
            return None
        digits = 2 * cells
        rows = (int(found[0][row : row + digits], 16) for row in range(0, 16 * digits, digits))
        return tuple(f"{row:0{4 * digits}b}".replace("0", ".").replace("1", "#") for row in rows)
