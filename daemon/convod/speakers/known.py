"""Recognise voices that are known by name. Sans-IO.

In: the speakers of a session, as groups of embeddings; voices with names. Out: names for speakers, each once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from convod.speakers.clusters import SAME, Group
from convod.speakers.vectors import Vector, dot

LEAST_S: Final = 3.0
"""Seconds of voice from which a speaker is recognised: a wrong name is worse than a late one."""

MARGIN: Final = 0.05
"""So much nearer than to any other known voice, and than any other speaker to that voice, must a speaker be."""


class Known(msgspec.Struct, frozen=True):
    """A voice and whose it is; the embedding has unit length."""

    name: str
    vector: Vector


def recognise(speakers: Mapping[int, Group], known: Sequence[Known]) -> dict[int, str]:
    """Name those speakers, by their numbers, whose voice is surely a known one.

    Args:
        speakers: All speakers of the session.
        known: Voices, with embeddings by the model that made those of the speakers.
    """
    named: dict[int, str] = {}
    for at, voice in enumerate(known):
        near = sorted(
            (
                (dot(voice.vector, group.centroid), number)
                for number, group in speakers.items()
                if len(group.centroid) == len(voice.vector)
            ),
            reverse=True,
        )
        if not near or near[0][0] < SAME or (len(near) > 1 and near[0][0] - near[1][0] < MARGIN):
            continue
        cosine, number = near[0]
        group = speakers[number]
        rivals = (dot(other.vector, group.centroid) for place, other in enumerate(known) if place != at)
        if group.seconds >= LEAST_S and all(cosine - rival >= MARGIN for rival in rivals):
            named[number] = voice.name
    return named
