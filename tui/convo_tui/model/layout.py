"""Wraps texts to a width and knows the row where each starts, so that a transcript of any length scrolls cheaply.

In: texts, a width in terminal cells. Out: rows. Only the number of rows is kept for every text; the rows themselves are
made on demand, and the most recent are cached. Wide characters take two cells and are never split; a character stays
with its combining marks.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache

from rich.cells import cell_len

_KEPT = 512  # texts whose rows are cached
_WORDS = re.compile(r"\S+\s*")


def wrap(text: str, width: int) -> list[str]:
    """Wrap a text to rows of at most `width` cells, at least one row. Only words longer than a row are cut."""
    return [text[start:end] for start, end in spans(text, width)]


def spans(text: str, width: int) -> list[tuple[int, int]]:
    """Where each row of a text starts and ends in it, wrapped as by `wrap`."""
    width = max(2, width)
    if (len(text) if text.isascii() else cell_len(text)) <= width:
        return [(0, len(text))]
    rows: list[tuple[int, int]] = []
    start = at = len(text) - len(text.lstrip())
    used = 0
    for word, cells in _pieces(text, width):
        need = cells - (len(word) - len(word.rstrip()))
        if used and used + need > width:
            rows.append((start, start + len(text[start:at].rstrip())))
            start, used = at, 0
        at += len(word)
        used += cells
    if at > start or not rows:
        rows.append((start, start + len(text[start:at].rstrip())))
    return rows


def _pieces(text: str, width: int) -> Iterator[tuple[str, int]]:
    """Yield the unbreakable pieces and their widths: a word with the spaces after it, or a cluster of a wide script."""
    for match in _WORDS.finditer(text):
        word = match.group()
        if word.isascii():
            if len(word.rstrip()) <= width:
                yield word, len(word)
            else:
                for at in range(0, len(word), width):
                    yield word[at : at + width], len(word[at : at + width])
            continue
        cells = cell_len(word)
        bare = cell_len(word.rstrip())
        if cells == len(word) and bare <= width:  # no wide characters: accented Latin, Cyrillic, Arabic
            yield word, cells
            continue
        if bare <= width and not _breakable(word):
            yield word, cells
            continue
        for unit in _units(word, width):
            yield unit, cell_len(unit)


def _units(word: str, width: int) -> Iterator[str]:
    """Yield the unbreakable pieces of a word of an unspaced script: a loan word of katakana, a character, both with
    what may not begin a row after them.
    """
    for match in _UNITS.finditer(word):
        unit = match.group()
        if _LOAN.match(unit) and cell_len(unit) <= width:
            yield unit
        else:
            yield from _attached(unit, width)


def _attached(text: str, width: int) -> Iterator[str]:
    unit = ""
    for cluster in clusters(text):
        if unit and (cluster[0] not in _NEVER_FIRST or cell_len(unit + cluster) > width):
            yield unit
            unit = ""
        unit += cluster
    yield unit


_NEVER_FIRST = "、。，．！？：；」』）】〉》…ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_LOAN = re.compile("[\u30a1-\u30fa\u30fc-\u30fe]{2}")
_UNITS = re.compile(
    f"[\u30a1-\u30fa\u30fc-\u30fe]{{2,}}[{_NEVER_FIRST}]*|(?:(?![\u30a1-\u30fa\u30fc-\u30fe]{{2}}).)+", re.DOTALL
)


UNSPACED = (("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\uf900", "\ufaff"), ("\u0e00", "\u0eff"))


@lru_cache(4096)
def _breakable(word: str) -> bool:
    """Whether it contains a script without spaces between words: Han, kana, Thai (Hangul has spaces)."""
    return any(low <= char <= high for char in word for low, high in UNSPACED)


_JOINER = "\u200d"
_SELECTORS = {"\ufe0e", "\ufe0f", "\u20e3"}


def clusters(text: str) -> Iterator[str]:
    """Yield characters with their combining marks; joined and toned emoji and flags stay whole."""
    cluster = ""
    flags = 0
    for char in text:
        flag = "\U0001f1e6" <= char <= "\U0001f1ff"
        stays = bool(cluster) and (
            cluster.endswith(_JOINER)
            or char == _JOINER
            or char in _SELECTORS
            or "\U0001f3fb" <= char <= "\U0001f3ff"
            or (flag and flags % 2 == 1)
            or char.isspace()
            or cell_len(char) == 0
        )
        flags = flags + 1 if flag else 0
        if cluster and not stays:
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


class Layout:
    """The rows of many texts, stacked.

    Args:
        text: returns the text at an index.
        lead: returns the number of empty rows above the text at an index. An empty text has no row of its own.
    """

    def __init__(self, text: Callable[[int], str], lead: Callable[[int], int]) -> None:
        self._text = text
        self._lead = lead
        self._width = 80
        self._starts = [0]  # of each text, and of the next one to come
        self._rows: OrderedDict[int, list[tuple[int, int]]] = OrderedDict()

    @property
    def width(self) -> int:
        """The width of a row in cells."""
        return self._width

    @property
    def height(self) -> int:
        """The number of rows of all texts."""
        return self._starts[-1]

    @property
    def count(self) -> int:
        """The number of texts laid out."""
        return len(self._starts) - 1

    def resize(self, width: int) -> None:
        """Lay everything out again if the width changed."""
        width = max(2, width)
        if width != self._width:
            self._width = width
            count = self.count
            self.clear()
            self.extend(count)

    def clear(self) -> None:
        """Forget all texts."""
        self._starts = [0]
        self._rows.clear()

    def extend(self, count: int) -> None:
        """Lay out the texts up to `count`."""
        starts, width, text, lead = self._starts, self._width, self._text, self._lead
        for index in range(len(starts) - 1, count):
            said = text(index)
            rows = (1 if len(said) <= width and said.isascii() else len(spans(said, width))) if said else 0
            starts.append(starts[-1] + lead(index) + rows)

    def truncate(self, count: int) -> None:
        """Forget the texts from `count` on: they changed, or are gone."""
        if count < self.count:
            del self._starts[count + 1 :]
            for index in [index for index in self._rows if index >= count]:
                del self._rows[index]

    def at(self, row: int) -> tuple[int, int]:
        """The text at a row, and which of its rows that is (negative in the empty rows above it)."""
        index = min(max(bisect_right(self._starts, row) - 1, 0), max(self.count - 1, 0))
        return index, row - self._starts[index] - self._lead(index)

    def start(self, index: int) -> int:
        """The first row of a text, after its empty rows."""
        return self._starts[index] + self._lead(index)

    def end(self, index: int) -> int:
        """The row after a text."""
        return self._starts[index + 1]

    def rows(self, index: int) -> list[tuple[int, int]]:
        """Where each row of a text starts and ends in it."""
        rows = self._rows.get(index)
        if rows is None:
            rows = self._rows[index] = spans(self._text(index), self._width)
            if len(self._rows) > _KEPT:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(index)
        return rows
