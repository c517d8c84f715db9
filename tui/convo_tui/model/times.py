"""Reads a time of a talk as a person types it.

In: text. Out: seconds. Nothing here looks at a clock.
"""

from __future__ import annotations

import re

_TIME = re.compile(
    r"(?P<sign>[+-]?)(?:(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,6}):)?(?P<seconds>\d{1,9}(?:\.\d{1,9})?)", re.ASCII
)


def time_of(text: str, here: float) -> float | None:
    """Read 90, 1:30 or 1:02:03; with + or - it counts from `here`, in seconds. None if it is no time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    seconds = 3600 * hours + 60 * minutes + float(match["seconds"])
    if match["sign"]:
        seconds = here + (seconds if match["sign"] == "+" else -seconds)
    return max(0.0, seconds)
