"""A summary without a model: the talk's own sentences, chosen and put in order.

In: a talk in any language. Out: a draft. The same talk gives the same draft on every machine; nothing is
downloaded, and no word is in it that nobody said. It never writes a sentence of its own.

Ranking is TextRank (Mihalcea & Tarau 2004): a random walk over sentences that are linked by what they share. As in
LexRank (Erkan & Radev 2004) the weight of a link is the cosine of tf-idf vectors. That makes the matrix of links
X Xᵀ (less its diagonal), X being sentences by terms, so a step of the walk is two products with X and the matrix is
never built: a step costs as much as the talk has terms, where the graph of 10,000 sentences has 50 million links.
Sentences are taken by maximal marginal relevance (Carbonell & Goldstein 1998), so that none says another again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

from convo.messages import ActionItem

from .actions import action_item
from .base import Talk
from .parse import ITEM_CHARS, SUMMARY_CHARS, TITLE_CHARS, Draft
from .text import block, clip, line, safe
from .words import is_function_word, keywords, sentences, terms

_DAMPING = 0.85
"""Of the walk, as in TextRank."""
_STEPS = 30
_SETTLED = 1e-4
"""The walk ends when no more than this part of all weight still moves."""
_RELEVANCE = 0.7
"""Lambda of maximal marginal relevance: 1 is rank alone, 0 is novelty alone."""
_TERMS = 16
"""Terms of a sentence that count, the rarest: a sentence without an end must not cost without an end."""
_CANDIDATES = 150
_KEYWORDS = 8
_ACTIONS = 20
_WHOLE = 3
"""A talk of so few sentences is its own summary."""

_LENGTHS = {"brief": (3, 5), "minutes": (5, 8), "bullets": (6, 4), "lecture": (6, 8), "consultation": (5, 6)}
"""Sentences of the summary and key points, at most, by style."""

Vector = dict[str, float]


@dataclass(frozen=True)
class _Sentence:
    text: str
    vector: Vector
    weight: float
    """How much the length of the sentence counts for it, 0 to 1."""


def extract(talk: Talk, style: str = "brief") -> Draft:
    """The draft of a talk; it takes well under a second for an hour of talk, so call it in a thread.

    Styles that are not known are read as "brief".
    """
    said = [text for segment in talk.segments for text in sentences(safe(segment.text))]
    most, points = _LENGTHS.get(style, _LENGTHS["brief"])
    words = keywords(said, _KEYWORDS)
    ranked = _ranked(said)
    # A short talk gets a short summary: about every third sentence, and as many key points again.
    most = min(most, max(1, round(len(ranked) / 3)))
    if len(ranked) <= _WHOLE:
        most, points = len(ranked), 0
    picked = _diverse(ranked, most + min(points, len(ranked) // 3))
    summary = [ranked[index][1] for index in sorted(picked[:most], key=lambda at: ranked[at][0])]
    rest = [ranked[index][1] for index in sorted(picked[most:], key=lambda at: ranked[at][0])]
    lines = [clip(sentence.text, ITEM_CHARS) for sentence in summary]
    text = "\n".join(f"- {row}" for row in lines) if style == "bullets" else _joined(lines)
    return Draft(
        title=_title(words, lines),
        summary=block(text, SUMMARY_CHARS),
        key_points=[line(sentence.text, ITEM_CHARS) for sentence in rest],
        action_items=_actions(said),
        keywords=words,
    )


def _title(words: Sequence[str], lines: Sequence[str]) -> str:
    """The first keywords; without any, the first sentence that was chosen."""
    if words:
        title = ", ".join(words[:3])
        return line(title[0].upper() + title[1:], TITLE_CHARS)
    return line(lines[0], 60) if lines else ""


def _joined(lines: Sequence[str]) -> str:
    """Sentences in a row; scripts without spaces end theirs with a mark that brings its own."""
    text = ""
    for row in lines:
        text += row if not text or text[-1] in "。！？" else f" {row}"
    return text


def _actions(said: Sequence[str]) -> list[ActionItem]:
    found: dict[str, ActionItem] = {}
    for text in said:
        item = action_item(text)
        if item is not None:
            found.setdefault(item.text.casefold(), item)
        if len(found) == _ACTIONS:
            break
    return list(found.values())


def _ranked(said: Sequence[str]) -> list[tuple[int, _Sentence, float]]:
    """Sentences worth telling, best first: position in the talk, sentence, rank (the best has 1)."""
    kept = _vectors(said)
    ranks = _walk([sentence.vector for _, sentence in kept])
    scored = [(ranks[at] * sentence.weight, place, sentence) for at, (place, sentence) in enumerate(kept)]
    # Rounded, because the order of a sum in floating point must not decide between equals.
    scored.sort(key=lambda entry: (-round(entry[0], 9), entry[1]))
    best = scored[0][0] if scored else 1.0
    return [(place, sentence, score / best if best else 0.0) for score, place, sentence in scored]


def _vectors(said: Sequence[str]) -> list[tuple[int, _Sentence]]:
    """Unit vectors of tf-idf by position. Sentences said before, word by word, are left out."""
    bags: dict[str, tuple[int, Counter[str]]] = {}
    for place, text in enumerate(said):
        bags.setdefault(text.casefold(), (place, Counter(terms(text))))
    frequency: Counter[str] = Counter()
    for _, bag in bags.values():
        frequency.update(bag.keys())
    total = len(bags)
    idf = {term: 0.0 if is_function_word(term) else math.log(1.0 + total / count) for term, count in frequency.items()}
    kept = []
    for place, bag in bags.values():
        entries = sorted(((-count * idf[term], term) for term, count in bag.items()))[:_TERMS]
        norm = math.sqrt(sum(value * value for value, _ in entries))
        vector = {term: -value / norm for value, term in entries if value} if norm else {}
        size = sum(bag.values())
        # Greetings and yeses are short; a sentence that does not end is a list or a recogniser's mistake.
        weight = min(1.0, len(vector) / 4) * min(1.0, 60 / max(1, size))
        kept.append((place, _Sentence(said[place], vector, weight)))
    return kept


def _walk(rows: Sequence[Vector]) -> list[float]:
    """Weight of each sentence in the random walk; the sum is 1. Sentences without links keep the least."""
    count = len(rows)
    if not count:
        return []
    shared: Counter[str] = Counter()
    for row in rows:
        shared.update(row.keys())
    numbers = {term: at for at, term in enumerate(term for term, n in shared.items() if n > 1)}
    # Only shared terms link. Rows as parallel lists: this is the inner loop of the whole room.
    links = [([numbers[t] for t in row if t in numbers], [v for t, v in row.items() if t in numbers]) for row in rows]
    own = [sum(v * v for v in values) for _, values in links]
    degrees = _step(links, own, [1.0] * count, len(numbers))
    out = [1.0 / degree if degree > 1e-9 else 0.0 for degree in degrees]
    ranks = [1.0 / count] * count
    for _ in range(_STEPS):
        spread = [rank * share for rank, share in zip(ranks, out, strict=True)]
        heard = _step(links, own, spread, len(numbers))
        least = (1.0 - _DAMPING * sum(heard)) / count
        new = [least + _DAMPING * value for value in heard]
        moved = sum(abs(a - b) for a, b in zip(new, ranks, strict=True))
        ranks = new
        if moved < _SETTLED:
            break
    return ranks


def _step(
    links: Sequence[tuple[list[int], list[float]]], own: Sequence[float], weights: Sequence[float], terms_count: int
) -> list[float]:
    """(X Xᵀ - diagonal) times `weights`."""
    by_term = [0.0] * terms_count
    for (numbers, values), weight in zip(links, weights, strict=True):
        for number, value in zip(numbers, values, strict=True):
            by_term[number] += value * weight
    at = by_term.__getitem__
    return [
        sum(map(mul, values, map(at, numbers))) - self_link * weight
        for (numbers, values), self_link, weight in zip(links, own, weights, strict=True)
    ]


def _diverse(ranked: Sequence[tuple[int, _Sentence, float]], most: int) -> list[int]:
    """Indices of `most` sentences by maximal marginal relevance, in the order in which they were taken."""
    pool = list(range(min(len(ranked), _CANDIDATES)))
    nearest = dict.fromkeys(pool, 0.0)
    picked: list[int] = []
    while pool and len(picked) < most:
        best = max(pool, key=lambda at: (_RELEVANCE * ranked[at][2] - (1 - _RELEVANCE) * nearest[at], -at))
        picked.append(best)
        pool.remove(best)
        for at in pool:
            nearest[at] = max(nearest[at], _cosine(ranked[best][1].vector, ranked[at][1].vector))
    return picked


def _cosine(one: Vector, other: Vector) -> float:
    return sum(value * other[term] for term, value in one.items() if term in other)
