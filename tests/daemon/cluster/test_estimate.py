from __future__ import annotations

import pytest

from convod.cluster.estimate import WayEstimate
from convod.speech.decoding import DecodeJob, Kind, Options, Window


def way(*seconds: float) -> WayEstimate:
    estimate = WayEstimate()
    for one in seconds:
        estimate.measured(one)
    return estimate


@pytest.mark.parametrize(
    ("measured", "spare_s", "waited_s", "fits"),
    [
        ([], 10.0, 0.0, False),  # it was never measured
        ([0.005], 0.0, 0.0, True),  # a network of one house
        ([0.005] * 20, 0.0, 0.14, True),
        ([0.005] * 20, 0.0, 0.15, False),  # it waited for so long that it is late already
        ([0.125] * 20, 0.0, 0.0, True),
        ([0.125] * 20, 0.0, 0.1, False),
        ([0.3] * 20, 0.0, 0.0, False),  # far away
        ([0.3] * 20, 0.3, 0.0, True),  # and needed later: a final that was decoded at a pause
        ([0.01, 0.4] * 10, 0.3, 0.0, False),  # now and then it takes long
    ],
)
def test_a_final_leaves_if_its_way_fits_its_deadline(measured, spare_s, waited_s, fits):
    job = DecodeJob("s", Kind.FINAL, Window(audio=b""), 16000, Options(), since=100.0)
    if spare_s:
        job.due = job.since + spare_s
    assert way(*measured).fits(job, job.since + waited_s) is fits


def test_the_estimate_follows_the_way_and_a_clock_that_disagrees_does_no_harm():
    estimate = way(*[0.4] * 5, *[0.01] * 60)
    assert estimate.likely_s < 0.03
    estimate.measured(-1.0)  # the other machine's clock ran faster
    assert estimate.mean_s is not None
    assert 0.0 <= estimate.mean_s <= 0.02
