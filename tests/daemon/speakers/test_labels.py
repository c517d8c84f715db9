"""Voices become speakers: tables of synthetic voices, each near a direction of its own."""

from __future__ import annotations

import math
import random
from array import array

import pytest

from convod.speakers.clusters import MOST_GROUPS, Group, add_alike, agglomerate, nearest
from convod.speakers.labels import NEIGHBOUR, Label, SpeakerLabels
from convod.speakers.vectors import Vector, dot, unit, unpack

SIZE = 32


def voice(speaker: int, spread: float = 0.3, seed: int = 0) -> Vector:
    """An utterance of a speaker: their direction, and some noise. Two of one speaker have a cosine of about 0.9."""
    chance = random.Random(f"{speaker} {seed}")
    values = [chance.gauss(0, spread / math.sqrt(SIZE)) for _ in range(SIZE)]
    values[speaker] += 1.0
    found = unit(values)
    assert found is not None
    return found


def told(labels: SpeakerLabels, script: str, seconds: float = 3.0) -> list[int]:
    """Label a talk in which letters are voices and dots are too short to tell; return who was said to speak."""
    found = []
    for at, letter in enumerate(script):
        vector = None if letter == "." else voice("abcdefgh".index(letter), seed=at)
        spoken = 0.5 if letter == "." else seconds
        found.append(labels.segment(at, at * 5.0, at * 5.0 + 4.0, spoken, vector).speaker)
    return found


def final(labels: SpeakerLabels, shown: list[int]) -> list[int]:
    revised = list(shown)
    for label in labels.revise():
        revised[label.segment] = label.speaker
    return revised


# --- at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "count", "speakers"),
    [
        ("a", None, [1]),
        ("aaa", None, [1, 1, 1]),
        ("abab", None, [1, 2, 1, 2]),
        ("abcabc", None, [1, 2, 3, 1, 2, 3]),
        ("ba", None, [1, 2]),
        ("a.b.", None, [1, 1, 2, 2]),
        (".a", None, [1, 1]),
        ("...", None, [1, 1, 1]),
        ("ab", 1, [1, 1]),
        ("aba", 2, [1, 2, 1]),
    ],
)
def test_a_talk_is_labelled_as_it_comes(script, count, speakers):
    assert told(SpeakerLabels(count), script) == speakers


def test_confidence_says_what_is_sure():
    labels = SpeakerLabels()
    first = labels.segment(0, 0, 3, 3.0, voice(0))
    assert labels.segment(1, 4, 7, 3.0, voice(1)).confidence > 0.7
    again = labels.segment(2, 8, 11, 3.0, voice(0, seed=1))
    short = labels.segment(3, 12, 12.5, 0.5, voice(1))
    brief = labels.segment(3, 13, 13.5, 0.5, None)
    assert again.confidence > 0.9
    assert (short.speaker, short.confidence) == (2, 2 * NEIGHBOUR)
    assert (brief.speaker, brief.confidence) == (2, NEIGHBOUR)
    between = labels.segment(4, 14, 15.4, 1.3, unit(map(sum, zip(voice(0), voice(1), strict=True))))
    assert between.confidence <= 0.3
    assert first == Label(0, 1, first.confidence)


def test_a_voice_that_is_too_short_for_one_opens_no_speaker():
    labels = SpeakerLabels()
    labels.segment(0, 0, 3, 3.0, voice(0))
    halfway = unit([0.7 * a + 0.72 * b for a, b in zip(voice(0), voice(1), strict=True)])
    assert labels.segment(1, 4, 5.4, 1.3, halfway).speaker == 1
    assert labels.segment(2, 6, 9, 3.0, halfway).speaker == 1  # it may be either
    further = unit([0.6 * a + 0.8 * b for a, b in zip(voice(0), voice(1), strict=True)])
    assert labels.segment(3, 10, 11.3, 1.3, further).speaker == 1
    assert labels.segment(4, 12, 15, 3.0, further).speaker == 2


# --- at the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["aaaa", "abab", "abcdabcd", "aabbccaabbcc", "a.b.a.b"])
def test_what_was_right_stays(script):
    labels = SpeakerLabels()
    shown = told(labels, script)
    assert final(labels, shown) == shown
    assert labels.revise() == []


def test_a_speaker_that_was_taken_for_two_becomes_one_under_the_number_shown_most():
    labels = SpeakerLabels()
    # The second utterance is an odd one; what follows lies between it and the first.
    odd = unit([0.66 * a + 0.75 * b for a, b in zip(voice(0), voice(5), strict=True)])
    middle = unit(map(sum, zip(voice(0), odd, strict=True)))
    shown = [labels.segment(at, at * 5, at * 5 + 4, 3.0, one).speaker for at, one in enumerate([voice(0), odd, middle])]
    assert shown == [1, 2, 1]
    assert final(labels, shown) == [1, 1, 1]


def test_a_known_count_is_kept_to():
    shown = told(labels := SpeakerLabels(2), "abcabc")
    assert len(set(final(labels, shown))) == 2
    labels = SpeakerLabels(3)
    assert len(set(final(labels, told(labels, "abcabc")))) == 3


def test_a_short_utterance_follows_the_nearer_neighbour_and_is_surer_between_two_that_agree():
    labels = SpeakerLabels()
    labels.segment(0, 0.0, 4.0, 3.0, voice(0))
    labels.segment(1, 9.0, 9.5, 0.4, None)
    labels.segment(2, 10.0, 14.0, 3.0, voice(1))
    labels.segment(3, 15.0, 15.5, 0.4, None)
    labels.segment(4, 16.0, 20.0, 3.0, voice(1, seed=1))
    assert labels.revise() == [Label(1, 2, NEIGHBOUR)]
    assert labels.revise() == []


def test_a_moment_of_another_voice_is_nobodys_for_long():
    labels = SpeakerLabels()
    shown = told(labels, "abab")
    shown.append(labels.segment(4, 20, 21.5, 1.3, voice(2)).speaker)
    assert shown[-1] == 3
    assert final(labels, shown)[-1] in (1, 2)


def test_without_any_voice_nothing_is_revised():
    labels = SpeakerLabels()
    assert labels.revise() == []
    told(labels, "...")
    assert labels.revise() == []


# --- groups -----------------------------------------------------------------------------------------------


def test_groups_have_a_bound():
    groups: list[Group] = []
    chance = random.Random(0)
    for _ in range(2 * MOST_GROUPS):
        vector = unit(chance.gauss(0, 1) for _ in range(SIZE))
        assert vector is not None
        add_alike(groups, vector, 2.0)
    assert len(groups) == MOST_GROUPS
    assert sum(group.seconds for group in groups) == pytest.approx(4.0 * MOST_GROUPS)


@pytest.mark.parametrize(("count", "left"), [(None, 3), (1, 1), (2, 2), (5, 5), (99, 6)])
def test_groups_are_joined_until_as_many_are_left(count, left):
    groups = [Group.of(voice(speaker, seed=seed), 2.0) for speaker in range(3) for seed in range(2)]
    joined = agglomerate(groups, count)
    assert len(joined) == left
    assert sum(group.seconds for group in joined) == pytest.approx(12.0)
    assert [group.seconds for group in groups] == [2.0] * 6  # they are not changed themselves


@pytest.mark.parametrize(
    ("second", "left"),
    [
        (0.6, [10.0, 11.5]),  # two speakers, and the odd words are one's of them
        (0.8, [1.5, 20.0]),  # one speaker who was heard in two ways, and another one
    ],
)
def test_a_few_odd_words_are_not_one_of_the_speakers_that_there_are(second, left):
    voices = [((1.0, 0.0, 0.0), 10.0), ((second, math.sqrt(1 - second**2), 0.0), 10.0), ((0.0, 0.1, 1.0), 1.5)]
    groups = [Group.of(unit(values), seconds) for values, seconds in voices]
    assert sorted(group.seconds for group in agglomerate(groups, 2, lasting_s=2.0)) == left
    assert len(agglomerate(groups, 1, lasting_s=2.0)) == 1


def test_nearest_of_none_one_and_more():
    a, b = Group.of(voice(0), 1.0), Group.of(voice(1), 1.0)
    assert nearest(voice(0), []) == (-1, -1.0, -1.0)
    assert nearest(voice(0), [a])[0::2] == (0, -1.0)
    best, near, next_near = nearest(voice(1), [a, b])
    assert (best, near > 0.99, next_near < 0.5) == (1, True, True)


def test_vectors():
    assert unit([0.0, 0.0]) is None
    assert unit([math.nan, 1.0]) is None
    assert list(unit([3.0, 4.0]) or ()) == pytest.approx([0.6, 0.8])
    assert dot(array("f", [1, 2]), array("f", [3, 4])) == 11
    assert list(unpack(b"\x00\x00\x80\x3f\x00\x00\x00\x40")) == [1.0, 2.0]
