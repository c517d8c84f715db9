"""A summary without a model: the talk's own sentences, chosen and put in order.

In: a talk in any language, or what is new of one. Out: a draft whose every point has its segment. The same talk gives
the same draft on every machine; nothing is downloaded, and it has no word that was not said, but the labels of a
style. It never writes a sentence of its own.

Ranking is TextRank (Mihalcea & Tarau 2004): a random walk over sentences that are linked by what they share. As in
LexRank (Erkan & Radev 2004) the weight of a link is the cosine of tf-idf vectors. That makes the matrix of links
X Xᵀ (less its diagonal), X being sentences by terms, so a step of the walk is two products with X and the matrix is
never built: a step costs as much as the talk has terms, where the graph of 10,000 sentences has 50 million links.
Sentences are taken by maximal marginal relevance (Carbonell & Goldstein 1998), so that none says another again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Final

import msgspec

from convo.messages import ActionItem, Section, Segment
from convod.summary.actions import TEXT_CHARS, action_item
from convod.summary.cues import consultation_field, is_about_the_call, is_decision, is_open, leans_on_another
from convod.summary.parse import ITEM_CHARS, SECTION_CHARS, SUMMARY_CHARS, TITLE_CHARS, Draft, joined
from convod.summary.promises import UNKNOWN, Names, name_of
from convod.summary.styles import Style
from convod.summary.text import block, clip, line, safe
from convod.summary.words import fluent, is_function_word, keywords, says_nothing, sentences, weigh

_DAMPING: Final = 0.85
"""Damping factor of the walk, as in TextRank."""
STEPS: Final = 30
_SETTLED: Final = 1e-4
"""The walk ends when at most this part of all weight still moves."""
_RELEVANCE: Final = 0.7
"""Lambda of maximal marginal relevance: 1 is rank alone, 0 is novelty alone."""
TERMS: Final = 16
"""Terms of a sentence that count, the rarest: the cost of an endless sentence must have an end."""
_CANDIDATES: Final = 150
_KEYWORDS: Final = 8
_ACTIONS: Final = 20
_WHOLE: Final = 3
"""A talk of so few sentences is its own summary."""

_DECISION_WEIGHT: Final = 1.3
"""Weight of a decision against other sentences."""
_QUESTION_WEIGHT: Final = 0.3
"""Weight of a question: it says less than its answer."""
_LEANING_WEIGHT: Final = 0.6
"""Weight of a sentence that refers to the one before it ("this is …")."""
_WORTH: Final = 0.05
"""A key point has at least this part of the best rank: greetings have none."""
_FIELD: Final = 8
"""Most sentences of a field."""
KEPT: Final = 200
"""Sentences that a digest of an unfinished talk keeps."""

_LENGTHS: Final = {"brief": (3, 5), "minutes": (5, 8), "bullets": (6, 4), "lecture": (6, 8), "consultation": (5, 6)}
"""Most sentences of the summary, and most key points, by style."""

Vector = dict[str, float]


@dataclass(frozen=True)
class _Sentence:
    text: str
    vector: Vector
    weight: float
    """How much the length of the sentence counts for it, 0 to 1."""


@dataclass(frozen=True)
class Said:
    """A sentence, the segment that it was said in, and who says it, if that is known."""

    text: str
    segment: int
    speaker: str | None = None


@dataclass(frozen=True)
class Digest:
    """A draft, and what a later one can continue from: the most important sentences, in the order of the talk."""

    draft: Draft
    kept: list[Said]


def said_in(segments: Sequence[Segment], names: Names = UNKNOWN) -> list[Said]:
    """Return the sentences of segments in order, safe and without hesitations."""
    return [
        Said(text, segment.segment, name_of(segment, names))
        for segment in segments
        for spoken in sentences(safe(segment.text))
        if (text := fluent(spoken))
    ]


def extract(
    segments: Sequence[Segment],
    style: Style,
    language: str = "",
    before: Digest | None = None,
    names: Names = UNKNOWN,
) -> Digest:
    """Write the draft of a talk in a style; `before` is a digest of what came before these segments, `names` what their
    speakers are called.

    It takes well under a second for an hour of talk, so call it in a thread. A style with fields of the user's own is
    read as one without: which sentence answers a question cannot be told by counting words.
    """
    said = [*(before.kept if before else ()), *said_in(segments, names)]
    texts = [sentence.text for sentence in said]
    most, points = _LENGTHS.get(style.name, _LENGTHS["brief"])
    words = keywords(texts, _KEYWORDS)
    ranked = _ranked(texts)
    # A short talk gets a short summary: about every third sentence, and as many key points again.
    most = min(most, max(1, round(len(ranked) / 3)))
    if len(ranked) <= _WHOLE:
        most, points = len(ranked), 0
    actions = _actions(said, before.draft.action_items if before else ())
    sections = _sections(style, language, ranked, said, {_key(item.text) for item in actions if item.owner})
    listed = {_key(row) for part in sections for row in part.text.split("\n")}
    if style.name == "minutes":
        actions = [item for item in actions if _key(item.text) not in listed]
    elsewhere = listed.union(_key(item.text) for item in actions)
    points = min(points, len(ranked) // 3)
    picked = _diverse(ranked, most + points + len(elsewhere))
    # What has a list of its own is not a key point, and not in the summary unless there is nothing else.
    free = [at for at in picked if _key(ranked[at][1].text) not in elsewhere]
    worth = [at for at in free if ranked[at][2] >= _WORTH]
    told = (free if sections else worth if len(worth) >= most else picked)[:most]
    lines = [clip(ranked[at][1].text, ITEM_CHARS) for at in sorted(told, key=lambda at: ranked[at][0])]
    text = "\n".join(f"- {row}" for row in lines) if style.name == "bullets" else _joined(lines)
    if sections and sections[0].name == "discussion":
        sections[0] = msgspec.structs.replace(sections[0], text=block(text, SECTION_CHARS))
    elif sections:
        told = []  # the fields are the whole summary
    others = [at for at in worth if at not in told and not _asks(ranked[at][1].text)][:points]
    rest = [ranked[at] for at in sorted(others, key=lambda at: ranked[at][0])]
    best = sorted(place for place, _, _ in ranked[:KEPT])
    return Digest(
        draft=Draft(
            title=_title(words, lines),
            summary=joined(sections) if sections else block(text, SUMMARY_CHARS),
            key_points=[line(sentence.text, ITEM_CHARS) for _, sentence, _ in rest],
            key_point_sources=[[said[place].segment] for place, _, _ in rest],
            action_items=actions,
            keywords=words,
            sections=sections,
        ),
        kept=[said[place] for place in best],
    )


def _sections(
    style: Style,
    language: str,
    ranked: Sequence[tuple[int, _Sentence, float]],
    said: Sequence[Said],
    tasks: Collection[str],
) -> list[Section]:
    """The fields of a built-in style by the cues of its sentences; none where nothing tells them apart.

    `tasks`: what someone has to do, which is neither a decision nor a question.
    """
    found: dict[str, list[int]] = {part.name: [] for part in style.fields}
    for place, sentence, _ in ranked:
        if style.name == "minutes" and _key(sentence.text) in tasks:
            name = ""
        elif style.name == "minutes":
            name = "decisions" if is_decision(sentence.text) else "open_questions" if is_open(sentence.text) else ""
        else:
            name = consultation_field(sentence.text) if style.name == "consultation" else ""
        if name and len(found[name]) < _FIELD:
            found[name].append(place)
    if style.name != "minutes" and sum(map(bool, found.values())) < 2:
        return []
    return [
        Section(
            name=name,
            label=style.label(name, language),
            text=block("\n".join(clip(said[place].text, ITEM_CHARS) for place in sorted(places)), SECTION_CHARS),
        )
        for name, places in found.items()
    ]


def _asks(text: str) -> bool:
    return text.rstrip().endswith(("?", "？"))


def _key(text: str) -> str:
    """What tells a sentence from others, whichever list it stands in: they are cut at different lengths."""
    return line(text, TEXT_CHARS).casefold()[: TEXT_CHARS // 2]


def _title(words: Sequence[str], lines: Sequence[str]) -> str:
    """The first keywords; without any, the first sentence that was chosen."""
    if words:
        title = ", ".join(words[:3])
        return line(title[0].upper() + title[1:], TITLE_CHARS)
    return line(lines[0], 60) if lines else ""


def _joined(lines: Sequence[str]) -> str:
    """Join sentences; the marks of scripts without spaces bring their own."""
    text = ""
    for row in lines:
        text += row if not text or text[-1] in "。！？" else f" {row}"
    return text


def _actions(said: Sequence[Said], before: Sequence[ActionItem]) -> list[ActionItem]:
    """Merge known sentences and new ones, each once; the newest if there are too many."""
    found = {item.text.casefold(): item for item in before}
    for sentence in said:
        item = action_item(sentence.text, sentence.speaker)
        if item is not None:
            found.setdefault(item.text.casefold(), msgspec.structs.replace(item, sources=[sentence.segment]))
    return list(found.values())[-_ACTIONS:]


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
    bags: dict[str, tuple[int, Counter[str], float]] = {}
    for place, text in enumerate(said):
        bags.setdefault(text.casefold(), (place, *_bag(text)))
    frequency: Counter[str] = Counter()
    for _, bag, _ in bags.values():
        frequency.update(bag.keys())
    total = len(bags)
    idf = {term: 0.0 if is_function_word(term) else math.log(1.0 + total / count) for term, count in frequency.items()}
    kept = []
    for place, bag, words in bags.values():
        entries = sorted(((-count * idf[term], term) for term, count in bag.items()))[:TERMS]
        norm = math.sqrt(sum(value * value for value, _ in entries))
        vector = {term: -value / norm for value, term in entries if value} if norm else {}
        size = sum(bag.values())
        # Greetings and yeses are short; a sentence that does not end is a list or a recogniser's mistake.
        weight = min(1.0, words / 4) * min(1.0, 60 / max(1, size))
        if is_decision(said[place][:ITEM_CHARS]):
            weight *= _DECISION_WEIGHT
        if leans_on_another(said[place][:ITEM_CHARS]):
            weight *= _LEANING_WEIGHT
        if _asks(said[place]):
            weight *= _QUESTION_WEIGHT
        if says_nothing(said[place][:ITEM_CHARS]) or is_about_the_call(said[place][:ITEM_CHARS]):
            weight = 0.0
        kept.append((place, _Sentence(said[place], vector, weight)))
    return kept


def _bag(text: str) -> tuple[Counter[str], float]:
    found, words = weigh(text)
    return Counter(found), words


def _walk(rows: Sequence[Vector]) -> list[float]:
    """Return the weight of each sentence in the random walk; the sum is 1. Sentences without links keep the least."""
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
    degrees = step(links, own, [1.0] * count, len(numbers))
    out = [1.0 / degree if degree > 1e-9 else 0.0 for degree in degrees]
    ranks = [1.0 / count] * count
    for _ in range(STEPS):
        spread = [rank * share for rank, share in zip(ranks, out, strict=True)]
        heard = step(links, own, spread, len(numbers))
        least = (1.0 - _DAMPING * sum(heard)) / count
        new = [least + _DAMPING * value for value in heard]
        moved = sum(abs(a - b) for a, b in zip(new, ranks, strict=True))
        ranks = new
        if moved < _SETTLED:
            break
    return ranks


def step(
    links: Sequence[tuple[list[int], list[float]]], own: Sequence[float], weights: Sequence[float], terms_count: int
) -> list[float]:
    """Return (X Xᵀ - diagonal) times `weights`."""
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
    """Return the indices of `most` sentences by maximal marginal relevance, in the order in which they were taken."""
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
