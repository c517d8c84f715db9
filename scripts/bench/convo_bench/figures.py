"""Figures from lists of measurements."""

from __future__ import annotations

from collections.abc import Sequence

Figures = dict[str, object]
"""What a bench returns: a figure's name with its unit, and its value."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(1000 * seconds)


def p50_p95(seconds: Sequence[float]) -> list[int]:
    """Median and 95th percentile in milliseconds."""
    return [ms(percentile(seconds, 0.5)), ms(percentile(seconds, 0.95))]


def percent(part: float, whole: float) -> float:
    """A share in percent."""
    return round(100 * part / max(1, whole), 2)
