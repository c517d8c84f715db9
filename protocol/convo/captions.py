"""Cuts a transcript into captions: what stands on the screen at once, and for how long.

In: segments, with or without the times of their words. Out: captions of one or two lines that never overlap.
This module writes no file format and never changes a word; where times cannot satisfy every rule, the order of
words and the length of a caption win over the exact moment.

The limits are the usual ones for subtitles: 42 columns in two lines (21 characters of a wide script, which take
two columns each), 1 to 7 seconds, and at most 20 characters a second; see the Netflix Timed Text Style Guide, sections
"Line treatment", "Duration" and "Reading speed".
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from .messages import Segment, Word
from .text import columns_of, width
from .transcript import one_line

COLUMNS = 42
LINES = 2
SHORTEST_MS = 1000
LONGEST_MS = 7000
CHARACTERS_A_SECOND = 20

_LATEST_S = 1e8  # three years: what comes later is no time, and too long to compute with

_ARROW = re.compile(r"-{2,}>")  # "-->" means something in SubRip and WebVTT

_SENTENCE_ENDS = tuple(".!?…。！？؟۔।॥")
_CLAUSE_ENDS = tuple(",;:–—、，；：،؛")
_CLOSERS = "\"')]}»”’」』）】〉》"
_NEVER_FIRST = frozenset((*_SENTENCE_ENDS, *_CLAUSE_ENDS, *_CLOSERS, *"ー々・ゝヽぁぃぅぇぉっゃゅょァィゥェォッャュョ"))
"""Characters of which none begins a line."""
_NEVER_LAST = frozenset("([{«“‘「『（〔【〈《")
"""Characters after which no line ends."""
_JOINS = "\u200d"  # what stands on both sides of it is one picture
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff\uffa0-\uffdc]")
"""Wide like its neighbours, but written with spaces: its words are not cut."""
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff]")
_HIRAGANA = re.compile("[\u3041-\u309f]")
_WIDE_LETTER = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
"""Latin letters and digits of the width of their neighbours. A row of them, or of katakana, is a word."""

# What a cut costs. One caption more is worse than any place to cut, so text is not scattered; among the ways that
# need the same number, the ends of sentences and clauses win, then captions of about the same length.
_COST_CAPTION = 100.0
_COST_CLAUSE = 8.0
_COST_WORD = 25.0
_COST_INSIDE = 45.0
_COST_UNEVEN = 20.0
_COST_TOO_SHORT = 40.0


@dataclass(frozen=True)
class Caption:
    """What is shown from `start_ms` until `end_ms`: one or two lines, none of them empty.

    `speakers`: who says each line, None for what nobody knows, which is the default.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speakers: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.speakers:
            object.__setattr__(self, "speakers", (None,) * len(self.lines))


@dataclass(frozen=True)
class _Token:
    """A piece of text that is not cut: a word, or one character of a wide script."""

    text: str
    width: int
    spaced: bool  # a space stands before it, unless it begins a line
    start_ms: int
    end_ms: int


def captions(segments: Iterable[Segment]) -> list[Caption]:
    """All captions of a transcript, see `each_caption`."""
    return list(each_caption(segments))


def each_caption(segments: Iterable[Segment]) -> Iterator[Caption]:
    """The captions of a transcript, in order: each lasts 1 to 7 seconds, none overlaps another.

    A caption that would be shorter than a second, or too short to be read, stays for as long as it needs; the next one
    then begins when it ends, or joins it if there is space.
    """
    shown: list[Caption] = []
    for segment in segments:
        for tokens in _cut(_tokens(segment)):
            _show(shown, tokens, segment.speaker)
        # Only the last one may be changed by what follows.
        yield from shown[:-1]
        del shown[:-1]
    yield from shown


# --- text and time ----------------------------------------------------------------------------------------


def _tokens(segment: Segment) -> list[_Token]:
    text = _ARROW.sub("->", one_line(segment.text))
    clock = _Clock(text, segment)
    tokens: list[_Token] = []
    for word in re.finditer(r"\S+", text):
        spaced = bool(tokens)
        at = word.start()
        for piece in _pieces(word.group()):
            end = at + len(piece)
            token = _Token(piece, width(piece), spaced, clock.at(at), clock.at(end))
            if spaced and _NEVER_FIRST.issuperset(piece) and tokens[-1].width + 1 + token.width <= COLUMNS:
                # A mark that stands alone, as before a French question mark, goes with the word before it.
                last = tokens.pop()
                token = _Token(
                    f"{last.text} {piece}", last.width + 1 + token.width, last.spaced, last.start_ms, token.end_ms
                )
            tokens.append(token)
            at, spaced = end, False
    return tokens


def _pieces(word: str) -> Iterator[str]:
    """A word, cut where its script allows it, and where it is longer than a line."""
    piece, columns = "", 0
    for char in word:
        size = columns_of(char)
        if piece and ((_parts(piece[-1], char) and size) or columns + size > COLUMNS):
            yield piece
            piece, columns = "", 0
        piece += char
        columns += size
    if piece:
        yield piece


def _parts(one: str, other: str) -> bool:
    """Whether a line may end between two characters of a word."""
    if other in _NEVER_FIRST or one in _NEVER_LAST or one == _JOINS or unicodedata.category(other)[0] == "M":
        return False
    if any(kind.match(one) and kind.match(other) for kind in (_KATAKANA, _WIDE_LETTER)):
        return False
    return any(columns_of(char) == 2 and not _HANGUL.match(char) for char in (one, other))


class _Clock:
    """Tells when a character is spoken: by the times of the words found, evenly between them."""

    def __init__(self, text: str, segment: Segment) -> None:
        start = _ms(segment.start)
        end = max(_ms(segment.end), start)
        self._places = [0]
        self._times = [start]
        found = 0
        for word in segment.words or ():
            found = self._add(text, word, found, end)
        if self._places[-1] < max(len(text), 1):
            self._places.append(max(len(text), 1))
            self._times.append(end)

    def _add(self, text: str, word: Word, after: int, latest: int) -> int:
        spoken = one_line(word.word)
        place = text.find(spoken, after) if spoken else -1
        if place < 0:
            return after
        for at, time in ((place, word.start), (place + len(spoken), word.end)):
            if at > self._places[-1]:
                self._places.append(at)
                self._times.append(min(max(_ms(time), self._times[-1]), latest))
            elif at == 0:
                self._times[0] = min(max(_ms(time), self._times[0]), latest)
        return place + len(spoken)

    def at(self, place: int) -> int:
        """Milliseconds at which the character at `place` begins."""
        after = min(bisect_right(self._places, place), len(self._places) - 1)
        before = after - 1
        passed = place - self._places[before]
        rate = (self._times[after] - self._times[before]) / (self._places[after] - self._places[before])
        return min(self._times[before] + round(passed * rate), self._times[after])


def _ms(seconds: float) -> int:
    return round(min(max(seconds, 0.0), _LATEST_S) * 1000) if isfinite(seconds) else 0


# --- cutting ----------------------------------------------------------------------------------------------


def _cut(tokens: Sequence[_Token]) -> Iterator[Sequence[_Token]]:
    """The cheapest way to cut tokens into captions that fit, found from the front to the back."""
    line_ends = _line_ends(tokens)
    cheapest = [0.0] + [float("inf")] * len(tokens)
    begins = [0] * (len(tokens) + 1)
    for first in range(len(tokens)):
        columns = -tokens[first].spaced
        # A first line as long as can be leaves the least for the second: what does not fit so never fits.
        for last in range(first, line_ends[line_ends[first]]):
            lasts = tokens[last].end_ms - tokens[first].start_ms
            if lasts > LONGEST_MS and last > first:
                break
            columns += tokens[last].width + tokens[last].spaced
            cost = cheapest[first] + _cost(columns, lasts)
            if last + 1 < len(tokens):
                cost += _break_cost(tokens[last], tokens[last + 1])
            if cost < cheapest[last + 1]:
                cheapest[last + 1], begins[last + 1] = cost, first
    cuts = [len(tokens)]
    while cuts[-1] > 0:
        cuts.append(begins[cuts[-1]])
    cuts.reverse()
    for first, end in pairwise(cuts):
        yield tokens[first:end]


def _line_ends(tokens: Sequence[_Token]) -> list[int]:
    """For each token, and for the end: where the line that begins with it is full."""
    ends: list[int] = []
    end = columns = 0
    for first, token in enumerate(tokens):
        if end == first:
            columns, end = token.width, first + 1
        while end < len(tokens) and columns + tokens[end].width + tokens[end].spaced <= COLUMNS:
            columns += tokens[end].width + tokens[end].spaced
            end += 1
        ends.append(end)
        # Without this token the line begins with the next one, and without the space before it.
        columns -= token.width + (tokens[first + 1].spaced if first + 1 < end else 0)
    return [*ends, len(tokens)]


def _cost(columns: int, lasts_ms: int) -> float:
    empty = 1 - min(columns / (COLUMNS * LINES), 1)
    cost = _COST_CAPTION + _COST_UNEVEN * empty * empty
    return cost + _COST_TOO_SHORT if lasts_ms < SHORTEST_MS else cost


def _break_cost(token: _Token, following: _Token) -> float:
    text = token.text.rstrip(_CLOSERS)
    if text.endswith(_SENTENCE_ENDS):
        return 0
    if text.endswith(_CLAUSE_ENDS):
        return _COST_CLAUSE
    if following.spaced or _begins_word(token.text[-1], following.text[0]):
        return _COST_WORD
    return _COST_INSIDE


def _begins_word(one: str, other: str) -> bool:
    """Whether a word seems to begin between two characters without a space: Japanese words end in hiragana, which are
    their endings and particles, and what is borrowed is in another script.
    """
    if _HIRAGANA.match(other):
        return False
    return any(bool(kind.match(one)) is not bool(kind.match(other)) for kind in (_HIRAGANA, _KATAKANA, _WIDE_LETTER))


def _columns(tokens: Sequence[_Token]) -> int:
    return sum(token.width + token.spaced for token in tokens) - tokens[0].spaced


def _lines(tokens: Sequence[_Token]) -> tuple[str, ...] | None:
    """The tokens in one line, or two of about the same length; None if they need more."""
    whole = _columns(tokens)
    if whole <= COLUMNS:
        return (_line(tokens),)
    best: tuple[float, int] | None = None
    upper = 0
    for cut in range(1, len(tokens)):
        upper += tokens[cut - 1].width + (tokens[cut - 1].spaced and cut > 1)
        lower = whole - upper - tokens[cut].spaced
        if upper <= COLUMNS and lower <= COLUMNS:
            cost = abs(upper - lower) + _break_cost(tokens[cut - 1], tokens[cut]) / 2
            if best is None or cost < best[0]:
                best = (cost, cut)
    if best is None:
        return None
    return _line(tokens[: best[1]]), _line(tokens[best[1] :])


def _line(tokens: Sequence[_Token]) -> str:
    return "".join(" " * (token.spaced and at > 0) + token.text for at, token in enumerate(tokens))


# --- showing ----------------------------------------------------------------------------------------------


def _show(shown: list[Caption], tokens: Sequence[_Token], speaker: int | None) -> None:
    lines = _lines(tokens)
    assert lines is not None, "a token is never wider than a line"
    start, end = tokens[0].start_ms, tokens[-1].end_ms
    if shown and start < shown[-1].end_ms:
        before = shown[-1]
        joined = before.lines + lines
        until = max(before.end_ms, end, before.start_ms + _readable_ms(joined))
        if len(joined) <= LINES and until - before.start_ms <= LONGEST_MS:
            shown[-1] = Caption(before.start_ms, until, joined, before.speakers + (speaker,) * len(lines))
            return
        start = before.end_ms
    end = min(max(end, start + _readable_ms(lines)), start + LONGEST_MS)
    shown.append(Caption(start, end, lines, (speaker,) * len(lines)))


def _readable_ms(lines: tuple[str, ...]) -> int:
    """How long a caption must be there at least; marks above and below a character are read with it."""
    characters = sum(columns_of(char) > 0 for line in lines for char in line)
    return max(SHORTEST_MS, -(-1000 * characters // CHARACTERS_A_SECOND))
