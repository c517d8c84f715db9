"""Puts texts of segments together.

In: texts in their order. Out: one text. This module knows no language, only scripts.
"""

from __future__ import annotations

from collections.abc import Iterable


def joined(texts: Iterable[str]) -> str:
    """Join texts: with a space, but for scripts that have none between sentences."""
    return "".join(pieces(texts))


def pieces(texts: Iterable[str]) -> Iterable[str]:
    """Yield texts, each with what stands between it and the one before."""
    before = ""
    for each in texts:
        text = each.strip()
        if not text:
            continue
        yield gap(before, text) + text
        before = text


def gap(before: str, text: str) -> str:
    """Return what stands between two texts."""
    if not before or not text:
        return ""
    return "" if _unspaced(before[-1]) or _unspaced(text[0]) else " "


def _unspaced(char: str) -> bool:
    """Whether a character is of a script without spaces: kana, Chinese characters, and their punctuation."""
    return "\u3000" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef"
