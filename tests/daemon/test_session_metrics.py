from __future__ import annotations

from convod.metrics import Histogram


def test_a_histogram_counts_what_is_not_above_each_bound():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5):
        histogram.observe(value)
    assert histogram.cumulative == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert histogram.sum == 5.5
