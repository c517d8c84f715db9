from __future__ import annotations

import random
from array import array

import pytest

from convo.mixing import StereoMixer

RATE = 16000


def noise(seconds: float, loud: int = 3000, seed: int = 1) -> array[int]:
    chance = random.Random(seed)
    return array("h", (round(chance.gauss(0, loud / 3)) for _ in range(int(seconds * RATE))))


def power(samples: array[int]) -> float:
    return (sum(sample * sample for sample in samples) / len(samples)) ** 0.5


def negative(samples: array[int]) -> array[int]:
    return array("h", (-sample for sample in samples))


@pytest.mark.parametrize(
    ("left", "right", "part"),
    [
        pytest.param(noise(0.5), noise(0.5), 1.0, id="both the same"),
        pytest.param(noise(0.5), negative(noise(0.5)), 1.0, id="upside down"),
        pytest.param(noise(0.5), array("h", (-sample // 3 for sample in noise(0.5))), 0.667, id="and softer"),
        pytest.param(noise(0.5), array("h", bytes(RATE)), 0.5, id="one side only"),
        pytest.param(noise(0.5), noise(0.5, seed=2), 0.707, id="nothing in common"),
    ],
)
def test_no_side_cancels_the_other(left, right, part):
    mixed = StereoMixer(RATE).mix(left, right)
    assert len(mixed) == len(left)
    # The first 20 ms are mixed before anything is known.
    assert power(mixed[320:]) == pytest.approx(part * power(left), rel=0.06)


def test_sides_that_turn_over_are_followed():
    left, quiet = noise(1.0), noise(1.0, loud=20, seed=3)
    right = negative(left[:8000]) + left[8000:]
    mixed = StereoMixer(RATE).mix(left, right)
    assert power(mixed[400:8000]) == pytest.approx(power(left), rel=0.05)
    assert power(mixed[-3000:]) == pytest.approx(power(left), rel=0.05)
    # What is too soft to tell changes nothing.
    mixer = StereoMixer(RATE)
    mixer.mix(left[:8000], right[:8000])
    assert mixer.spans(quiet, quiet) == [(0, len(quiet), True)]


def test_how_the_samples_are_cut_makes_no_difference():
    left = noise(0.3)
    right = left[:1600] + negative(left[1600:])
    whole = StereoMixer(RATE).mix(left, right)
    chance = random.Random(5)
    mixer, pieces, at = StereoMixer(RATE), array("h"), 0
    while at < len(left):
        end = at + chance.randrange(1, 700)
        pieces += mixer.mix(left[at:end], right[at:end])
        at = end
    assert pieces == whole


def test_the_loudest_samples_stay_in_range():
    top, bottom = array("h", [32767] * 800), array("h", [-32768] * 800)
    for pair in ((top, top), (bottom, bottom), (top, bottom), (bottom, top)):
        assert len(StereoMixer(RATE).mix(*pair)) == 800
