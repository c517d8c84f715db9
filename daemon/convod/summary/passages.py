"""Tell which segments of talks a question is about.

In: a question, texts. Out: queries for a full-text index, and texts that have the question's words, ranked. Words are
compared by their beginnings, so that "decide" finds "decided"; scripts without spaces by pairs of characters (`words`).
It does no I/O, and does not understand the question: one in another language than the talk finds only names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from typing import Final

from convod.summary.words import is_function_word, weigh

TERMS: Final = 12
"""Most words of a question that are looked for; the longest."""

_SHORTEST: Final = 5
_HIRAGANA: Final = re.compile("[\u3040-\u309f]+")


def stems(text: str) -> list[str]:
    """The words of a text without what may be their endings."""
    return [term[: max(_SHORTEST, len(term) - 2)] for term in weigh(text)[0]]


def terms_of(question: str) -> list[str]:
    """The stems that a question is about, without function words; all of them if nothing else is left."""
    words = weigh(question)[0]
    telling = [word for word in words if not is_function_word(word) and not _HIRAGANA.fullmatch(word)]
    found = dict.fromkeys(term for word in telling or words for term in stems(word))
    longest = sorted(found, key=len, reverse=True)[:TERMS]
    return [term for term in found if term in longest]


def queries(terms: Sequence[str]) -> list[str]:
    """What to search for, the narrowest first: all terms, all but one, each alone."""
    narrow = [" ".join(terms)]
    if 3 <= len(terms) <= 6:
        narrow += [" ".join(term for term in terms if term != left_out) for left_out in terms]
    return list(dict.fromkeys([*narrow, *terms]))


def matches(terms: Sequence[str], texts: Sequence[str]) -> list[int]:
    """For each text, which of the terms it has: a bit each, the first term's the lowest."""
    bits = {term: 1 << place for place, term in enumerate(terms)}
    masks = []
    for text in texts:
        mask = 0
        for stem in stems(text):
            mask |= bits.get(stem, 0)
        masks.append(mask)
    return masks


def rank(masks: Sequence[int], count: int) -> list[int]:
    """Places of the texts that have any term, best first: rare terms count more, and several more than one.

    Args:
        masks: of all texts that were looked at (`matches`).
        count: how many terms there are.
    """
    have = [sum(mask >> term & 1 for mask in masks) for term in range(count)]
    weights = [log(1 + len(masks) / number) if number else 0.0 for number in have]
    scores = {
        mask: sum(weight for term, weight in enumerate(weights) if mask >> term & 1) * mask.bit_count()
        for mask in set(masks)
    }
    return sorted((place for place, mask in enumerate(masks) if mask), key=lambda place: -scores[masks[place]])
