"""Decide which language is spoken where, by what the model finds probable. Sans-IO.

In: languages with their probabilities, of a window or of each part of it between two pauses. Out: languages. It never
detects one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Final

import msgspec

CHANGE: Final = 3.0
"""What a change of language must bring, in nats: most people continue in the same one. The parts of a window are a
hidden Markov chain, and their languages its most probable path (Viterbi 1967)."""

LEAST: Final = 0.0003
"""No language is less probable than this: a detector that is sure of a wrong one does not outweigh all others."""

WHOLE_S: Final = 2.5
"""A shorter part says less about its language, by its length: of a few words a model guesses."""

UNCLEAR: Final = 0.5
UNCLEAR_S: Final = 0.8
"""A part of this length whose language is less probable by what a window has of it is encoded by itself: what is said
around it may hide it.

Seconds in a wrong language, base, of 250 s in recordings of two to four languages, by which this was chosen, and of
275 s in others: as files 110 and 132 with a language for each window, 5 and 1 so; live 25 and 38 where a language
changed with a probability of 0.8 in 1.5 s of another, 5 and 4 so. Of 162 and 157 s in recordings of one language it is
none and 2 live, as before, and none as files. There 14 and 9 % are added to the encoder's work for files, 4 and 5 %
live.
"""

UNSURE: Final = 0.6
LIKELY: Final = 0.1
MOST_OTHERS: Final = 2
"""Where nothing is expected and no language is that probable, so many others of LIKELY are tried, too. The text
that the model finds most probable is kept: the sounds of one language make no text in another. Of twelve such
utterances base told the language of one by detection alone, and of six so; the others have a word or two."""

BRIEF_S: Final = 3.0
"""What is no longer and in another language than the expected one is tried in that, too: a name, a laugh or a word may
seem to be in any. Of 62 phrases of 0.4 to 2.4 s in seven languages base told one in another than the expected one,
though it was in that; this undoes it. Of 37 that are in another the more probable text is in that each time."""

UNSPOKEN: Final = frozenset({"la"})
"""Found only where it is named. Whisper finds Latin in English that is read aloud: it was trained on much that a
detector had labelled so."""

Probabilities = Mapping[str, float]


class Passage(msgspec.Struct, frozen=True):
    """What is said in one language from second `start` to second `end` of a window."""

    language: str
    start: float
    end: float


class Spoken(msgspec.Struct, frozen=True):
    """The language of most of a window, how probable it is, and the passages of a window in several languages.

    `others`: what the language may be instead, with probabilities: if it is unsure and nothing was expected, or if
    another one was and little is said.
    """

    language: str
    probability: float = 1.0
    passages: tuple[Passage, ...] = ()
    others: tuple[tuple[str, float], ...] = ()

    def is_all(self, language: str | None) -> bool:
        """Whether nothing else is spoken."""
        return self.language == language and not self.passages


def among(found: Probabilities, allowed: Sequence[str] | None) -> dict[str, float]:
    """Return the probabilities of the allowed languages, given that it is one of them; None allows all but UNSPOKEN."""
    some = {language: found.get(language, 0.0) for language in allowed or found.keys() - UNSPOKEN or found}
    whole = sum(some.values())
    return {language: share / whole if whole else 1 / len(some) for language, share in some.items()}


def parts(phrases: Sequence[tuple[float, float]], seconds: float) -> list[tuple[float, float]]:
    """Divide a window of so many seconds in the middle of the pauses between its phrases.

    Silence belongs to them: of 25 phrases of one to two seconds base told the language of 23 by what was encoded of
    them and of half the pauses around, and that of 12 without.
    """
    cuts = [(end + start) / 2 for (_, end), (start, _) in pairwise(phrases)]
    return list(pairwise([0.0, *cuts, seconds]))


def languages_of(found: Sequence[Probabilities], seconds: Sequence[float], expected: str | None) -> list[str]:
    """Choose the language of each part of a window, which most likely are those of a few passages.

    Args:
        found: For each part languages with their probabilities.
        seconds: Its length.
        expected: The language of what came before.
    """
    expected = _if_found(expected, found)
    candidates = list(dict.fromkeys(max(one, key=one.__getitem__) for one in found))
    if expected is not None and expected not in candidates:
        candidates.append(expected)
    scores = {one: 0.0 if expected in (None, one) else -CHANGE for one in candidates}
    paths: dict[str, list[str]] = {one: [] for one in candidates}
    for probable, length in zip(found, seconds, strict=True):
        weight = min(1.0, length / WHOLE_S)
        best = max(candidates, key=scores.__getitem__)
        through = {one: one if scores[one] >= scores[best] - CHANGE else best for one in candidates}
        came = {one: scores[through[one]] - (CHANGE if through[one] != one else 0.0) for one in candidates}
        paths = {one: [*paths[through[one]], one] for one in candidates}
        scores = {one: came[one] + weight * math.log(max(LEAST, probable.get(one, 0.0))) for one in candidates}
    return paths[max(candidates, key=scores.__getitem__)]


def _if_found(language: str | None, found: Sequence[Probabilities]) -> str | None:
    """Return the language if it may be spoken."""
    return language if language in found[0] else None


def is_unclear(found: Probabilities, language: str, seconds: float) -> bool:
    """Whether a part may be in another language than the one that was chosen for it."""
    return seconds >= UNCLEAR_S and found.get(language, 0.0) < UNCLEAR


def spoken_in(found: Sequence[Probabilities], spans: Sequence[tuple[float, float]], expected: str | None) -> Spoken:
    """Choose the languages of a window.

    Args:
        found: For each of its parts languages with their probabilities.
        spans: From which to which second it is.
        expected: The language of what came before.
    """
    languages = languages_of(found, [end - start for start, end in spans], expected)
    shares: dict[str, float] = defaultdict(float)
    likely: dict[str, float] = defaultdict(float)
    for language, one, (start, end) in zip(languages, found, spans, strict=True):
        shares[language] += end - start
        likely[language] += (end - start) * one.get(language, 0.0)
    most = max(shares, key=shares.__getitem__)
    passages = []
    for language, some in groupby(zip(languages, spans, strict=True), key=itemgetter(0)):
        own = [span for _, span in some]
        passages.append(Passage(language, own[0][0], own[-1][1]))
    probability = likely[most] / shares[most]
    if len(passages) > 1:
        return Spoken(most, probability, tuple(passages))
    expected = _if_found(expected, found)
    if expected is None:
        return Spoken(most, probability, others=_others(found, spans, most))
    brief = most != expected and spans[-1][1] - spans[0][0] <= BRIEF_S
    return Spoken(most, probability, others=((expected, _shares(found, spans)[expected]),) if brief else ())


def _others(
    found: Sequence[Probabilities], spans: Sequence[tuple[float, float]], most: str
) -> tuple[tuple[str, float], ...]:
    """What a window that is all in one language may be in but in `most`, the most probable first."""
    shares = _shares(found, spans)
    if shares[most] >= UNSURE:
        return ()
    ranked = sorted(shares.items(), key=itemgetter(1), reverse=True)
    return tuple((language, share) for language, share in ranked if language != most and share >= LIKELY)[:MOST_OTHERS]


def _shares(found: Sequence[Probabilities], spans: Sequence[tuple[float, float]]) -> dict[str, float]:
    """How probable each language is in all of a window."""
    shares: dict[str, float] = defaultdict(float)
    for one, (start, end) in zip(found, spans, strict=True):
        for language, probability in one.items():
            shares[language] += probability * (end - start) / (spans[-1][1] - spans[0][0])
    return shares
