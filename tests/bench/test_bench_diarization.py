"""The two figures of who speaks, on cases that can be computed by hand."""

from __future__ import annotations

import pytest

from convo_bench.diarization import Turn, best_labels, errors, joined, labelled_rightly

TRUTH = [Turn(0, 10, "a"), Turn(10, 20, "b")]


@pytest.mark.parametrize(
    ("labels", "share", "wrong"),
    [
        (TRUTH, 1.0, 0.0),
        ([Turn(0, 10, "x"), Turn(10, 20, "y")], 1.0, 0.0),
        ([Turn(0, 20, "x")], 0.5, 0.5),
        ([], 0.0, 1.0),
        ([Turn(0, 10, "x"), Turn(10, 15, "x"), Turn(15, 20, "y")], 0.75, 0.25),
        ([Turn(0, 10, "x"), Turn(10, 20, "y"), Turn(5, 7, "z")], 1.0, 2 / 19),
    ],
)
def test_shares(labels, share, wrong):
    assert labelled_rightly(TRUTH, labels) == pytest.approx(share)
    assert errors(TRUTH, labels, 20.0).rate == pytest.approx(wrong, abs=0.02)


def test_borders_and_overlaps_are_left_out():
    assert errors([Turn(0, 10, "a")], [Turn(0.2, 9.8, "x")], 10.0).rate == 0.0
    both = [Turn(0, 10, "a"), Turn(4, 6, "b")]
    assert errors(both, [Turn(0, 10, "x")], 10.0).rate == 0.0


def test_errors_are_of_three_kinds():
    truth = [Turn(0, 4, "a"), Turn(6, 12, "b")]
    labels = [Turn(0, 4, "x"), Turn(4, 5.25, "x"), Turn(6, 10, "y"), Turn(10, 11, "x")]
    kinds = errors(truth, labels, 12.0)  # of 3.5 and 5.5 seconds that are scored
    assert (kinds.missed, kinds.false_alarm, kinds.confusion) == pytest.approx((0.75 / 9, 1 / 9, 1 / 9), abs=0.01)
    assert errors([], [], 1.0).rate == 0.0


def test_turns_go_on_over_pauses():
    labels = [Turn(0, 1, "a"), Turn(2, 3, "a"), Turn(3, 4, "b"), Turn(4.5, 5, "a"), Turn(7.5, 8, "a")]
    assert joined(labels) == [Turn(0, 3, "a"), Turn(3, 4, "b"), Turn(4.5, 5, "a"), Turn(7.5, 8, "a")]
    assert joined([]) == []


def test_the_most_that_labels_could_be_is_that_of_who_says_most_of_each_segment() -> None:
    truth = [Turn(0, 4, "a"), Turn(4, 5, "b"), Turn(5, 10, "b")]
    assert best_labels(truth, [Turn(0, 5, "1"), Turn(5, 10, "1")]) == pytest.approx(0.9)
    assert best_labels(truth, [Turn(0, 4, "1"), Turn(4, 10, "1")]) == pytest.approx(1.0)
    assert best_labels(truth, []) == 0.0
