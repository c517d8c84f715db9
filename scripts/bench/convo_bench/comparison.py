"""Convo and faster-whisper side by side on the same talks: errors, words and utterances that are missing, ends cut.

In: talks, and each side's words on each of them. Out: rows of figures, one value for each side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, Literal

from .figures import Figures
from .scoring import Alignment, Score, align, characters, unit
from .talk import Talk

CONVO: Final = "convo"

Texts = dict[str, list[str]]
"""A side's name (convo, then the yardsticks), and its words of one talk."""

LEAST_WORDS: Final = 3
"""Of shorter utterances the end is not judged: an error there is as likely anywhere in it."""

End = Literal["there", "missing", "misheard"]


def compare(talks: Sequence[Talk], texts: Sequence[Texts]) -> Figures:
    """Figures of all talks together; each is a list with a value for each side, in the order of `texts`."""
    sides = list(texts[0])
    names = " / ".join(sides)
    counted = unit(talks[0].language)
    aligned = {side: [align(talk.said, text[side]) for talk, text in zip(talks, texts, strict=True)] for side in sides}
    scores = {side: sum((one.score for one in aligned[side]), Score()) for side in sides}
    figures: Figures = {
        f"{counted} error rate: {names}, %": [round(scores[side].percent, 2) for side in sides],
        **_character_rates(talks, texts, sides, names),
        f"{counted}s missing of {scores[sides[0]].said}": [scores[side].deletions for side in sides],
        f"{counted}s added": [scores[side].insertions for side in sides],
        f"utterances lost of {sum(len(talk.utterances) for talk in talks)}": [
            sum(lost_utterances(talk, one) for talk, one in zip(talks, aligned[side], strict=True)) for side in sides
        ],
    }
    if len(sides) > 1:
        figures |= _ends_cut(talks, aligned, sides)
    return figures


def _character_rates(talks: Sequence[Talk], texts: Sequence[Texts], sides: list[str], names: str) -> Figures:
    """For Korean, whose spaces are a matter of taste."""
    if talks[0].language != "ko":
        return {}
    rates = [
        sum(
            (
                align(characters(talk.said), characters(text[side])).score
                for talk, text in zip(talks, texts, strict=True)
            ),
            Score(),
        ).percent
        for side in sides
    ]
    return {f"character error rate: {names}, %": [round(rate, 2) for rate in rates]}


def _ends_cut(talks: Sequence[Talk], aligned: dict[str, list[Alignment]], sides: list[str]) -> Figures:
    """Ends that convo has not, of those that a yardstick has."""
    figures: Figures = {}
    for other in sides[1:]:
        pairs = [
            pair
            for talk, ours, theirs in zip(talks, aligned[sides[0]], aligned[other], strict=True)
            for pair in zip(ends(talk, ours), ends(talk, theirs), strict=True)
        ]
        had = [ours for ours, theirs in pairs if theirs == "there"]
        figures[f"ends missing / misheard of {len(had)} that {other} has"] = [
            had.count("missing"),
            had.count("misheard"),
        ]
    return figures


def lost_utterances(talk: Talk, alignment: Alignment) -> int:
    """Utterances of which no word came."""
    return sum(
        bool(utterance.words) and all(place is None for place in alignment.places[first:last])
        for utterance, (first, last) in zip(talk.utterances, _bounds(talk), strict=True)
    )


def ends(talk: Talk, alignment: Alignment) -> list[End]:
    """What became of the last word of each utterance that has `LEAST_WORDS`."""
    found: list[End] = []
    for first, last in _bounds(talk):
        if last - first < LEAST_WORDS:
            continue
        if alignment.places[last - 1] is not None:
            found.append("there")
        else:
            found.append("missing" if alignment.deleted[last - 1] else "misheard")
    return found


def _bounds(talk: Talk) -> list[tuple[int, int]]:
    """The place of each utterance's words among the talk's."""
    borders = [0, *accumulate(len(utterance.words) for utterance in talk.utterances)]
    return list(pairwise(borders))
