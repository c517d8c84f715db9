"""The two figures of who speaks, on cases that can be computed by hand."""

from __future__ import annotations

import pytest

from convo_bench.diarization import Turn, error_rate, labelled_rightly

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
    assert error_rate(TRUTH, labels, 20.0) == pytest.approx(wrong, abs=0.02)


def test_borders_and_overlaps_are_left_out():
    assert error_rate([Turn(0, 10, "a")], [Turn(0.2, 9.8, "x")], 10.0) == 0.0
    both = [Turn(0, 10, "a"), Turn(4, 6, "b")]
    assert error_rate(both, [Turn(0, 10, "x")], 10.0) == 0.0
