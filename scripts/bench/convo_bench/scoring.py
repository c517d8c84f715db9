"""Compare a transcript with the truth, the same way for every side of a comparison.

In: texts and their language. Out: the units that are counted, alignments, errors. It reads no audio and no files.

A unit is a word; in languages written without spaces it is a character. Before anything is counted, all sides are
normalised: compatibility forms folded (NFKC), lower case, no punctuation, hyphens and dashes as spaces, apostrophes
kept inside words. English words that people spell in two ways become one (`_SPELLINGS`). Numbers stay as they are
written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rapidfuzz.distance import Levenshtein

WITHOUT_SPACES: Final = frozenset({"ja", "zh", "yue", "th", "lo", "my", "km"})
"""Languages in which characters are counted."""

_SPELLINGS: Final = {"mister": "mr", "missus": "mrs", "doctor": "dr", "okay": "ok"}
_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u2018": "'", "`": "'"})
_DASHES: Final = frozenset({"Pd"})


def unit(language: str) -> str:
    """What is counted in a language: `word` or `character`."""
    return "character" if language in WITHOUT_SPACES else "word"


def units(text: str, language: str = "en") -> list[str]:
    """The normalised words of a text, or its characters where a language has no spaces."""
    words = _words(text)
    if language in WITHOUT_SPACES:
        return characters(words)
    return [_SPELLINGS.get(word, word) for word in words] if language == "en" else words


def characters(words: Iterable[str]) -> list[str]:
    """The characters of normalised words, one after the other."""
    return [character for word in words for character in word]


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    spaced = "".join(_kept(character) for character in folded)
    return [word for piece in spaced.split() if (word := piece.strip("'"))]


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category in _DASHES or character.isspace():
        return " "
    return character if category[0] in "LMN" or character == "'" else ""


@dataclass(frozen=True)
class Score:
    """Errors against `said` units of truth."""

    said: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.said + other.said,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def errors(self) -> int:
        """All errors: the Levenshtein distance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """The word (or character) error rate in percent."""
        return 100 * self.errors / max(1, self.said)


@dataclass(frozen=True)
class Alignment:
    """What became of each unit of truth.

    Attributes:
        places: for each unit the place of the same unit in the hypothesis, None if it is not there.
        deleted: for each unit whether nothing stands in its place.
        score: the errors.
    """

    places: tuple[int | None, ...]
    deleted: tuple[bool, ...]
    score: Score


def align(said: Sequence[str], shown: Sequence[str]) -> Alignment:
    """Align a hypothesis with the truth at the least Levenshtein distance."""
    places: list[int | None] = [None] * len(said)
    deleted = [False] * len(said)
    substitutions = insertions = 0
    for change in Levenshtein.opcodes(said, shown):
        if change.tag == "equal":
            places[change.src_start : change.src_end] = range(change.dest_start, change.dest_end)
        elif change.tag == "delete":
            deleted[change.src_start : change.src_end] = [True] * (change.src_end - change.src_start)
        elif change.tag == "insert":
            insertions += change.dest_end - change.dest_start
        else:
            substitutions += change.src_end - change.src_start
    score = Score(len(said), substitutions, sum(deleted), insertions)
    return Alignment(tuple(places), tuple(deleted), score)
