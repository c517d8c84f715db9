"""Warnings that live and file sessions share. In: times. Out: text."""

from __future__ import annotations


def uncovered(start_s: float, end_s: float) -> str:
    """The warning about a voice without words from `start_s` to `end_s` on the session's clock."""
    return (
        f"somebody speaks from {_clock(start_s)} to {_clock(end_s)}, but not all of it could be made out; "
        "listen to it, or use a larger model"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
