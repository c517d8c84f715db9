"""The voice of a segment: which of its window's embeddings are its own, and their mean.

In: the voiceprints of a window, and from when to when the segment is in it. Out: one `Voice`.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from operator import add
from typing import Final

import msgspec

from convod.speech.decoding import CHUNK_S, Voiceprints

EDGE_S: Final = 0.2
"""A window of the embedder may reach this far beyond a segment: what lies there is mostly a pause."""


MARGIN_S: Final = 0.1
"""A voice begins so long before it is found, and ends so long after."""


class Voice(msgspec.Struct, frozen=True):
    """Seconds of voice in a segment, and their embedding: little-endian 32-bit floats of any length, empty if none."""

    seconds: float
    vector: bytes = b""


def voiced_between(voiced: bytes | None, start_s: float, end_s: float) -> tuple[float, float]:
    """Return from when to when there is a voice between two seconds of a window, by a byte for each chunk of it."""
    first, last = int(start_s / CHUNK_S), math.ceil(end_s / CHUNK_S)
    found = (voiced or b"")[first:last]
    if not any(found):
        return start_s, end_s
    begin, end = (first + found.index(1)) * CHUNK_S, (first + found.rindex(1) + 1) * CHUNK_S
    return max(start_s, begin - MARGIN_S), min(end_s, end + MARGIN_S)


def reaching(
    voiced: bytes | None, start_s: float, end_s: float, earliest_s: float, latest_s: float
) -> tuple[float, float]:
    """Return from when to when a voice lasts that is there between two seconds: words may begin before their time."""
    chunks = voiced or b""
    first, last = int(start_s / CHUNK_S), min(math.ceil(end_s / CHUNK_S), len(chunks))
    begin, end = first, last
    while begin > 0 and begin * CHUNK_S > earliest_s and begin <= len(chunks) and chunks[begin - 1]:
        begin -= 1
    while end < len(chunks) and end * CHUNK_S < latest_s and chunks[end]:
        end += 1
    start_s = start_s if begin == first else max(earliest_s, begin * CHUNK_S)
    return start_s, end_s if end == last else min(latest_s, end * CHUNK_S)


def voice_of(prints: Voiceprints | None, start_s: float, end_s: float, voiced: bytes | None = None) -> Voice:
    """Return the voice between two seconds of a window."""
    start_s, end_s = voiced_between(voiced, start_s, end_s)
    seconds = max(0.0, end_s - start_s)
    if prints is None:
        return Voice(seconds)
    spans = [
        (begin, begin + prints.window_s, vector)
        for begin, vector in zip(prints.starts, prints.vectors, strict=True)
        if vector
    ]
    inside = [vector for begin, end, vector in spans if start_s - EDGE_S <= begin and end <= end_s + EDGE_S]
    if not inside:
        # None is the segment's alone: the one that has most of it, if that is most of the segment.
        shared = max(((min(end, end_s) - max(begin, start_s), vector) for begin, end, vector in spans), default=None)
        inside = [shared[1]] if shared is not None and shared[0] > 0.6 * min(seconds, prints.window_s) else []
    return Voice(round(seconds, 3), _sum(inside))


def _sum(vectors: Iterable[bytes]) -> bytes:
    total: array[float] | None = None
    for vector in vectors:
        values = array("f", vector)
        if sys.byteorder == "big":
            values.byteswap()
        total = values if total is None else array("f", map(add, total, values))
    if total is None:
        return b""
    if sys.byteorder == "big":
        total.byteswap()
    return total.tobytes()
