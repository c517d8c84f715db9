"""Tell by punctuation where a sentence ends. In: text. Out: yes or no. No audio, no I/O."""

from __future__ import annotations

from typing import Final

_ENDS: Final = ".?!。？！؟।｡"
_TRAILS: Final = ("...", "…", "..")
_CLOSING: Final = "\"'”’»)]}」』） \u00a0\u202f"
"""With the spaces that French puts before them."""
_SHORT: Final = {"mr", "mrs", "ms", "dr", "st", "jr", "sr", "vs", "etc", "prof", "gen", "col", "capt", "lt", "no"}
"""Abbreviations, in lower case, that a full stop follows in mid-sentence."""


def ends_sentence(text: str) -> bool:
    """Whether the text ends where a sentence does. One that trails off does not."""
    bare = text.rstrip().rstrip(_CLOSING)
    if not bare or bare.endswith(_TRAILS) or bare[-1] not in _ENDS:
        return False
    words = bare[:-1].split()
    return bare[-1] != "." or not words or words[-1].casefold().rstrip(".") not in _SHORT
