"""Arithmetic on voice embeddings, without numpy: the daemon's own process stays small.

In and out: embeddings of unit length as arrays of floats, whose dot product is their cosine. About 10 us each.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from operator import add, mul
from typing import TypeAlias

Vector: TypeAlias = "array[float]"
"""An embedding: type code `f`."""


def dot(one: Vector, other: Vector) -> float:
    """The dot product; of two unit vectors, their cosine."""
    return math.fsum(map(mul, one, other))


def unit(vector: Iterable[float]) -> Vector | None:
    """The vector at length 1; None for one without a direction."""
    values = array("f", vector)
    length = math.sqrt(dot(values, values))
    if not length or not math.isfinite(length):
        return None
    return array("f", (value / length for value in values))


def total(one: Vector, other: Vector) -> Vector:
    """The sum of two vectors."""
    return array("f", map(add, one, other))


def unpack(data: bytes) -> Vector:
    """The vector in little-endian 32-bit floats."""
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
