"""Large letters made of block characters, for reading from across a room.

In: text. Out: rows of block characters, in one of three sizes. A `Face` has the letters, on a grid of pixels. Our own,
`LATIN`: capitals are seven high, and descenders take two more; an accented letter is the letter plus its accent. Text
with characters that no face has is shown as ordinary text by the caller.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

HEIGHT = 10  # pixels per line: seven for capitals, two for descenders, one between lines

# One letter per line: the letter, then its rows from the top, without trailing empty ones.
_ART = """\
A .##. #..# #..# #### #..# #..# #..#
B ###. #..# #..# ###. #..# #..# ###.
C .### #... #... #... #... #... .###
D ###. #..# #..# #..# #..# #..# ###.
E #### #... #... ###. #... #... ####
F #### #... #... ###. #... #... #...
G .### #... #... #.## #..# #..# .###
H #..# #..# #..# #### #..# #..# #..#
I ### .#. .#. .#. .#. .#. ###
J ..## ...# ...# ...# ...# #..# .##.
K #..# #..# #.#. ##.. #.#. #..# #..#
L #... #... #... #... #... #... ####
M #...# ##.## #.#.# #.#.# #...# #...# #...#
N #..# ##.# ##.# #.## #.## #..# #..#
O .##. #..# #..# #..# #..# #..# .##.
P ###. #..# #..# ###. #... #... #...
Q .##. #..# #..# #..# #..# #.#. .#.#
R ###. #..# #..# ###. #.#. #..# #..#
S .### #... #... .##. ...# ...# ###.
T ##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..
U #..# #..# #..# #..# #..# #..# .##.
V #...# #...# #...# #...# .#.#. .#.#. ..#..
W #...# #...# #...# #.#.# #.#.# ##.## #...#
X #...# #...# .#.#. ..#.. .#.#. #...# #...#
Y #...# #...# .#.#. ..#.. ..#.. ..#.. ..#..
Z #### ...# ..#. .#.. #... #... ####
a .... .... .##. ...# .### #..# .###
b #... #... ###. #..# #..# #..# ###.
c ... ... .## #.. #.. #.. .##
d ...# ...# .### #..# #..# #..# .###
e .... .... .##. #..# #### #... .###
f .## #.. ### #.. #.. #.. #..
g .... .... .### #..# #..# #..# .### ...# .##.
h #... #... ###. #..# #..# #..# #..#
i # . # # # # #
j .# .. .# .# .# .# .# .# #.
k #... #... #..# #.#. ##.. #.#. #..#
l #. #. #. #. #. #. .#
m ..... ..... ####. #.#.# #.#.# #.#.# #.#.#
n .... .... ###. #..# #..# #..# #..#
o .... .... .##. #..# #..# #..# .##.
p .... .... ###. #..# #..# #..# ###. #... #...
q .... .... .### #..# #..# #..# .### ...# ...#
r ... ... #.# ##. #.. #.. #..
s .... .... .### #... .##. ...# ###.
t .#. .#. ### .#. .#. .#. ..#
u .... .... #..# #..# #..# #..# .###
v ..... ..... #...# #...# .#.#. .#.#. ..#..
w ..... ..... #...# #.#.# #.#.# #.#.# .#.#.
x .... .... #..# #..# .##. #..# #..#
y .... .... #..# #..# #..# #..# .### ...# .##.
z .... .... #### ..#. .#.. #... ####
0 .##. #..# #.## ##.# #..# #..# .##.
1 .#. ##. .#. .#. .#. .#. ###
2 .##. #..# ...# ..#. .#.. #... ####
3 ###. ...# ...# .##. ...# ...# ###.
4 ...# ..## .#.# #..# #### ...# ...#
5 #### #... ###. ...# ...# #..# .##.
6 .##. #... #... ###. #..# #..# .##.
7 #### ...# ..#. ..#. .#.. .#.. .#..
8 .##. #..# #..# .##. #..# #..# .##.
9 .##. #..# #..# .### ...# ...# .##.
. . . . . . . #
, .. .. .. .. .. .# .# #.
: . . . # . . #
; .. .. .. .# .. .# .# #.
! # # # # # . #
? ##. ..# ..# .#. .#. ... .#.
' # # .
" #.# #.#
- ... ... ... ###
+ ..... ..... ..#.. ..#.. ##### ..#.. ..#..
= .... .... .... #### .... ####
_ .... .... .... .... .... .... .... ####
/ ...# ...# ..#. ..#. .#.. #... #...
\\ #... #... .#.. ..#. ..#. ...# ...#
( .# #. #. #. #. #. .#
) #. .# .# .# .# .# #.
[ ## #. #. #. #. #. ##
] ## .# .# .# .# .# ##
{ .## .#. .#. #.. .#. .#. .##
} ##. .#. .#. ..# .#. .#. ##.
< ..# .#. .#. #.. .#. .#. ..#
> #.. .#. .#. ..# .#. .#. #..
| # # # # # # # # #
# .#.#. .#.#. ##### .#.#. ##### .#.#. .#.#.
$ ..#.. .#### #.#.. .###. ..#.# ####. ..#..
% ##..# ##..# ...#. ..#.. .#... #..## #..##
& .#.. #.#. #.#. .#.. #.#. #..# .##.#
* ..... #.#.# .###. ##### .###. #.#.#
@ .###. #...# #.### #.#.# #.### #.... .####
~ ..... ..... ..... .#..# #.##.
^ .#. #.#
` #. .#
ß .##. #..# #..# #.#. #..# #..# #.#.
æ ..... ..... ##.#. ..#.# .#### #.#.. .#.##
ø ..... ..... .###. #..## #.#.# ##..# .###.
€ ..## .#.. #### .#.. #### .#.. ..##
… ..... ..... ..... ..... ..... ..... #.#.#
– .... .... .... ####
— ..... ..... ..... #####
· . . . #
° .#. #.# .#.
¿ .#. ... .#. .#. #.. #.. .##
¡ # . # # # # #
"""
_ALIKE = {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "−": "-", "ı": "i", "đ": "d", "ł": "l"}
_ACCENTS = {
    "\u0300": ("#.", ".#"), "\u0301": (".#", "#."), "\u0302": (".#.", "#.#"), "\u0303": (".#.#", "#.#."),
    "\u0308": ("#.#",), "\u030a": (".#.", "#.#", ".#."), "\u030c": ("#.#", ".#."), "\u0304": ("###",),
    "\u0306": ("#.#", ".#."),
    "\u0307": ("#",),
}  # fmt: skip
_BELOW = {"\u0327": (".#", "#."), "\u0328": ("#.", ".#"), "\u0323": ("#",)}

_HALVES = " ▀▄█"
_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"


@dataclass(frozen=True, slots=True)
class Size:
    """A size of letters: cells per pixel across and rows per pixel down."""

    name: str
    across: float
    down: float


NARROW, MIDDLE, LARGE = Size("narrow", 0.5, 0.5), Size("middle", 1.0, 0.5), Size("large", 2.0, 1.0)


class Face(ABC):
    """Letters as pixels, an even number of them high. Lines of `enough` letters, `lines` of them, are readable."""

    height: int
    wide: int  # pixels of most letters
    enough: int
    lines: int

    @abstractmethod
    def letter(self, char: str) -> tuple[str, ...] | None:
        """A letter as rows of pixels, `height` of them; None if there is none."""

    @abstractmethod
    def wrap(self, text: str, width: int, size: Size) -> list[tuple[int, int]]:
        """Where each line of `width` cells starts and ends in a text."""

    def has(self, text: str) -> bool:
        """Whether there is a letter for every character."""
        return all(self.letter(char) is not None for char in text)

    def rows(self, size: Size) -> int:
        """The rows of a line."""
        return int(self.height * size.down)


def _parse() -> dict[str, tuple[str, ...]]:
    letters: dict[str, tuple[str, ...]] = {" ": ("..",)}
    for line in _ART.splitlines():
        name, *rows = line.split(" ")
        letters[name] = tuple(rows)
    return letters


_LETTERS = _parse()


@lru_cache(512)
def letter(char: str) -> tuple[str, ...] | None:
    """A letter as `HEIGHT` rows of pixels with an empty column after it; None if there is no such letter."""
    base, *marks = list(unicodedata.normalize("NFD", _ALIKE.get(char, char)) or " ")
    art = _LETTERS.get(base)
    if art is None:
        return None
    wide = len(art[0])
    rows = [row.ljust(wide, ".") for row in art] + ["." * wide] * (HEIGHT - len(art))
    for mark in marks:
        drawn = _ACCENTS.get(mark) or _BELOW.get(mark)
        if drawn is None:
            return None
        if mark in _BELOW:
            rows = _over(rows, drawn, 7)
        elif base.islower():
            if base in "ij":
                rows[0] = "." * wide
            rows = _over(rows, drawn[-2:] if len(drawn) > 2 else drawn, 0)
        else:
            # A capital shrinks to make room for its accent.
            rows = _over(
                ["." * wide, "." * wide, *rows[0:2], *rows[3:5], *rows[6:7], *rows[7:]][:HEIGHT], drawn[-2:], 0
            )
            rows += ["." * wide] * (HEIGHT - len(rows))
    return tuple(row + "." for row in rows)


def _over(rows: list[str], drawn: tuple[str, ...], top: int) -> list[str]:
    wide = max(len(rows[0]), len(drawn[0]))
    rows = [_centred(row, wide) for row in rows]
    for place, row in enumerate(drawn):
        pixels = zip(rows[top + place], _centred(row, wide), strict=True)
        rows[top + place] = "".join("#" if "#" in pair else "." for pair in pixels)
    return rows


def _centred(row: str, wide: int) -> str:
    before = (wide - len(row)) // 2
    return "." * before + row + "." * (wide - len(row) - before)


class Latin(Face):
    """What Europeans write with Latin letters."""

    height, wide, enough, lines = HEIGHT, 5, 16, 3

    def letter(self, char: str) -> tuple[str, ...] | None:
        """A letter."""
        return letter(char)

    def wrap(self, text: str, width: int, size: Size) -> list[tuple[int, int]]:
        """Where each line starts and ends. Only words longer than a line are cut."""
        lines: list[tuple[int, int]] = []
        start = 0
        while start < len(text):
            if text[start] == " ":
                start += 1
                continue
            end, used, space = start, 0.0, -1
            while end < len(text):
                drawn = letter(text[end])
                used += len(drawn[0]) * size.across if drawn is not None else 0
                if used > width + size.across:  # the empty column after the last letter may be cut off
                    break
                if text[end] == " ":
                    space = end
                end += 1
            if end < len(text) and text[end] != " " and space > start:
                end = space
            end = max(end, start + 1)
            lines.append((start, end))
            start = end
        return lines


LATIN = Latin()


def draw(text: str, size: Size, face: Face = LATIN) -> list[str]:
    """Draw a text as rows of block characters."""
    letters = [drawn for char in text if (drawn := face.letter(char)) is not None]
    pixels = ["".join(drawn[row] for drawn in letters) for row in range(face.height)]
    if size is LARGE:
        return ["".join("██" if pixel == "#" else "  " for pixel in row) for row in pixels]
    rows = []
    for row in range(0, face.height, 2):
        upper, lower = pixels[row], pixels[row + 1]
        if size is MIDDLE:
            rows.append("".join(_HALVES[(up == "#") + 2 * (low == "#")] for up, low in zip(upper, lower, strict=True)))
            continue
        if len(upper) % 2:
            upper, lower = upper + ".", lower + "."
        row_cells = []
        for at in range(0, len(upper), 2):
            number = (
                (upper[at] == "#") + 2 * (upper[at + 1] == "#") + 4 * (lower[at] == "#") + 8 * (lower[at + 1] == "#")
            )
            row_cells.append(_QUADRANTS[number])
        rows.append("".join(row_cells))
    return rows
