"""Group voice embeddings: each as it comes, and all of them at the end.

In: embeddings of unit length with the seconds of voice behind each. Out: groups. Sans-IO and deterministic; memory and
time have a bound whatever comes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from convod.speakers.vectors import Vector, dot, total, unit

SAME: Final = 0.75
"""Cosine to a speaker's centroid from which an utterance is theirs. Talks of two to four speakers: utterances of one
speaker have 0.79 or more (5th percentile) with each other, those of two 0.74 at most (GE2E)."""

ALIKE: Final = 0.9
"""Cosine from which two utterances are kept as one: so alike are only those of one speaker."""

MOST_GROUPS: Final = 128
"""Groups of alike utterances that are kept: joining them at the end takes a quarter of a second."""


class Group(msgspec.Struct):
    """Embeddings taken together: their sum, weighted by the seconds of voice, and its direction."""

    sum: Vector
    centroid: Vector
    seconds: float

    @classmethod
    def of(cls, vector: Vector, seconds: float) -> Group:
        """A group of one."""
        return cls(array("f", (value * seconds for value in vector)), vector, seconds)

    def join(self, other: Group) -> None:
        """Take in another group."""
        self.sum = total(self.sum, other.sum)
        self.centroid = unit(self.sum) or self.centroid
        self.seconds += other.seconds


def nearest(vector: Vector, groups: Sequence[Group]) -> tuple[int, float, float]:
    """Return which group's centroid is nearest, its cosine, and that of the next; -1 for what is not there."""
    best, near, next_near = -1, -1.0, -1.0
    for at, group in enumerate(groups):
        cosine = dot(vector, group.centroid)
        if cosine > near:
            best, near, next_near = at, cosine, near
        elif cosine > next_near:
            next_near = cosine
    return best, near, next_near


def add_alike(groups: list[Group], vector: Vector, seconds: float) -> None:
    """Add an embedding to the group it is like, or as one of its own while there is room."""
    best, near, _ = nearest(vector, groups)
    if near >= ALIKE or len(groups) >= MOST_GROUPS:
        groups[best].join(Group.of(vector, seconds))
    else:
        groups.append(Group.of(vector, seconds))


def agglomerate(groups: Sequence[Group], count: int | None, same: float = SAME, lasting_s: float = 0.0) -> list[Group]:
    """Join the two nearest groups until `count` are left; for None, until no two are as near as `same`.

    Centroid linkage: the cosine of two groups is that of their centroids. Once no more than `count` groups of
    `lasting_s` seconds or more are left, two of these are joined only if they are as near as `same`, or nothing else is
    left to join: else a few words in an unusual voice would take the place of a speaker.
    """
    left = [msgspec.structs.replace(group) for group in groups]
    cosines = {(a, b): dot(left[a].centroid, left[b].centroid) for b in range(len(left)) for a in range(b)}
    alive = set(range(len(left)))
    while len(alive) > (count or 1) and cosines:
        lasting = {at for at in alive if left[at].seconds >= lasting_s}
        full = count is not None and len(lasting) <= count
        (a, b), near = max(
            cosines.items(),
            key=lambda item: (not (full and item[1] < same and lasting.issuperset(item[0])), item[1]),
        )
        if count is None and near < same:
            break
        left[a].join(left[b])
        alive.discard(b)
        for other in alive:
            cosines.pop((min(b, other), max(b, other)), None)
            if other != a:
                cosines[min(a, other), max(a, other)] = dot(left[a].centroid, left[other].centroid)
    return [left[at] for at in sorted(alive)]
