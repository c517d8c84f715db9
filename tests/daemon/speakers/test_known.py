"""Voices that are known by name, from a table: who is recognised, and where nobody is."""

from __future__ import annotations

import math
from array import array

import pytest

from convod.speakers.clusters import SAME, Group
from convod.speakers.known import LEAST_S, Known, recognise


def voice(degrees: float) -> array[float]:
    """A direction; two of them are alike by the cosine of the angle between them."""
    return array("f", (math.cos(math.radians(degrees)), math.sin(math.radians(degrees))))


EDGE = math.degrees(math.acos(SAME))


@pytest.mark.parametrize(
    ("speakers", "known", "named"),
    [
        ({1: 0}, {"Ada": 10}, {1: "Ada"}),
        ({1: 90, 2: 0}, {"Ada": 10}, {2: "Ada"}),
        ({1: 0}, {"Ada": EDGE - 1}, {1: "Ada"}),
        ({1: 0}, {"Ada": EDGE + 1}, {}),
        ({1: 0, 2: 90}, {"Ada": 5, "Bob": 95}, {1: "Ada", 2: "Bob"}),
        ({1: 0}, {"Ada": 5, "Bob": -6}, {}),  # it may be either
        ({1: 5, 2: -6}, {"Ada": 0}, {}),  # either may be her
        ({1: 0, 2: 30}, {"Ada": 0}, {1: "Ada"}),
        ({}, {"Ada": 0}, {}),
        ({1: 0}, {}, {}),
    ],
)
def test_who_is_recognised(speakers: dict[int, float], known: dict[str, float], named: dict[int, str]) -> None:
    groups = {number: Group.of(voice(degrees), LEAST_S) for number, degrees in speakers.items()}
    assert recognise(groups, [Known(name, voice(degrees)) for name, degrees in known.items()]) == named


def test_a_few_words_are_too_few_and_another_length_is_another_model() -> None:
    known = [Known("Ada", voice(0))]
    assert recognise({1: Group.of(voice(0), LEAST_S - 0.1)}, known) == {}
    assert recognise({1: Group.of(array("f", (1.0, 0.0, 0.0)), LEAST_S)}, known) == {}
