"""Metrics of sessions, cheap to count: a histogram is a few counters. `ops/metrics` exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

import msgspec

SECONDS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets, in seconds: fine where captions are good or bad, coarse beyond."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""


class Histogram:
    """Counts of values by size, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: upper bound as text, and how many values are not above it."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


class SessionMetrics(msgspec.Struct):
    """What sessions count, all of them together. `segment_lag` and `summary_time` in seconds."""

    segment_lag: Histogram = msgspec.field(default_factory=Histogram)
    summary_time: Histogram = msgspec.field(default_factory=Histogram)
    summaries: Counter[str] = msgspec.field(default_factory=Counter)
    audio_bytes: int = 0
